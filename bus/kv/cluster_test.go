package kv_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"servidor-backup/bus"
	"servidor-backup/bus/bustest"
	"servidor-backup/bus/kv"
	"servidor-backup/schemas"
)

// replicas is how many servers keep the bucket, and how many of them have all of it.
func replicas(t *testing.T, nc *nats.Conn, bucket string) (asked, current int) {
	t.Helper()
	info := stream(t, nc, bucket)
	if info == nil || info.Cluster == nil || info.Cluster.Leader == "" {
		return 0, 0
	}
	current = 1
	for _, r := range info.Cluster.Replicas {
		if r.Current {
			current++
		}
	}
	return info.Config.Replicas, current
}

// stream is the state of a bucket's stream, nil while nobody tells it.
func stream(t *testing.T, nc *nats.Conn, bucket string) *jetstream.StreamInfo {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(bustest.Patient(t), "KV_"+bucket)
	if err != nil {
		return nil
	}
	return s.CachedInfo()
}

func whole(t *testing.T, nc *nats.Conn, bucket string) {
	t.Helper()
	bustest.Eventually(t, "three servers have the bucket "+bucket, func() bool {
		asked, current := replicas(t, nc, bucket)
		return asked == 3 && current == 3
	})
}

// One server of three is lost while writers increment a counter through all of
// them, and comes back: no acknowledged increment is lost or made twice, and
// watches on all servers see the end, never going back.
func TestClusterLosesAServer(t *testing.T) {
	c := bustest.StartCluster(t, 3)
	ctx := bustest.Patient(t)
	var buckets [3]*kv.Bucket
	for i := range buckets {
		buckets[i] = openBucket(t, bustest.Dial(t, c.URLs(i)), "counted")
	}
	nc := bustest.Dial(t, c.URLs(1))
	whole(t, nc, "counted")

	var watched [3]atomic.Int64
	watching, stop := context.WithCancel(ctx)
	var watches sync.WaitGroup
	defer watches.Wait()
	defer stop()
	for i, b := range buckets {
		watches.Go(func() {
			err := b.Watch(watching, ">", func(e *kv.Entry) {
				var got counter
				if e == nil {
					return
				}
				if err := e.Decode(&got); err != nil || int64(got.N) < watched[i].Load() {
					t.Errorf("watch %d saw %d after %d, %v", i, got.N, watched[i].Load(), err)
				}
				watched[i].Store(int64(got.N))
			})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("watch %d ended: %v", i, err)
			}
		})
	}

	var acknowledged, unknown atomic.Int64
	var done atomic.Bool
	var writers sync.WaitGroup
	for _, b := range buckets {
		writers.Go(func() {
			for !done.Load() {
				var n counter
				_, err := b.Edit(ctx, "k", &n, func() { n = counter{} }, func() (bool, error) { n.N++; return true, nil })
				switch {
				case err == nil:
					acknowledged.Add(1)
				case schemas.CodeOf(err) == schemas.Unavailable && ctx.Err() == nil:
					unknown.Add(1) // a machine that is too busy for a cluster to find its leader
				default:
					t.Error(err)
					return
				}
			}
		})
	}
	grow := func(what string) {
		t.Helper()
		from := acknowledged.Load()
		bustest.Eventually(t, what, func() bool { return t.Failed() || acknowledged.Load() >= from+20 })
	}
	grow("the writers are under way")
	killed := leaderOf(t, nc, c, "counted")
	c.Stop(killed)
	grow("the writers go on with two servers")
	c.Start(killed)
	grow("the writers go on with three")
	done.Store(true)
	writers.Wait()

	var got counter
	for i, b := range buckets {
		if _, err := b.Get(ctx, "k", &got); err != nil {
			t.Fatal(err)
		}
		if n := int64(got.N); n < acknowledged.Load() || n > acknowledged.Load()+unknown.Load() {
			t.Errorf("server %d counts %d after %d acknowledged increments and %d unknown", i, n, acknowledged.Load(), unknown.Load())
		}
	}
	for i := range watched {
		bustest.Eventually(t, fmt.Sprintf("watch %d sees the end", i), func() bool { return watched[i].Load() == int64(got.N) })
	}
	whole(t, nc, "counted")
	t.Logf("%d increments, %d unknown", acknowledged.Load(), unknown.Load())
}

// leaderOf is the server that leads the bucket, by its place in the cluster.
func leaderOf(t *testing.T, nc *nats.Conn, c *bustest.Cluster, bucket string) int {
	t.Helper()
	leader := stream(t, nc, bucket).Cluster.Leader
	for i, opt := range c.Options {
		if name, err := os.ReadFile(opt.Dir + "/SERVER"); err == nil && strings.TrimSpace(string(name)) == leader {
			return i
		}
	}
	t.Fatalf("no server is called %q", leader)
	return 0
}

