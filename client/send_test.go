package client

import (
	"bytes"
	"context"
	"errors"
	"io"
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
	k := newKeys(VaultKey{1})
	nobody := replica.NewReader(nc, &schemas.NodeMap{Epoch: 1}) // no node is up
	u := newUploader(bustest.Patient(t), k, schemas.VaultID{}, "s", nobody, out, sealOptions{}, 1, func(string) {})
	done := make(chan error, 1)
	go func() {
		cutter := newChunker(bytes.NewReader(noise(1, 12*blockSize)), k.gear, newIntake(u.ctx, u.blocks))
		for {
			plain, _, err := cutter.next()
			if err == io.EOF {
				break
			}
			if err == nil {
				err = u.data(k.dataID(plain.bytes), plain)
			}
			if err != nil {
				u.abandon(err)
				done <- err
				return
			}
		}
		done <- u.finish()
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
		plain := prose(n)
		if n < 1000 {
			plain = noise(1, n)
		}
		k := newKeys(testKey())
		o := &outgoing{chunk: schemas.Chunk{ID: k.dataID(plain), Kind: schemas.Data}, plain: plaintext{bytes: plain, sum: checksum(plain)}}
		one := replica.NewReader(nil, &schemas.NodeMap{Epoch: 1, Nodes: []schemas.Node{{ID: "n", State: schemas.Up, Weight: 1}}})
		u := &uploader{k: k, ctx: t.Context(), targets: newTargets(one, schemas.VaultID{}, func(string) {}), underWay: map[schemas.ChunkID]*journey{o.chunk.ID: {}}}
		if err := newSealer(u).add(o); err != nil {
			t.Errorf("a sound chunk of %d bytes: %v", n, err)
		}
		plain[n/2] ^= 4
		if err := newSealer(u).add(o); !errors.Is(err, ErrDamaged) {
			t.Errorf("a bit of %d bytes flipped: %v", n, err)
		}
	}
}
