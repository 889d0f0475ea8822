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

// replicas returns the number of servers that should hold the bucket, and of those that
// have all of it.
func replicas(t *testing.T, nc *nats.Conn, bucket string) (configured, current int) {
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

// stream returns the state of a bucket's stream, or nil while no server answers.
func stream(t *testing.T, nc *nats.Conn, bucket string) *jetstream.StreamInfo {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(bustest.Context(t), "KV_"+bucket)
	if err != nil {
		return nil
	}
	return s.CachedInfo()
}

// waitForReplicas waits until three servers have all of the bucket.
func waitForReplicas(t *testing.T, nc *nats.Conn, bucket string) {
	t.Helper()
	bustest.Eventually(t, "three servers have the bucket "+bucket, func() bool {
		configured, current := replicas(t, nc, bucket)
		return configured == 3 && current == 3
	})
}

// openReplicated opens a bucket and waits until three servers have all of it. A bucket that is
// made before a new cluster's leader knows all servers has one replica at first.
func openReplicated(t *testing.T, nc *nats.Conn, name string) *kv.Bucket {
	t.Helper()
	b := openBucket(t, nc, name)
	bustest.Eventually(t, "the cluster accepts three replicas", func() bool {
		return b.EnsureReplicas(t.Context(), 0) == nil
	})
	waitForReplicas(t, nc, name)
	return b
}

// One server of three stops and comes back while writers increment a counter through all
// of them: no acknowledged increment is lost or made twice, and watches on all servers see
// the final value and never an older value after a newer one.
func TestClusterSurvivesTheLossOfAServer(t *testing.T) {
	c := bustest.StartCluster(t, 3)
	ctx := bustest.Context(t)
	var buckets [3]*kv.Bucket
	for i := range buckets {
		buckets[i] = openReplicated(t, bustest.Dial(t, c.URLs(i)), "counted")
	}
	nc := bustest.Dial(t, c.URLs(1))

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
					unknown.Add(1) // on a busy machine the cluster may not elect a leader in time
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
	grow("the counter grows")
	stopped := leaderOf(t, nc, c, "counted")
	c.Stop(stopped)
	grow("the counter grows with two servers")
	c.Start(stopped)
	grow("the counter grows with three servers again")
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
		bustest.Eventually(t, fmt.Sprintf("watch %d sees the final value", i), func() bool { return watched[i].Load() == int64(got.N) })
	}
	waitForReplicas(t, nc, "counted")
	t.Logf("%d increments, %d unknown", acknowledged.Load(), unknown.Load())
}

// leaderOf returns the index of the server that leads the bucket.
func leaderOf(t *testing.T, nc *nats.Conn, c *bustest.Cluster, bucket string) int {
	t.Helper()
	leader := stream(t, nc, bucket).Cluster.Leader
	for i, opt := range c.Options {
		if name, err := os.ReadFile(opt.Dir + "/SERVER"); err == nil && strings.TrimSpace(string(name)) == leader {
			return i
		}
	}
	t.Fatalf("no server has the name %q", leader)
	return 0
}

// A value that was written through one server is at once read and listed through every
// server: reads never come from a server that is behind.
func TestClusterReadsWhatWasWritten(t *testing.T) {
	c := bustest.StartCluster(t, 3)
	ctx := bustest.Context(t)
	var buckets [3]*kv.Bucket
	for i := range buckets {
		nc, err := bus.Connect(ctx, bus.ConnOptions{InProcess: c.Servers[i]})
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		buckets[i] = openReplicated(t, nc, "read")
	}
	// A server is behind for less than a millisecond here, so the test reads often, and
	// during other writes.
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

// Clients that open a bucket at the same time, through different servers, make one bucket.
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
				if _, err := kv.Open(bustest.Context(t), nc, kv.Config{Name: name}); err != nil {
					t.Error(err)
				}
			})
		}
		open.Wait()
	}
}

