package kv_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"

	"servidor-backup/bus/bustest"
	"servidor-backup/bus/embedded"
	"servidor-backup/bus/kv"
	"servidor-backup/schemas"
)

type counter struct {
	N int `msgpack:"n"`
}

func openBucket(t *testing.T, nc *nats.Conn, name string) *kv.Bucket {
	t.Helper()
	b, err := kv.Open(bustest.Context(t), nc, kv.Config{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A bucket that was lost and is recreated starts above the revisions of the lost one, so
// that a client never takes an old revision for a new one.
func TestBucketMadeAnewStartsAboveOldRevisions(t *testing.T) {
	nc := bustest.Connect(t, bustest.Server(t))
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	var last uint64
	for range 3 {
		ctx, b := bustest.Context(t), openBucket(t, nc, "lost")
		first := b.FirstRevision()
		if first <= last {
			t.Fatalf("the bucket starts with revision %d, after %d in the lost one", first, last)
		}
		for i := range 20 {
			revision, err := b.Create(ctx, fmt.Sprint("k", i), counter{i})
			if err != nil || revision <= last {
				t.Fatalf("revision %d follows %d, %v", revision, last, err)
			}
			last = revision
		}
		for i := range 20 {
			if err := b.Delete(ctx, fmt.Sprint("k", i)); err != nil {
				t.Fatal(err)
			}
			last++
		}
		if still := openBucket(t, nc, "lost").FirstRevision(); still != first {
			t.Fatalf("the first revision was %d, and is %d after the bucket was opened again", first, still)
		}
		if err := js.DeleteStream(ctx, "KV_lost"); err != nil {
			t.Fatal(err)
		}
	}
}

// A write whose expected revision is no longer current fails.
func TestBucketComparesAndSets(t *testing.T) {
	nc := bustest.Connect(t, bustest.Server(t))
	ctx, b := bustest.Context(t), openBucket(t, nc, "cas")
	var got counter
	_, err := b.Get(ctx, "k", &got)
	bustest.WantIs(t, err, kv.ErrNotFound)
	first, err := b.Create(ctx, "k", counter{1})
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.Create(ctx, "k", counter{2})
	bustest.WantIs(t, err, kv.ErrExists)
	second, err := b.Update(ctx, "k", counter{2}, first)
	if err != nil || second <= first {
		t.Fatalf("the update gives revision %d after %d, %v", second, first, err)
	}
	_, err = b.Update(ctx, "k", counter{3}, first)
	bustest.WantIs(t, err, kv.ErrConflict)
	if revision, err := b.Get(ctx, "k", &got); err != nil || got.N != 2 || revision != second {
		t.Errorf("the value is %v at %d, %v", got, revision, err)
	}
	if err := b.Delete(ctx, "k"); err != nil {
		t.Fatal(err)
	}
	_, err = b.Get(ctx, "k", &got)
	bustest.WantIs(t, err, kv.ErrNotFound)
	if _, err := b.Create(ctx, "k", counter{4}); err != nil {
		t.Errorf("a deleted key cannot be created again: %v", err)
	}
	_, err = b.Get(ctx, "not/a key", &got)
	if err == nil || errors.Is(err, kv.ErrNotFound) {
		t.Errorf("an invalid key gives %v", err)
	}
}

// No increment of concurrent edits is lost, from the creation of the key on.
func TestConcurrentEditsLoseNothing(t *testing.T) {
	s := bustest.Server(t)
	const writers, each = 8, 15
	ctx := bustest.Context(t)
	revisions := make(chan uint64, writers*each)
	var all sync.WaitGroup
	for range writers {
		b := openBucket(t, bustest.Connect(t, s), "edits")
		all.Go(func() {
			for range each {
				var c counter
				revision, err := b.Edit(ctx, "k", &c, func() { c = counter{} }, func() (bool, error) {
					c.N++
					return true, nil
				})
				if err != nil {
					t.Error(err)
					return
				}
				revisions <- revision
			}
		})
	}
	all.Wait()
	close(revisions)
	seen := map[uint64]bool{}
	for r := range revisions {
		seen[r] = true
	}
	var got counter
	if _, err := openBucket(t, bustest.Connect(t, s), "edits").Get(ctx, "k", &got); err != nil || got.N != writers*each || len(seen) != writers*each {
		t.Errorf("%d increments gave %v with %d revisions, %v", writers*each, got, len(seen), err)
	}
}

// Edit writes nothing if change returns false, and returns change's error.
func TestEditMayLeaveTheValue(t *testing.T) {
	b := openBucket(t, bustest.Connect(t, bustest.Server(t)), "declined")
	ctx := bustest.Context(t)
	var c counter
	reset := func() { c = counter{} }
	if revision, err := b.Edit(ctx, "k", &c, reset, func() (bool, error) { return false, nil }); err != nil || revision != 0 {
		t.Errorf("an edit that changes nothing returns %d, %v", revision, err)
	}
	mine := errors.New("mine")
	_, err := b.Edit(ctx, "k", &c, reset, func() (bool, error) { return true, mine })
	bustest.WantIs(t, err, mine)
	_, err = b.Get(ctx, "k", &c)
	bustest.WantIs(t, err, kv.ErrNotFound)
}

// A scan visits the keys that match, in the order of their last writes, without deleted ones.
func TestScanVisitsMatchingKeys(t *testing.T) {
	b := openBucket(t, bustest.Connect(t, bustest.Server(t)), "scanned")
	ctx := bustest.Context(t)
	for i, key := range []string{"a.x.1", "a.y.2", "b.x.3", "a.x.4", "a.x"} {
		if _, err := b.Create(ctx, key, counter{i}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Delete(ctx, "a.x.4"); err != nil {
		t.Fatal(err)
	}
	for filter, want := range map[string]string{
		"a.x.*": "a.x.1", "a.>": "a.x.1 a.y.2 a.x", "*.x.*": "a.x.1 b.x.3", ">": "a.x.1 a.y.2 b.x.3 a.x", "none.*": "",
	} {
		var keys []string
		err := b.Scan(ctx, filter, func(e kv.Entry) error {
			var c counter
			keys = append(keys, e.Key)
			return e.Decode(&c)
		})
		if got := strings.Join(keys, " "); err != nil || got != want {
			t.Errorf("%s finds %q, want %q (%v)", filter, got, want, err)
		}
	}
}

// A key that is written again during a scan is visited, once.
func TestScanVisitsEveryKeyOnceDuringWrites(t *testing.T) {
	nc := bustest.Connect(t, bustest.Server(t))
	ctx, b := bustest.Context(t), openBucket(t, nc, "scan")
	const keys = 400
	var revisions [keys]uint64 // 0 means that the key does not exist yet
	write := func(i int) {
		i %= keys
		var err error
		if revisions[i], err = b.Update(ctx, fmt.Sprint("k.", i), counter{i}, revisions[i]); err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	}
	for i := range keys {
		write(i)
	}
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				write(i * 7)
			}
		}
	})
	for range 100 {
		seen := map[string]uint64{}
		err := b.Scan(ctx, "k.*", func(e kv.Entry) error {
			if seen[e.Key] != 0 {
				return fmt.Errorf("%s came twice", e.Key)
			}
			seen[e.Key] = e.Revision
			return nil
		})
		if err != nil || len(seen) != keys {
			t.Errorf("the scan visited %d of %d keys, %v", len(seen), keys, err)
			break
		}
	}
	close(stop)
	writer.Wait()
}

// A scan or a watch that ends early leaves no goroutine behind, whatever number of entries
// is still to come (TestMain checks for goroutines).
func TestScanAndWatchThatEndEarlyLeaveNothingBehind(t *testing.T) {
	nc := bustest.Connect(t, bustest.Server(t))
	ctx, b := bustest.Context(t), openBucket(t, nc, "long")
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for i := range 75 {
				if _, err := b.Create(ctx, fmt.Sprint(g, "-", i), counter{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	// They end after more entries have arrived than the library's channel holds.
	before := nc.Stats().InMsgs
	arrived := func() {
		bustest.Eventually(t, "the values arrive", func() bool { return nc.Stats().InMsgs > before+500 })
	}
	stop := errors.New("stop")
	bustest.WantIs(t, b.Scan(ctx, ">", func(kv.Entry) error { arrived(); return stop }), stop)
	before = nc.Stats().InMsgs
	ended, cancel := context.WithCancel(ctx)
	bustest.WantIs(t, b.Watch(ended, ">", func(*kv.Entry) { arrived(); cancel() }), context.Canceled)
}

// A watch visits the existing values, then nil, then changes, also after a reconnect.
func TestWatchSurvivesAReconnect(t *testing.T) {
	dir := t.TempDir()
	s := bustest.StartServer(t, embedded.Options{Dir: dir, Listen: bustest.FreeAddress(t)})
	nc := bustest.Dial(t, s.URL())
	b := openBucket(t, nc, "watched")
	ctx := bustest.Context(t)
	create := func(key string) {
		t.Helper()
		if _, err := b.Create(ctx, key, counter{1}); err != nil {
			t.Fatal(err)
		}
	}
	create("before")
	watching, stop := context.WithCancel(ctx)
	var seen bustest.Statuses
	ended := make(chan error, 1)
	go func() {
		ended <- b.Watch(watching, ">", func(e *kv.Entry) {
			switch {
			case e == nil:
				seen.Add(schemas.Sentence{Text: "all"})
			case e.Deleted:
				seen.Add(schemas.Sentence{Text: "-" + e.Key})
			default:
				seen.Add(schemas.Sentence{Text: e.Key})
			}
		})
	}()
	sees := func(want ...string) {
		t.Helper()
		bustest.Eventually(t, strings.Join(want, " "), func() bool { return slices.Equal(seen.All(), want) })
	}
	sees("before", "all")
	create("after")
	sees("before", "all", "after")
	bustest.Restart(t, s, dir, nc, func() {})
	bustest.Eventually(t, "the connection is back", nc.IsConnected)
	create("again")
	bustest.Eventually(t, "the change after the restart", func() bool { return seen.Last() == "again" })
	if err := b.Delete(ctx, "after"); err != nil {
		t.Fatal(err)
	}
	bustest.Eventually(t, "the deletion", func() bool { return seen.Last() == "-after" })
	stop()
	bustest.WantIs(t, bustest.Receive(t, "the end of the watch", ended), context.Canceled)
}

// A watch ends with an error when its connection is closed.
func TestWatchEndsWithTheConnection(t *testing.T) {
	nc := bustest.Connect(t, bustest.Server(t))
	b := openBucket(t, nc, "closed")
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- b.Watch(bustest.Context(t), ">", func(*kv.Entry) { close(ready) }) }()
	bustest.Receive(t, "the watch", ready)
	nc.Close()
	if err := bustest.Receive(t, "the end of the watch", ended); err == nil {
		t.Error("the watch ended without an error")
	}
}

// A value lapses after the TTL unless it is written again.
func TestValueLapsesAfterTheTTL(t *testing.T) {
	nc := bustest.Connect(t, bustest.Server(t))
	ctx := bustest.Context(t)
	b, err := kv.Open(ctx, nc, kv.Config{Name: "lapsing", TTL: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	revision, err := b.Create(ctx, "renewed", counter{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Create(ctx, "lapsing", counter{}); err != nil {
		t.Fatal(err)
	}
	var c counter
	bustest.Eventually(t, "the value lapses", func() bool {
		if revision, err = b.Update(ctx, "renewed", counter{}, revision); err != nil {
			t.Fatalf("update the value that must not lapse: %v", err)
		}
		_, err := b.Get(ctx, "lapsing", &c)
		return errors.Is(err, kv.ErrNotFound)
	})
}

// Different names have different tokens, every token is valid in a key, and names made of
// ordinary letters stay readable.
func TestTokenIsUniqueAndValid(t *testing.T) {
	for name, want := range map[string]string{
		"ana": "ana", "Ana-2_b": "Ana-2_b", "a.b": "a=2eb", "": "", "=": "=3d", "ção": "=c3=a7=c3=a3o", "a b": "a=20b",
	} {
		if got := kv.Token(name); got != want {
			t.Errorf("Token(%q) is %q, want %q", name, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawName(t, "a"), drawName(t, "b")
		if (kv.Token(a) == kv.Token(b)) != (a == b) {
			t.Fatalf("the tokens of %q and %q are %q and %q", a, b, kv.Token(a), kv.Token(b))
		}
		for _, c := range kv.Token(a) {
			if !strings.ContainsRune("-_=", c) && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
				t.Fatalf("the token of %q is %q, which contains %q", a, kv.Token(a), c)
			}
		}
		if n := len(kv.Token(a)); n > 200 {
			t.Fatalf("a token has %d bytes, at most 200 are allowed", n)
		}
	})
}

// drawName draws names that are similar to each other, and to the escapes and the length
// limit of tokens.
func drawName(t *rapid.T, label string) string {
	letters := rapid.SampledFrom([]string{"a", "=", "=2e", ".", "==", "\xff", "ç", strings.Repeat("x", 99), strings.Repeat(".", 50)})
	return strings.Join(rapid.SliceOfN(letters, 0, 6).Draw(t, label), "")
}

// NATS accepts keys that are made of tokens.
func TestTokensMakeValidKeys(t *testing.T) {
	b := openBucket(t, bustest.Connect(t, bustest.Server(t)), "tokens")
	for _, name := range []string{"a b", "*", ">", "a.b", "$", "\x00", "ç", strings.Repeat("é", 512), strings.Repeat("z", 1024)} {
		key := "record." + kv.Token(name) + "." + kv.Token(name)
		if _, err := b.Create(bustest.Context(t), key, counter{1}); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// DeleteRevision fails if the revision is not current, and leaves a tombstone with a value.
// Exists reports the current state.
func TestDeleteRevisionIsConditionalAndLeavesATombstone(t *testing.T) {
	b, err := kv.Open(bustest.Context(t), bustest.Connect(t, bustest.Server(t)), kv.Config{Name: "b"})
	if err != nil {
		t.Fatal(err)
	}
	ctx := bustest.Context(t)
	wantExists := func(key string, want bool) {
		t.Helper()
		if got, err := b.Exists(ctx, key); err != nil || got != want {
			t.Errorf("%s exists: %v, %v, want %v", key, got, err, want)
		}
	}
	wantExists("a.b", false)
	first, err := b.Create(ctx, "a.b", counter{1})
	if err != nil {
		t.Fatal(err)
	}
	wantExists("a.b", true)
	second, err := b.Update(ctx, "a.b", counter{2}, first)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.DeleteRevision(ctx, "a.b", first, nil); !errors.Is(err, kv.ErrConflict) {
		t.Errorf("at an old revision: %v", err)
	}
	wantExists("a.b", true)
	if err := b.DeleteRevision(ctx, "a.b", second, counter{3}); err != nil {
		t.Error(err)
	}
	wantExists("a.b", false)
	if err := b.DeleteRevision(ctx, "a.c", 0, counter{4}); err != nil { // a key that never existed
		t.Error(err)
	}
	if err := b.DeleteRevision(ctx, "a.b", 0, counter{5}); err != nil { // a key that is deleted
		t.Error(err)
	}
	tombstones := map[string]int{}
	err = b.ScanAll(ctx, ">", func(e kv.Entry) error {
		var c counter
		err := e.Decode(&c)
		if !e.Deleted {
			t.Errorf("%s is not deleted", e.Key)
		}
		tombstones[e.Key] = c.N
		return err
	})
	if want := map[string]int{"a.b": 5, "a.c": 4}; err != nil || !maps.Equal(tombstones, want) {
		t.Errorf("the tombstones have the values %v, %v, want %v", tombstones, err, want)
	}
	if _, err := b.Create(ctx, "a.c", counter{6}); err != nil {
		t.Error(err)
	}
	wantExists("a.c", true)
}
