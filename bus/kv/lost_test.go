package kv_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"servidor-backup/bus/bustest"
	"servidor-backup/bus/embedded"
	"servidor-backup/bus/kv"
	"servidor-backup/schemas"
)

func wantGone(t *testing.T, when string, b *kv.Bucket, want bool) {
	t.Helper()
	if gone, err := b.Lost(bustest.Patient(t)); err != nil || gone != want {
		t.Errorf("%s the bucket is gone: %v, %v", when, gone, err)
	}
}

// A bucket is gone when its stream is, and stays so when another one takes its place.
func TestBucketIsGone(t *testing.T) {
	s := bustest.StartServer(t, embedded.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	nc := bustest.Dial(t, s.URL())
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ctx, b := bustest.Patient(t), openBucket(t, nc, "gone")
	if _, err := b.Create(ctx, "k", counter{}); err != nil {
		t.Error(err)
	}
	if err := b.Delete(ctx, "k"); err != nil {
		t.Error(err)
	}
	wantGone(t, "after some writes", b, false)
	if err := js.DeleteStream(ctx, "KV_gone"); err != nil {
		t.Fatal(err)
	}
	wantGone(t, "without its stream", b, true)
	_, err = b.Get(ctx, "k", &counter{})
	bustest.WantCode(t, err, schemas.Unavailable)
	next := openBucket(t, nc, "gone")
	wantGone(t, "with another in its place", b, true)
	wantGone(t, "once more", next, false)
	if next.FirstRevision() <= b.FirstRevision() {
		t.Errorf("the next one began with %d after %d", next.FirstRevision(), b.FirstRevision())
	}
	bustest.Shutdown(t, s)
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if gone, err := next.Lost(ctx); gone || err == nil {
		t.Errorf("without a server the bucket is gone: %v, %v", gone, err)
	}
}

// While servers go away, come back and choose leaders, nothing is taken for gone.
func TestClusterHasLostNothing(t *testing.T) {
	c := bustest.StartCluster(t, 3)
	var buckets [3]*kv.Bucket
	for i := range buckets {
		buckets[i] = openBucket(t, bustest.Dial(t, c.URLs(i)), "there")
	}
	looking, end := context.WithCancel(t.Context())
	var looks sync.WaitGroup
	for _, b := range buckets {
		looks.Go(func() {
			tick := time.NewTicker(10 * time.Millisecond) // others have something to do, too
			defer tick.Stop()
			for ; looking.Err() == nil; <-tick.C {
				if gone, err := b.Lost(looking); gone {
					t.Errorf("it was taken for gone (%v)", err)
					return
				}
			}
		})
	}
	defer looks.Wait()
	defer end()
	for i := range 3 {
		c.Stop(i)
		c.Start(i)
	}
	c.Stop(0, 1, 2)
	c.Start(0, 1, 2)
	for _, b := range buckets {
		bustest.Eventually(t, "it is seen again", func() bool {
			gone, err := b.Lost(t.Context())
			return err == nil && !gone
		})
	}
}
