package client

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"servidor-backup/bus"
	"servidor-backup/bus/bustest"
	"servidor-backup/schemas"
)

// A question that fails ends the backup, however much is waiting behind it.
func TestAFailedQuestionEndsTheUpload(t *testing.T) {
	nc := bustest.Connect(t, bustest.Server(t))
	out, err := bus.NewSender(nc, bus.SenderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	k := newKeys(VaultKey{1})
	nobody := bus.NewHolders(nc, &schemas.NodeMap{Epoch: 1}) // no node is up
	u := newUploader(bustest.Patient(t), k, schemas.VaultID{}, "s", nobody, out, sealOptions{}, 1, func(string) {})
	done := make(chan error, 1)
	go func() {
		cutter := newChunker(bytes.NewReader(noise(1, 12*blockSize)), k.gear, newIntake(u.ctx, u.blocks))
		for {
			plain, err := cutter.next()
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
