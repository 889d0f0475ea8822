package kv_test

import (
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"servidor-backup/bus/bustest"
)

// A write whose acknowledgement is lost is known again: it is neither taken for
// somebody else's nor made twice.
func TestBucketKnowsItsOwnWrite(t *testing.T) {
	s := bustest.Server(t)
	p := newMuffler(t, strings.TrimPrefix(s.URL(), "nats://"))
	nc, other := bustest.Dial(t, p.url()), bustest.Connect(t, s)
	b, direct := openBucket(t, nc, "own"), openBucket(t, other, "own")
	ctx := bustest.Patient(t)
	if _, err := b.Create(ctx, "warm", counter{}); err != nil {
		t.Fatal(err)
	}
	// unheard runs write while nothing comes back, until the bucket has it; then
	// the connection is lost, and the next one works.
	unheard := func(n int, write func() (uint64, error)) uint64 {
		t.Helper()
		type result struct {
			revision uint64
			err      error
		}
		done := make(chan result, 1)
		p.muffled.Store(true)
		go func() {
			revision, err := write()
			done <- result{revision, err}
		}()
		bustest.Eventually(t, "the write arrives", func() bool {
			var got counter
			_, err := direct.Get(ctx, "k", &got)
			return err == nil && got.N == n
		})
		p.muffled.Store(false)
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
	revision := unheard(1, func() (uint64, error) { return b.Create(ctx, "k", counter{1}) })
	unheard(2, func() (uint64, error) { return b.Update(ctx, "k", counter{2}, revision) })
}

// muffler is a connection through which nothing comes back while it is muffled.
type muffler struct {
	l       net.Listener
	muffled atomic.Bool
	mu      sync.Mutex
	open    []net.Conn
}

func newMuffler(t *testing.T, to string) *muffler {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &muffler{l: l}
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
				_, _ = io.Copy(muffledConn{from, &p.muffled}, there)
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

func (p *muffler) url() string { return "nats://" + p.l.Addr().String() }

// cut ends all connections.
func (p *muffler) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.open {
		c.Close()
	}
	p.open = nil
}

type muffledConn struct {
	net.Conn
	muffled *atomic.Bool
}

func (q muffledConn) Write(b []byte) (int, error) {
	if q.muffled.Load() {
		return len(b), nil
	}
	return q.Conn.Write(b)
}