// What one connection has written, every other reads, gets and lists at once:
// nobody asks a server that is behind.
func TestClusterReadsWhatWasWritten(t *testing.T) {
	c := bustest.StartCluster(t, 3)
	ctx := bustest.Patient(t)
	var buckets [3]*kv.Bucket
	for i := range buckets {
		nc, err := bus.Connect(ctx, bus.ConnOptions{InProcess: c.Servers[i]})
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		buckets[i] = openBucket(t, nc, "read")
	}
	// A server that is behind is so for less than a millisecond here, so it is tried
	// often, and while there are other writes.
	busy, stop := context.WithCancel(ctx)
	var others sync.WaitGroup
	for i, b := range buckets {
		others.Go(func() {
			for n := 0; busy.Err() == nil; n++ {
				if _, err := b.Create(busy, fmt.Sprintf("other.%d.%d", i, n), counter{n}); err != nil && busy.Err() == nil {
					t.Error(err)
				}
			}
		})
	}
	defer others.Wait()
	defer stop()
	for n := range 100 {
		key := fmt.Sprint("k.", n)
		if _, err := buckets[n%3].Create(ctx, key, counter{n}); err != nil {
			t.Fatal(err)
		}
		var readers sync.WaitGroup
		for i, b := range buckets {
			readers.Go(func() {
				var got counter
				if _, err := b.Get(ctx, key, &got); err != nil || got.N != n {
					t.Errorf("server %d gives %v for %d, %v", i, got, n, err)
				}
			})
			readers.Go(func() {
				listed := 0
				if err := b.Scan(ctx, "k.*", func(kv.Entry) error { listed++; return nil }); err != nil || listed != n+1 {
					t.Errorf("server %d lists %d of %d, %v", i, listed, n+1, err)
				}
			})
		}
		readers.Wait()
	}
}

// Those who come at the same time, through different servers, make one bucket.
func TestClusterMakesABucketOnce(t *testing.T) {
	c := bustest.StartCluster(t, 3)
	var conns [3]*nats.Conn
	for i := range conns {
		conns[i] = bustest.Dial(t, c.URLs(i))
	}
	for round := range 4 {
		name := fmt.Sprint("once-", round)
		var open sync.WaitGroup
		for _, nc := range conns {
			open.Go(func() {
				if _, err := kv.Open(bustest.Patient(t), nc, kv.Config{Name: name}); err != nil {
					t.Error(err)
				}
			})
		}
		open.Wait()
	}
}

// A bucket that is kept once is spread when that is asked for, and keeps its
// settings.
func TestClusterSpreadsABucket(t *testing.T) {
	c := bustest.StartCluster(t, 3)
	ctx := bustest.Patient(t)
	nc := bustest.Dial(t, c.URLs(0))
	b, err := kv.Open(ctx, nc, kv.Config{Name: "grown", Description: "as it was", TTL: bustest.Patience, Replicas: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Create(ctx, "k", counter{7}); err != nil {
		t.Fatal(err)
	}
	before := stream(t, nc, "grown").Config
	if err := b.EnsureReplicas(ctx, 1); err != nil {
		t.Error(err)
	}
	if asked := stream(t, nc, "grown").Config.Replicas; asked != 1 {
		t.Errorf("%d servers keep what one shall keep", asked)
	}
	if err := b.EnsureReplicas(ctx, 3); err != nil {
		t.Error(err)
	}
	whole(t, nc, "grown")
	if err := b.EnsureReplicas(ctx, 1); err != nil { // it is never kept by fewer
		t.Error(err)
	}
	after := stream(t, nc, "grown").Config
	before.Replicas = 3
	if fmt.Sprint(before) != fmt.Sprint(after) {
		t.Errorf("spreading made\n%+v of\n%+v", after, before)
	}
}

// After all servers have ended, two of three are enough to begin again. (The first
// time all must be there.)
func TestClusterStartsWithTwo(t *testing.T) {
	c := bustest.StartCluster(t, 3)
	nc := bustest.Dial(t, c.URLs(0))
	b := openBucket(t, nc, "kept")
	if _, err := b.Create(bustest.Patient(t), "k", counter{7}); err != nil {
		t.Fatal(err)
	}
	if asked := stream(t, nc, "kept").Config.Replicas; asked != 3 {
		t.Fatalf("%d servers keep the bucket", asked)
	}
	c.Stop(0, 1, 2)
	c.Start(1, 2)
	var got counter
	bustest.Eventually(t, "the value is read without the first server", func() bool {
		_, err := b.Get(t.Context(), "k", &got)
		return err == nil && got.N == 7
	})
}

// Where there are fewer servers than three, a bucket is kept once unless told
// otherwise.
func TestClusterOfTwo(t *testing.T) {
	c := bustest.StartCluster(t, 2)
	ctx := bustest.Patient(t)
	nc := bustest.Dial(t, c.URLs(0))
	b := openBucket(t, nc, "two")
	if asked := stream(t, nc, "two").Config.Replicas; asked != 1 {
		t.Errorf("on two servers the bucket has %d replicas", asked)
	}
	if err := b.EnsureReplicas(ctx, 0); err == nil {
		t.Error("two servers keep the bucket three times")
	}
}

// More replicas than a lone server can have are refused.
func TestReplicasNeedACluster(t *testing.T) {
	nc := bustest.Connect(t, bustest.Server(t))
	if _, err := kv.Open(bustest.Patient(t), nc, kv.Config{Name: "three", Replicas: 3}); err == nil {
		t.Error("a lone server keeps a bucket three times")
	}
}
