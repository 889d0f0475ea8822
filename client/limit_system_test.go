package client_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"testing"
	"time"

	"servidor-backup/bus/bustest"
	"servidor-backup/client"
	"servidor-backup/client/internal/clienttest"
	"servidor-backup/client/internal/transfer"
	"servidor-backup/client/treetest"
)

// limit is low beside what loopback and a disk can do, in bytes per second.
const limit = 6 << 20

// within fails the test unless so many bytes took as long as the limit says,
// but for a fifth.
func within(t *testing.T, what string, bytes int64, since time.Time) {
	t.Helper()
	rate := float64(bytes) / time.Since(since).Seconds()
	t.Logf("%s: %.0f KiB/s of %d", what, rate/1024, limit/1024)
	if bytes < limit || rate > 1.2*limit {
		t.Errorf("%s: %d bytes with %.0f bytes/s, at most %d are allowed", what, bytes, rate, limit)
	}
}

func TestLimits(t *testing.T) {
	w := newWorld(t, 2)
	src, to := treetest.TempDir(t), treetest.TempDir(t)
	content := clienttest.Noise(9, 3*limit/2)
	write(t, filepath.Join(src, "file"), content)
	c := w.client(func(o *client.Options) { o.UploadLimit, o.DownloadLimit = limit, limit })

	start := time.Now()
	saved := save(t, c, client.BackupOptions{Paths: []string{src}, Name: "things"})
	within(t, "saving", saved.Sent, start)

	start = time.Now()
	var out bytes.Buffer
	if err := c.Cat(t.Context(), "things", "file", &out); err != nil || !bytes.Equal(out.Bytes(), content) {
		t.Errorf("%d bytes came: %v", out.Len(), err)
	}
	within(t, "reading", int64(out.Len()), start)

	start = time.Now()
	back := bringBack(t, c, client.RestoreOptions{ID: "things", To: to})
	within(t, "bringing back", back.Received, start)
	same(t, src, filepath.Join(to, back.Top[0]))
}

// Who waits for a limit can be interrupted.
func TestLimitsCanBeInterrupted(t *testing.T) {
	w := newWorld(t, 1)
	src := treetest.TempDir(t)
	write(t, filepath.Join(src, "file"), clienttest.Noise(9, 3<<20))
	save(t, w.client(), client.BackupOptions{Paths: []string{src}, Name: "things"})
	write(t, filepath.Join(src, "other"), clienttest.Noise(10, 3<<20))
	// It would take hours.
	c := w.client(func(o *client.Options) { o.UploadLimit, o.DownloadLimit = 100, 100 })
	for name, do := range map[string]func(context.Context, *client.Progress) error{
		"saving": func(ctx context.Context, p *client.Progress) error {
			_, err := c.Backup(ctx, client.BackupOptions{Paths: []string{src}, Name: "things", Progress: p})
			return err
		},
		"bringing back": func(ctx context.Context, p *client.Progress) error {
			_, err := c.Restore(ctx, client.RestoreOptions{ID: "things", To: treetest.TempDir(t), Progress: p})
			return err
		},
		"reading": func(ctx context.Context, p *client.Progress) error {
			p.Bytes.Add(1)
			return c.Cat(ctx, "things", "file", io.Discard)
		},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		done, p := make(chan error, 1), new(transfer.Progress)
		go func() { done <- do(ctx, p) }()
		if name != "bringing back" { // the descent waits before any content comes
			bustest.Eventually(t, name+" has begun", func() bool { return p.Bytes.Load() > 0 })
		}
		select {
		case err := <-done:
			t.Errorf("%s did not wait: %v", name, err)
		default:
		}
		cancel()
		if err := bustest.Receive(t, name+" ends", done); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
