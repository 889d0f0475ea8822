package upload

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"servidor-backup/bus/bustest"
	"servidor-backup/bus/replica"
	"servidor-backup/client/internal/chunk"
	"servidor-backup/client/internal/clienttest"
	"servidor-backup/client/internal/seal"
	"servidor-backup/schemas"
)

// A failed question ends the upload, however many chunks wait behind it.
func TestFailedQuestionEndsUpload(t *testing.T) {
	nc := bustest.Connect(t, bustest.Server(t))
	writer, err := replica.NewWriter(nc, replica.WriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	k := seal.New(seal.VaultKey{1})
	noNodes := replica.NewReader(nc, &schemas.NodeMap{Epoch: 1})
	u := New(bustest.Context(t), Options{Keys: k, Session: "s", Replicas: noNodes, Writer: writer, Status: func(schemas.Sentence) {}})
	done := make(chan error, 1)
	go func() {
		in := chunk.NewIntake(u.Context(), chunk.NewBlocks(3))
		cutter := chunk.NewCutter(bytes.NewReader(clienttest.Noise(1, 12*chunk.BlockSize)), chunk.NewGear(k.CutSeed()), in)
		for {
			plain, _, err := cutter.Next()
			if err == io.EOF {
				break
			}
			if err == nil {
				err = u.PutData(k.DataID(plain.Bytes), plain)
			}
			if err != nil {
				u.Abandon(err)
				done <- err
				return
			}
		}
		done <- u.Finish()
	}()
	select {
	case err := <-done:
		if schemas.CodeOf(err) != schemas.NoNode {
			t.Errorf("the upload ended with %v, want %s", err, schemas.NoNode)
		}
	case <-time.After(bustest.Timeout):
		t.Fatal("the upload hangs")
	}
	if !errors.Is(u.Context().Err(), context.Canceled) {
		t.Error("the steps go on")
	}
}

// If a chunk's plaintext changes between its id and its seal, the backup fails: bad memory is
// found now, and not at the restore.
func TestChangedPlaintextIsFound(t *testing.T) {
	for _, n := range []int{500, 300_000} { // one that is stored as it is, one that is compressed
		plain := clienttest.Prose(n)
		if n < 1000 {
			plain = clienttest.Noise(1, n)
		}
		k := seal.New(seal.VaultKey(clienttest.Key()))
		p := &pendingChunk{chunk: schemas.Chunk{ID: k.DataID(plain), Kind: schemas.Data}, plain: chunk.CopyPlaintext(plain)}
		oneNode := replica.NewReader(nil, &schemas.NodeMap{Epoch: 1, Nodes: []schemas.Node{{ID: "n", State: schemas.Up, Weight: 1}}})
		sealOnce := func() error {
			u := &Uploader{
				opt: Options{Keys: k}, ctx: t.Context(), states: newStates(0, 0),
				destinations: newDestinations(oneNode, schemas.VaultID{}, func(schemas.Sentence) {}),
			}
			u.states.queue(p.chunk.ID)
			u.states.markWanted(p.chunk.ID, false)
			return newSealer(u).seal(p)
		}
		if err := sealOnce(); err != nil {
			t.Errorf("a chunk of %d bytes that has not changed: %v", n, err)
		}
		p.plain.Bytes[n/2] ^= 4
		if err := sealOnce(); !errors.Is(err, seal.ErrDamaged) {
			t.Errorf("a chunk of %d bytes with a changed bit: %v, want %v", n, err, seal.ErrDamaged)
		}
	}
}
