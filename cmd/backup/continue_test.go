//go:build unix

package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"servidor-backup/bus/bustest"
)

// A first backup whose link is cut again and again, and whose client is killed, with a collection
// after each kill, sends hardly more than its content in all. The long variant waits after each
// kill until the session of the killed client has lapsed, so that only the checkpoint keeps what
// was sent.
func TestAKilledBackupIsContinued(t *testing.T) {
	w := newWorld(t, 3*time.Minute)
	const files = 16
	size := pick(t, 2<<20, 128<<20) // of each file
	kills := pick(t, 1, 3)
	every, cut := pick(t, time.Second, 20*time.Second), pick(t, 250*time.Millisecond, 5*time.Second)
	lapse := pick(t, 0, 125*time.Second)
	src := filepath.Join(w.dir(), "src")
	for i := range files {
		w.write(filepath.Join(src, fmt.Sprint(i)), random(uint64(i), size))
	}
	_, url := w.up(w.dir())
	l := newLink(t, strings.TrimPrefix(url, "nats://"))
	here, far := w.with("BACKUP_SERVER="+url), w.with("BACKUP_SERVER=nats://"+l.address)
	limit := pick(t, "8M", "16M")

	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			for _, phase := range []struct {
				mode linkMode
				time time.Duration
			}{{linkOpen, every}, {linkCut, cut}} {
				l.set(phase.mode)
				select {
				case <-end:
					l.set(linkOpen)
					return
				case <-time.After(phase.time):
				}
			}
		}
	}()
	defer func() { close(end); <-ended }()

	total := int64(files * size)
	for i := range kills {
		cmd := far.command("transmit", src, "--limit-upload", limit, "-q")
		for !l.open() {
			w.pause(20 * time.Millisecond)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for part := total * int64(i+1) / int64(kills+1); l.bytesSent() < part; {
			w.pause(20 * time.Millisecond)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // it was killed
		t.Logf("killed after %d bytes", l.bytesSent())
		w.pause(lapse)
		here.ok("gc", "--grace", "0s")
	}
	var res saved
	bustest.Eventually(t, "a connection at the first try", func() bool { // the link may be cut just now
		o := far.run("transmit", "--json", "--limit-upload", limit, src)
		if o.code == exitDone {
			res = parse[saved](t, o.out)
		}
		return o.code == exitDone
	})
	t.Logf("%d bytes were sent for %d of content, %d by the last client", l.bytesSent(), total, res.Sent)
	if most := total + total/10; long && l.bytesSent() > most {
		t.Errorf("%d bytes were sent, at most %d are right", l.bytesSent(), most)
	}
	if most := total*3/4 + total/8; res.Sent > most {
		t.Errorf("the last client sent %d bytes, at most %d are right", res.Sent, most)
	}
	here.restores("src", src)
}

// bytesSent is how many bytes the program has sent over the link.
func (l *link) bytesSent() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sent
}

// pause lets time pass, unless the test's time is over.
func (w *world) pause(d time.Duration) {
	w.Helper()
	select {
	case <-time.After(d):
	case <-w.ctx.Done():
		w.Fatal("the test takes too long")
	}
}
