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

// link is the way from one program to one server: a relay that can be cut, made
// silent in one direction or both, and mended again.
type link struct {
	address, to string
	listener    net.Listener

	mu    sync.Mutex
	mend  *sync.Cond
	mode  linkMode
	conns map[net.Conn]struct{}
	ended bool
	work  sync.WaitGroup
}

// linkMode is what a link does with what comes.
type linkMode int

const (
	linkWhole linkMode = iota
	linkCut            // connections are closed, new ones too
	linkSilent
	linkDeaf // what the program sends is lost on the way; what it is sent comes
	linkMute // the other way round
	linkModes
)

func (m linkMode) String() string { return [...]string{"whole", "cut", "silent", "deaf", "mute"}[m] }

// reversed is the mode as it is seen from the other end.
func (m linkMode) reversed() linkMode {
	switch m {
	case linkDeaf:
		return linkMute
	case linkMute:
		return linkDeaf
	}
	return m
}

// newLink listens on an address of its own until the test ends.
func newLink(t testing.TB, to string) *link {
	t.Helper()
	l := &link{address: bustest.FreeAddress(t), to: to, conns: map[net.Conn]struct{}{}}
	l.mend = sync.NewCond(&l.mu)
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
	l.mend.Broadcast()
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

// set changes what the link does.
func (l *link) set(mode linkMode) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mode = mode; mode == linkCut {
		l.closeAll()
	}
	l.mend.Broadcast()
}

func (l *link) whole() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mode == linkWhole
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

// carry joins a connection with one of its own.
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

// enter notes a connection, or closes it if the link is cut.
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

// relay copies what comes, as long as the mode lets it; stopping is the mode of the
// link that stops this direction alone.
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
				l.mend.Wait()
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

// TestLink: the fault suite's own tool does what its faults are named after.
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
			t.Fatalf("%c came in place of %c", b, want)
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
	l.set(linkWhole)
	hears(near, 'd')
	l.set(linkCut)
	for c := range got {
		if b, open := <-got[c]; open {
			t.Errorf("%c came over a link that is cut", b)
		}
	}
	if _, err := dial().Read(make([]byte, 1)); err == nil {
		t.Error("a link that is cut carried something")
	}
	l.set(linkWhole)
	again := dial()
	say(again, 'f')
	if _, err := bustest.Receive(t, "a new connection", served).Read(make([]byte, 1)); err != nil {
		t.Error(err)
	}
}
