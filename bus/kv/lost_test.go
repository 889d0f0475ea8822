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

func wantLost(t *testing.T, when string, b *kv.Bucket, want bool) {
	t.Helper()
	if lost, err := b.Lost(bustest.Context(t)); err != nil || lost != want {
		t.Errorf("%s the bucket is lost: %v, %v, want %v", when, lost, err, want)
	}
}

// A bucket is lost when its stream no longer exists, and stays lost when another one of its
// name is made. An unreachable server loses nothing.
func TestBucketIsLostWithItsStream(t *testing.T) {
	s := bustest.StartServer(t, embedded.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	nc := bustest.Dial(t, s.URL())
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ctx, b := bustest.Context(t), openBucket(t, nc, "lost")
	if _, err := b.Create(ctx, "k", counter{}); err != nil {
		t.Error(err)
	}
	if err := b.Delete(ctx, "k"); err != nil {
		t.Error(err)
	}
	wantLost(t, "after some writes", b, false)
	if err := js.DeleteStream(ctx, "KV_lost"); err != nil {
		t.Fatal(err)
	}
	wantLost(t, "without its stream", b, true)
	_, err = b.Get(ctx, "k", &counter{})
	bustest.WantCode(t, err, schemas.Unavailable)
	next := openBucket(t, nc, "lost")
	wantLost(t, "after another one was made", b, true)
	wantLost(t, "just made,", next, false)
	if next.FirstRevision() <= b.FirstRevision() {
		t.Errorf("the next bucket starts with revision %d, after %d", next.FirstRevision(), b.FirstRevision())
	}
	bustest.Shutdown(t, s)
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if lost, err := next.Lost(ctx); lost || err == nil {
		t.Errorf("without a server the bucket is lost: %v, %v", lost, err)
	}
}

// While servers stop, restart and elect leaders, no bucket is reported as lost.
func TestRestartsLoseNoBucket(t *testing.T) {
	c := bustest.StartCluster(t, 3)
	var buckets [3]*kv.Bucket
	for i := range buckets {
		buckets[i] = openReplicated(t, bustest.Dial(t, c.URLs(i)), "there")
	}
	checking, end := context.WithCancel(t.Context())
	var checks sync.WaitGroup
	for _, b := range buckets {
		checks.Go(func() {
			tick := time.NewTicker(10 * time.Millisecond) // to leave time for the servers
			defer tick.Stop()
			for ; checking.Err() == nil; <-tick.C {
				if lost, err := b.Lost(checking); lost {
					t.Errorf("the bucket was reported as lost (%v)", err)
					return
				}
			}
		})
	}
	defer checks.Wait()
	defer end()
	for i := range 3 {
		c.Stop(i)
		c.Start(i)
	}
	c.Stop(0, 1, 2)
	c.Start(0, 1, 2)
	for _, b := range buckets {
		bustest.Eventually(t, "the bucket is found again", func() bool {
			lost, err := b.Lost(t.Context())
			return err == nil && !lost
		})
	}
}
