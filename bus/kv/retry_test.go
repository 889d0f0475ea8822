package kv_test

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"servidor-backup/bus/bustest"
	"servidor-backup/bus/embedded"
	"servidor-backup/bus/kv"
)

// A write whose acknowledgement is lost is recognized when it is retried: it is neither
// taken for another client's nor made twice.
func TestRetryRecognizesTheFirstWrite(t *testing.T) {
	s := bustest.Server(t)
	p := newMutingProxy(t, strings.TrimPrefix(s.URL(), "nats://"))
	nc, other := bustest.Dial(t, p.url()), bustest.Connect(t, s)
	b, direct := openBucket(t, nc, "own"), openBucket(t, other, "own")
	ctx := bustest.Context(t)
	if _, err := b.Create(ctx, "warm", counter{}); err != nil {
		t.Fatal(err)
	}
	// unacknowledged runs write on a muted connection until the bucket has the value. Then
	// it cuts the connection; the next one is not muted.
	unacknowledged := func(n int, write func() (uint64, error)) uint64 {
		t.Helper()
		type result struct {
			revision uint64
			err      error
		}
		done := make(chan result, 1)
		p.muted.Store(true)
		go func() {
			revision, err := write()
			done <- result{revision, err}
		}()
		bustest.Eventually(t, "the write arrives", func() bool {
			var got counter
			_, err := direct.Get(ctx, "k", &got)
			return err == nil && got.N == n
		})
		p.muted.Store(false)
		p.cut()
		r := bustest.Receive(t, "the end of the write", done)
		if r.err != nil {
			t.Fatalf("write %d: %v", n, r.err)
		}
		var got counter
		if revision, err := direct.Get(ctx, "k", &got); err != nil || got.N != n || revision != r.revision {
			t.Errorf("write %d is at %d and says %d; %v, %v", n, revision, r.revision, got, err)
		}
		return r.revision
	}
	revision := unacknowledged(1, func() (uint64, error) { return b.Create(ctx, "k", counter{1}) })
	unacknowledged(2, func() (uint64, error) { return b.Update(ctx, "k", counter{2}, revision) })
}

// Opening a bucket tries again when the server could not make the stream's directory, which
// happens when it is just removing the directory of the last stream. If the server still
// cannot, opening fails.
func TestOpenRetriesWhileTheServerCannotMakeTheStream(t *testing.T) {
	dir := t.TempDir()
	s := bustest.StartServer(t, embedded.Options{Dir: dir, Listen: "127.0.0.1:0"})
	defer bustest.Shutdown(t, s)
	nc := bustest.Dial(t, s.URL())
	tries, err := nc.SubscribeSync("$JS.API.STREAM.CREATE.*")
	if err != nil {
		t.Fatal(err)
	}
	nextTry := func() {
		t.Helper()
		if _, err := tries.NextMsgWithContext(bustest.Context(t)); err != nil {
			t.Fatal("wait for a try: ", err)
		}
	}
	streams, moved := filepath.Join(dir, "jetstream"), filepath.Join(dir, "moved")
	if err := errors.Join(os.Rename(streams, moved), os.WriteFile(streams, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	_, err = kv.Open(bustest.Context(t), nc, kv.Config{Name: "retried"})
	var api *jetstream.APIError
	if !errors.As(err, &api) || api.ErrorCode != 10049 {
		t.Errorf("with a file in place of JetStream's directory: %v", err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	for n, _, err := tries.Pending(); n > 0; n, _, err = tries.Pending() {
		if err != nil {
			t.Fatal(err)
		}
		nextTry()
	}
	ended := make(chan error, 1)
	go func() {
		_, err := kv.Open(bustest.Context(t), nc, kv.Config{Name: "retried"})
		ended <- err
	}()
	nextTry()
	nextTry() // the first one has failed
	if err := errors.Join(os.Remove(streams), os.Rename(moved, streams)); err != nil {
		t.Fatal(err)
	}
	if err := bustest.Receive(t, "the end of opening", ended); err != nil {
		t.Error(err)
	}
}

// mutingProxy passes connections on, but drops the bytes of the server while it is muted.
type mutingProxy struct {
	l     net.Listener
	muted atomic.Bool
	mu    sync.Mutex
	open  []net.Conn
}

func newMutingProxy(t *testing.T, to string) *mutingProxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &mutingProxy{l: l}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			there, err := net.Dial("tcp", to)
			if err != nil {
				from.Close()
				continue
			}
			p.mu.Lock()
			p.open = append(p.open, from, there)
			p.mu.Unlock()
			all.Go(func() {
				_, _ = io.Copy(there, from)
				there.Close()
			})
			all.Go(func() {
				_, _ = io.Copy(mutedConn{from, &p.muted}, there)
				from.Close()
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.cut()
		all.Wait()
	})
	return p
}

func (p *mutingProxy) url() string { return "nats://" + p.l.Addr().String() }

// cut ends all connections.
func (p *mutingProxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.open {
		c.Close()
	}
	p.open = nil
}

type mutedConn struct {
	net.Conn
	muted *atomic.Bool
}

func (q mutedConn) Write(b []byte) (int, error) {
	if q.muted.Load() {
		return len(b), nil
	}
	return q.Conn.Write(b)
}
