package upload

import (
	"bytes"
	"context"
	"errors"
	"io"
	"servidor-backup/client/internal/chunk"
	"servidor-backup/client/internal/clienttest"
	"servidor-backup/client/internal/seal"
	"testing"
	"time"

	"servidor-backup/bus/bustest"
	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
)

// A question that fails ends the backup, however much is waiting behind it.
func TestAFailedQuestionEndsTheUpload(t *testing.T) {
	nc := bustest.Connect(t, bustest.Server(t))
	out, err := replica.NewWriter(nc, replica.WriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	k := seal.New(seal.VaultKey{1})
	nobody := replica.NewReader(nc, &schemas.NodeMap{Epoch: 1}) // no node is up
	u := New(bustest.Patient(t), Options{Keys: k, Session: "s", Replicas: nobody, Writer: out, Status: func(string) {}})
	done := make(chan error, 1)
	go func() {
		cutter := chunk.NewCutter(bytes.NewReader(clienttest.Noise(1, 12*chunk.BlockSize)), chunk.NewGear(seal.New(seal.VaultKey{1}).CutSeed()), chunk.NewIntake(u.ctx, chunk.NewBlocks(3)))
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
	case <-time.After(bustest.Patience):
		t.Fatal("the upload hangs")
	}
	if !errors.Is(u.ctx.Err(), context.Canceled) {
		t.Error("the steps go on")
	}
}

// What happens to a chunk's plaintext between its id and its seal ends the
// backup: bad memory is found now and not at the restore.
func TestPlaintextThatChangesOnItsWayIsFound(t *testing.T) {
	for _, n := range []int{500, 300_000} { // one stored as it is, one compressed
		plain := clienttest.Prose(n)
		if n < 1000 {
			plain = clienttest.Noise(1, n)
		}
		k := seal.New(seal.VaultKey(clienttest.Key()))
		o := &pendingChunk{chunk: schemas.Chunk{ID: k.DataID(plain), Kind: schemas.Data}, plain: chunk.NewPlaintext(plain, chunk.Checksum(plain))}
		one := replica.NewReader(nil, &schemas.NodeMap{Epoch: 1, Nodes: []schemas.Node{{ID: "n", State: schemas.Up, Weight: 1}}})
		add := func() error {
			u := &Uploader{
				opt: Options{Keys: k}, ctx: t.Context(), states: newStates(0, 0),
				destinations: newDestinations(one, schemas.VaultID{}, func(string) {}),
			}
			u.states.queue(o.chunk.ID)
			u.states.want(o.chunk.ID, false)
			return newSealer(u).add(o)
		}
		if err := add(); err != nil {
			t.Errorf("a sound chunk of %d bytes: %v", n, err)
		}
		plain[n/2] ^= 4
		if err := add(); !errors.Is(err, seal.ErrDamaged) {
			t.Errorf("a bit of %d bytes flipped: %v", n, err)
		}
	}
}
