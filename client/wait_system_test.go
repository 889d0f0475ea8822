package client_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"servidor-backup/bus"
	"servidor-backup/bus/bustest"
	"servidor-backup/client"
	"servidor-backup/client/internal/clienttest"
	"servidor-backup/coordinator"
	"servidor-backup/schemas"
)

// link relays connections to a server, and can be cut.
type link struct {
	t       *testing.T
	address string
	to      string

	mu       sync.Mutex
	listener net.Listener // nil while the link is cut
	open     map[net.Conn]struct{}
	relays   sync.WaitGroup
}

func newLink(t *testing.T, w *world) *link {
	t.Helper()
	l := &link{t: t, address: bustest.FreeAddress(t), to: w.server.URL()[len("nats://"):], open: map[net.Conn]struct{}{}}
	l.mend()
	t.Cleanup(l.cut)
	return l
}

func (l *link) mend() {
	l.t.Helper()
	listener, err := net.Listen("tcp", l.address)
	if err != nil {
		l.t.Fatal(err)
	}
	l.mu.Lock()
	l.listener = listener
	l.mu.Unlock()
	l.relays.Go(func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("tcp", l.to)
			if err != nil {
				from.Close()
				continue
			}
			l.mu.Lock()
			l.open[from], l.open[to] = struct{}{}, struct{}{}
			cut := l.listener != listener
			l.mu.Unlock()
			if cut {
				from.Close()
				to.Close()
			}
			for _, pair := range [][2]net.Conn{{from, to}, {to, from}} {
				l.relays.Go(func() {
					_, _ = io.Copy(pair[0], pair[1])
					pair[0].Close()
					pair[1].Close()
				})
			}
		}
	})
}

// cut closes all connections, and refuses others until mend.
func (l *link) cut() {
	l.mu.Lock()
	if l.listener != nil {
		l.listener.Close()
		l.listener = nil
	}
	for c := range l.open {
		c.Close()
	}
	clear(l.open)
	l.mu.Unlock()
	l.relays.Wait()
}

// backup begins a slow backup over the link, and returns when a part of it is sent.
func (l *link) backup(w *world, change func(*client.Options)) (src string, ended <-chan error) {
	l.t.Helper()
	c := w.client(func(o *client.Options) { o.Server, o.UploadLimit = "nats://"+l.address, 4<<20 }, change)
	src = filepath.Join(l.t.TempDir(), "x")
	write(l.t, src, clienttest.Noise(1, 16<<20))
	end := make(chan error, 1)
	go func() {
		_, err := c.Backup(l.t.Context(), client.BackupOptions{Paths: []string{src}})
		end <- err
	}()
	bustest.Eventually(l.t, "a part is sent", func() bool { return w.stores[0].Stats().Bytes > 2<<20 })
	return src, end
}

// A backup whose server is gone says since when, and ends when the wait that was asked for is over.
func TestTheWaitForTheServerIsObeyed(t *testing.T) {
	w := newWorld(t, 1)
	l := newLink(t, w)
	var said bustest.Statuses
	_, ended := l.backup(w, func(o *client.Options) { o.Wait, o.Status = 2*time.Second, said.Add })
	l.cut()
	if err := bustest.Receive(t, "the end", ended); !errors.Is(err, bus.ErrNoServer) {
		t.Errorf("the backup ended with %v", err)
	}
	if !said.Contains("waiting for the server nats://" + l.address + ", silent since ") {
		t.Errorf("the status was %q", said.All())
	}
}

// A backup goes on when its link is back, also if its session has lapsed and a collection has
// removed what it had sent.
func TestABackupGoesOnWhenItsLinkIsBack(t *testing.T) {
	w := newWorldOf(t, coordinator.Options{SessionTTL: time.Second})
	l := newLink(t, w)
	src, ended := l.backup(w, func(*client.Options) {})
	l.cut()
	c := w.client()
	w.collectAfterSessions(c)
	if _, err := c.Forget(t.Context(), "x", false); err != nil && schemas.CodeOf(err) != schemas.UnknownRecord {
		t.Error(err)
	}
	w.collect(c) // now without its checkpoint
	l.mend()
	if err := bustest.Receive(t, "the end", ended); err != nil {
		t.Fatal(err)
	}
	to := t.TempDir()
	restore(t, c, client.RestoreOptions{ID: "x@1", To: to})
	want, err := os.ReadFile(src)
	check(t, err)
	if got, err := os.ReadFile(filepath.Join(to, "x")); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes were restored, %v", len(got), err)
	}
}
