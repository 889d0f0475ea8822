//go:build unix

package main

import (
	"bytes"
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
	size := pick(t, 1<<19, 128<<20) // of each file
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
	limit := pick(t, "4M", "16M")

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
		part := total * int64(i+1) / int64(kills+1)
		for l.bytesSent() < part {
			said := far.killAfter(l, part, "transmit", src, "--limit-upload", limit, "-q")
			// The link may be cut just when the client connects.
			if said != "" && !strings.Contains(said, "no NATS server answers") {
				t.Fatalf("the backup ended before it was killed: %s", said)
			}
		}
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

// killAfter runs the program, and kills it when that many bytes were sent over the link. It
// returns what the program has said on stderr, which is nothing if it was killed.
func (w *world) killAfter(l *link, limit int64, args ...string) string {
	w.Helper()
	cmd := w.command(args...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		w.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for l.bytesSent() < limit {
		select {
		case <-ended:
			return errs.String()
		case <-time.After(20 * time.Millisecond):
		}
	}
	_ = cmd.Process.Kill() // it may have ended
	<-ended
	return errs.String()
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