// EnsureReplicas adds replicas to a bucket, never removes any, and changes no other setting.
func TestEnsureReplicasOnlyAddsReplicas(t *testing.T) {
	c := bustest.StartCluster(t, 3)
	ctx := bustest.Context(t)
	nc := bustest.Dial(t, c.URLs(0))
	b, err := kv.Open(ctx, nc, kv.Config{Name: "grown", Description: "as it was", TTL: bustest.Timeout, Replicas: 1})
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
	if configured := stream(t, nc, "grown").Config.Replicas; configured != 1 {
		t.Errorf("the bucket has %d replicas, want 1", configured)
	}
	bustest.Eventually(t, "the cluster accepts three replicas", func() bool {
		return b.EnsureReplicas(ctx, 3) == nil
	})
	waitForReplicas(t, nc, "grown")
	if err := b.EnsureReplicas(ctx, 1); err != nil { // it removes none
		t.Error(err)
	}
	after := stream(t, nc, "grown").Config
	before.Replicas = 3
	if fmt.Sprint(before) != fmt.Sprint(after) {
		t.Errorf("the settings are\n%+v, want\n%+v", after, before)
	}
}

// After all three servers have stopped, two are enough to start the cluster again. (At the
// first start all must be running.)
func TestClusterRestartsWithTwoOfThreeServers(t *testing.T) {
	c := bustest.StartCluster(t, 3)
	nc := bustest.Dial(t, c.URLs(0))
	b := openReplicated(t, nc, "kept")
	if _, err := b.Create(bustest.Context(t), "k", counter{7}); err != nil {
		t.Fatal(err)
	}
	c.Stop(0, 1, 2)
	c.Start(1, 2)
	var got counter
	bustest.Eventually(t, "the value is read without the first server", func() bool {
		_, err := b.Get(t.Context(), "k", &got)
		return err == nil && got.N == 7
	})
}

// On fewer than three servers, a bucket has one replica by default.
func TestClusterOfTwoHasOneReplica(t *testing.T) {
	c := bustest.StartCluster(t, 2)
	ctx := bustest.Context(t)
	nc := bustest.Dial(t, c.URLs(0))
	b := openBucket(t, nc, "two")
	if configured := stream(t, nc, "two").Config.Replicas; configured != 1 {
		t.Errorf("on two servers the bucket has %d replicas", configured)
	}
	if err := b.EnsureReplicas(ctx, 0); err == nil {
		t.Error("two servers accepted three replicas")
	}
}

// A lone server refuses more than one replica.
func TestReplicasNeedACluster(t *testing.T) {
	nc := bustest.Connect(t, bustest.Server(t))
	if _, err := kv.Open(bustest.Context(t), nc, kv.Config{Name: "three", Replicas: 3}); err == nil {
		t.Error("a lone server accepted three replicas")
	}
}

// The servers of a bucket are those that hold it; one that has ended is not current.
func TestServersOfABucket(t *testing.T) {
	c := bustest.StartCluster(t, 3)
	b := openReplicated(t, bustest.Dial(t, c.URLs(0)), "held")
	current := func() (all, current, leaders int) {
		servers, err := b.Servers(t.Context())
		if err != nil {
			return 0, 0, 0
		}
		for _, s := range servers {
			if s.Current {
				current++
			}
			if s.Leader {
				leaders++
			}
		}
		return len(servers), current, leaders
	}
	bustest.Eventually(t, "three servers hold the bucket", func() bool {
		all, now, leaders := current()
		return all == 3 && now == 3 && leaders == 1
	})
	c.Stop(2)
	bustest.Eventually(t, "one of three servers is not current", func() bool {
		all, now, leaders := current()
		return all == 3 && now == 2 && leaders == 1
	})
	lone, err := kv.Open(t.Context(), bustest.Connect(t, bustest.Server(t)), kv.Config{Name: "lone"})
	if err != nil {
		t.Fatal(err)
	}
	if servers, err := lone.Servers(t.Context()); err != nil || servers != nil {
		t.Errorf("a bucket without a cluster is on %v, %v", servers, err)
	}
}
