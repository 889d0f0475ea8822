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

// wantWithinLimit fails the test if the bytes came at more than 1.2 times the limit.
func wantWithinLimit(t *testing.T, what string, bytes int64, since time.Time) {
	t.Helper()
	rate := float64(bytes) / time.Since(since).Seconds()
	t.Logf("%s: %.0f KiB/s of %d", what, rate/1024, limit/1024)
	if bytes < limit || rate > 1.2*limit {
		t.Errorf("%s: %d bytes at %.0f bytes/s, the limit is %d", what, bytes, rate, limit)
	}
}

func TestLimitsAreKept(t *testing.T) {
	w := newWorld(t, 2)
	src, to := treetest.TempDir(t), treetest.TempDir(t)
	content := clienttest.Noise(9, 3*limit/2)
	write(t, filepath.Join(src, "file"), content)
	c := w.client(func(o *client.Options) { o.UploadLimit, o.DownloadLimit = limit, limit })

	start := time.Now()
	progress := &client.Progress{Count: true}
	saved := save(t, c, client.BackupOptions{Paths: []string{src}, Name: "things", Progress: progress})
	wantWithinLimit(t, "backup", saved.Sent, start)
	// A backup that takes longer than a moment knows how much there is to do.
	if total := progress.TotalBytes.Load(); total != int64(len(content)) || !progress.Counted.Load() {
		t.Errorf("the backup counted %d bytes of %d", total, len(content))
	}

	start = time.Now()
	var out bytes.Buffer
	if _, err := c.Cat(t.Context(), "things", "file", &out); err != nil || !bytes.Equal(out.Bytes(), content) {
		t.Errorf("cat returned %d bytes, not those that were saved: %v", out.Len(), err)
	}
	wantWithinLimit(t, "cat", int64(out.Len()), start)

	start = time.Now()
	back := restore(t, c, client.RestoreOptions{ID: "things", To: to})
	wantWithinLimit(t, "restore", back.Received, start)
	same(t, src, filepath.Join(to, back.Top[0]))
}

// A wait for a limit can be interrupted.
func TestWaitForLimitCanBeInterrupted(t *testing.T) {
	w := newWorld(t, 1)
	src := treetest.TempDir(t)
	write(t, filepath.Join(src, "file"), clienttest.Noise(9, 3<<20))
	save(t, w.client(), client.BackupOptions{Paths: []string{src}, Name: "things"})
	write(t, filepath.Join(src, "other"), clienttest.Noise(10, 3<<20))
	// Without the interruption, each of these takes hours.
	c := w.client(func(o *client.Options) { o.UploadLimit, o.DownloadLimit = 100, 100 })
	for name, do := range map[string]func(context.Context, *client.Progress) error{
		"backup": func(ctx context.Context, p *client.Progress) error {
			_, err := c.Backup(ctx, client.BackupOptions{Paths: []string{src}, Name: "things", Progress: p})
			return err
		},
		"restore": func(ctx context.Context, p *client.Progress) error {
			_, err := c.Restore(ctx, client.RestoreOptions{ID: "things", To: treetest.TempDir(t), Progress: p})
			return err
		},
		"cat": func(ctx context.Context, p *client.Progress) error {
			p.Bytes.Add(1)
			_, err := c.Cat(ctx, "things", "file", io.Discard)
			return err
		},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		done, p := make(chan error, 1), new(transfer.Progress)
		go func() { done <- do(ctx, p) }()
		if name != "restore" { // its descent waits before any content comes
			bustest.Eventually(t, name+" has begun", func() bool { return p.Bytes.Load() > 0 })
		}
		select {
		case err := <-done:
			t.Errorf("%s did not wait for the limit: %v", name, err)
		default:
		}
		cancel()
		if err := bustest.Receive(t, name+" ends", done); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
