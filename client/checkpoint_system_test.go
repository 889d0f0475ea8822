package client_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"servidor-backup/bus/bustest"
	"servidor-backup/client"
	"servidor-backup/client/internal/clienttest"
	"servidor-backup/coordinator"
	"servidor-backup/schemas"
)

// newWorldOf is newWorld with a node and a coordinator with options.
func newWorldOf(t *testing.T, opt coordinator.Options) *world {
	t.Helper()
	w := &world{t: t, server: bustest.Server(t), key: filepath.Join(t.TempDir(), "ana.key")}
	nc := bustest.Connect(t, w.server)
	c, err := coordinator.Start(t.Context(), nc, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { check(t, c.Stop()) })
	w.addNode(nc, "node0")
	return w
}

// collect runs a collection of everything that nothing needs.
func (w *world) collect(c *client.Client) {
	w.t.Helper()
	none := int64(0)
	begun, err := c.Collect(w.t.Context(), &schemas.CollectRequest{Start: true, Grace: &none})
	if err != nil {
		w.t.Fatal(err)
	}
	bustest.Eventually(w.t, "the collection ends", func() bool {
		now, err := c.Collect(w.t.Context(), nil)
		if err != nil || now.Error != "" {
			w.t.Fatalf("%+v, %v", now, err)
		}
		return now.Generation >= begun.Generation && now.Ended > 0
	})
}

// collectAfterSessions collects until the sessions so far have lapsed: they protect a version that
// is forgotten.
func (w *world) collectAfterSessions(c *client.Client) {
	w.t.Helper()
	src := filepath.Join(w.t.TempDir(), "garbage")
	write(w.t, src, clienttest.Noise(77, 3000))
	save(w.t, c, client.BackupOptions{Paths: []string{src}})
	_, err := c.Forget(w.t.Context(), "garbage", false)
	check(w.t, err)
	before := w.stores[0].Stats().Chunks
	bustest.Eventually(w.t, "the garbage is collected", func() bool {
		w.collect(c)
		return w.stores[0].Stats().Chunks < before
	})
}

// A backup that was interrupted leaves what it has sent, also for a backup after a collection. No
// version of it is listed.
func TestInterruptedBackupIsContinued(t *testing.T) {
	w := newWorldOf(t, coordinator.Options{SessionTTL: time.Second})
	src := t.TempDir()
	const files, size = 8, 2 << 20
	for i := range files {
		write(t, filepath.Join(src, fmt.Sprint(i)), clienttest.Noise(byte(i), size))
	}
	slow := w.client(func(o *client.Options) { o.UploadLimit = 8 << 20 })
	ctx, interrupt := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	opt := client.BackupOptions{Paths: []string{src}, Name: "r"}
	go func() {
		_, err := slow.Backup(ctx, opt)
		ended <- err
	}()
	bustest.Eventually(t, "a part is sent", func() bool { return w.stores[0].Stats().Bytes > files*size/2 })
	interrupt()
	var left *client.Unfinished
	if err := bustest.Receive(t, "the end", ended); !errors.As(err, &left) || !errors.Is(err, context.Canceled) {
		t.Fatalf("the backup ended with %v", err)
	}
	if left.Sent < files*size/8 || time.Until(left.Until) < 71*time.Hour {
		t.Errorf("%d bytes are kept until %v", left.Sent, left.Until)
	}
	c := w.client()
	if records, err := c.Records(t.Context(), client.ListOptions{}); err != nil || len(records) > 0 {
		t.Errorf("the records are %v, %v", records, err)
	}
	w.collectAfterSessions(c)
	continued := int64(0)
	res := save(t, c, client.BackupOptions{Paths: []string{src}, Name: "r", Continuing: func(sent int64) { continued = sent }})
	if continued != left.Sent || res.Sent > files*size-left.Sent+files*size/16 {
		t.Errorf("%d bytes of %d were kept; %d were said to be, and %d were sent again", left.Sent, files*size, continued, res.Sent)
	}
	to := t.TempDir()
	restore(t, c, client.RestoreOptions{ID: "r", To: to})
	same(t, src, filepath.Join(to, filepath.Base(src)))
	save(t, c, client.BackupOptions{Paths: []string{src}, Name: "r", Continuing: func(int64) { t.Error("a finished backup is continued") }})
}
