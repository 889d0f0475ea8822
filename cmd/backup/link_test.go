//go:build unix

package main

import (
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"servidor-backup/bus/bustest"
)

// link is a relay between one program and one server. It can be cut, and it can stop carrying
// data in one or both directions.
type link struct {
	address, to string
	listener    net.Listener

	mu    sync.Mutex
	cond  *sync.Cond // signals a change of mode or ended
	mode  linkMode
	conns map[net.Conn]struct{}
	ended bool
	sent  int64 // bytes that came from the program
	work  sync.WaitGroup
}

// linkMode is what a link does with data.
type linkMode int

const (
	linkOpen   linkMode = iota
	linkCut             // closes all connections, new ones too
	linkSilent          // holds data in both directions
	linkDeaf            // holds what the program sends
	linkMute            // holds what the program is to receive
	linkModes
)

func (m linkMode) String() string { return [...]string{"open", "cut", "silent", "deaf", "mute"}[m] }

// reversed is the mode as seen from the other end.
func (m linkMode) reversed() linkMode {
	switch m {
	case linkDeaf:
		return linkMute
	case linkMute:
		return linkDeaf
	}
	return m
}

// newLink listens on a free address until the test ends.
func newLink(t testing.TB, to string) *link {
	t.Helper()
	l := &link{address: bustest.FreeAddress(t), to: to, conns: map[net.Conn]struct{}{}}
	l.cond = sync.NewCond(&l.mu)
	var err error
	if l.listener, err = net.Listen("tcp", l.address); err != nil {
		t.Fatal(err)
	}
	l.work.Go(l.accept)
	t.Cleanup(l.close)
	return l
}

func (l *link) close() {
	_ = l.listener.Close()
	l.mu.Lock()
	l.ended = true
	l.closeAll()
	l.cond.Broadcast()
	l.mu.Unlock()
	l.work.Wait()
}

// closeAll closes all connections. The caller holds the lock.
func (l *link) closeAll() {
	for c := range l.conns {
		_ = c.Close()
	}
	clear(l.conns)
}

// set changes the mode.
func (l *link) set(mode linkMode) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mode = mode; mode == linkCut {
		l.closeAll()
	}
	l.cond.Broadcast()
}

func (l *link) open() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mode == linkOpen
}

func (l *link) accept() {
	for {
		from, err := l.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			l.work.Go(func() { l.carry(from) })
		}
	}
}

// carry connects to the server and relays in both directions.
func (l *link) carry(from net.Conn) {
	if !l.enter(from) {
		return
	}
	to, err := net.DialTimeout("tcp", l.to, 5*time.Second)
	if err != nil {
		_ = from.Close()
		return
	}
	if !l.enter(to) {
		_ = from.Close()
		return
	}
	l.work.Go(func() { l.relay(from, to, linkDeaf) })
	l.relay(to, from, linkMute)
}

// enter registers a connection, or closes it if the link is cut.
func (l *link) enter(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mode == linkCut || l.ended {
		_ = c.Close()
		return false
	}
	l.conns[c] = struct{}{}
	return true
}

// relay copies data while the mode allows it. stopping is the mode that stops only this
// direction.
func (l *link) relay(from, to net.Conn, stopping linkMode) {
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, c := range []net.Conn{from, to} {
			_ = c.Close()
			delete(l.conns, c)
		}
	}()
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if n > 0 {
			l.mu.Lock()
			for (l.mode == linkSilent || l.mode == stopping) && !l.ended {
				l.cond.Wait()
			}
			if stopping == linkDeaf {
				l.sent += int64(n)
			}
			l.mu.Unlock()
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// The links of the fault tests do what their modes say.
func TestLink(t *testing.T) {
	t.Parallel()
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	served := make(chan net.Conn, 10)
	go func() {
		for {
			c, err := server.Accept()
			if err != nil {
				return
			}
			served <- c
		}
	}()
	l := newLink(t, server.Addr().String())
	dial := func() net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", l.address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	near := dial()
	far := bustest.Receive(t, "the connection", served)
	got := map[net.Conn]chan byte{near: make(chan byte, 10), far: make(chan byte, 10)}
	for c, ch := range got {
		go func() {
			defer close(ch)
			for b := make([]byte, 1); ; {
				if _, err := c.Read(b); err != nil {
					return
				}
				ch <- b[0]
			}
		}()
	}
	say := func(c net.Conn, b byte) {
		t.Helper()
		if _, err := c.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	hears := func(c net.Conn, want byte) {
		t.Helper()
		if b := bustest.Receive(t, "a byte", got[c]); b != want {
			t.Fatalf("got %c, want %c", b, want)
		}
	}
	say(near, 'a')
	hears(far, 'a')
	l.set(linkDeaf)
	say(near, 'b')
	say(far, 'c')
	hears(near, 'c')
	if len(got[far]) > 0 {
		t.Error("a deaf link carried something")
	}
	l.set(linkMute)
	hears(far, 'b')
	say(far, 'd')
	say(near, 'e')
	hears(far, 'e')
	l.set(linkOpen)
	hears(near, 'd')
	l.set(linkCut)
	for c := range got {
		if b, open := <-got[c]; open {
			t.Errorf("a cut link carried %c", b)
		}
	}
	if _, err := dial().Read(make([]byte, 1)); err == nil {
		t.Error("a cut link carried something")
	}
	l.set(linkOpen)
	again := dial()
	say(again, 'f')
	if _, err := bustest.Receive(t, "a new connection", served).Read(make([]byte, 1)); err != nil {
		t.Error(err)
	}
}
