package client_test

import (
	"os"
	"path/filepath"
	"testing"

	"servidor-backup/bus/bustest"
	"servidor-backup/client"
	"servidor-backup/client/internal/clienttest"
	"servidor-backup/client/treetest"
	"servidor-backup/schemas"
	"servidor-backup/storage"
	"servidor-backup/storage/node"
)

// startOn starts a node on a folder, and returns how it is stopped.
func (w *world) startOn(dir string) (stop func()) {
	w.t.Helper()
	store, err := storage.Open(dir, storage.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	n, err := node.Start(w.t.Context(), bustest.Connect(w.t, w.server), store, node.Options{Weight: 1})
	if err != nil {
		w.t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			check(w.t, n.Stop())
			check(w.t, store.Close())
		}
	}
	w.t.Cleanup(stop)
	return stop
}

// A node comes back with an older folder: the disk of its machine was restored. The next backup of
// each record saves again what the folder lacks, although no file has changed, and the versions
// before are whole again too.
func TestBackupAfterANodeCameBackWithAnOlderFolder(t *testing.T) {
	w := newWorld(t, 0)
	dir, older := t.TempDir(), filepath.Join(t.TempDir(), "older")
	stop := w.startOn(dir)
	c := w.client()
	src := filepath.Join(treetest.TempDir(t), "src")
	write(t, filepath.Join(src, "first"), clienttest.Noise(1, 300_000))
	settle(t, src)
	save(t, c, client.BackupOptions{Paths: []string{src}})
	stop()
	if err := os.CopyFS(older, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	stop = w.startOn(dir)
	write(t, filepath.Join(src, "large"), clienttest.Noise(2, 3_000_000))
	write(t, filepath.Join(src, "small"), clienttest.Noise(3, 3000))
	settle(t, src)
	save(t, c, client.BackupOptions{Paths: []string{src}})
	if again := save(t, c, client.BackupOptions{Paths: []string{src}}); again.Read > 0 {
		t.Fatalf("an unchanged folder is read again, %d bytes", again.Read)
	}
	stop()

	w.startOn(older)
	nodes, err := c.Nodes(t.Context())
	if err != nil || nodes.Nodes[0].Older == 0 {
		t.Errorf("the older folder is not noticed: %+v, %v", nodes, err)
	}
	run := func() *client.CheckResult {
		t.Helper()
		res, err := c.Check(t.Context(), client.CheckOptions{Read: 1})
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	if run().Damaged == 0 {
		t.Fatal("the folder lacks nothing, so this test shows nothing")
	}
	// The tree of the parent is lost as well, of which there is a warning.
	again, err := c.Backup(t.Context(), client.BackupOptions{Paths: []string{src}})
	if err != nil || again.Read < 3_000_000 || again.Unreadable > 0 || again.Sent < 3_000_000 || again.Sent > 3_200_000 {
		t.Errorf("the backup after that reads %d bytes and sends %d, %d paths are not saved: %v", again.Read, again.Sent, again.Unreadable, err)
	}
	if res := run(); res.Damaged > 0 {
		t.Errorf("after the backup: %+v", res)
	}
	if again := save(t, c, client.BackupOptions{Paths: []string{src}}); again.Read > 0 {
		t.Errorf("the backup after that reads %d bytes again", again.Read)
	}
}

// Chunks that a node has lost without a trace are saved again by a backup that rechecks, also under
// a version whose files are all unchanged.
func TestRecheckSendsWhatIsLost(t *testing.T) {
	w := newWorld(t, 1)
	src := filepath.Join(treetest.TempDir(t), "src")
	write(t, filepath.Join(src, "large"), clienttest.Noise(2, 3_000_000))
	write(t, filepath.Join(src, "small"), clienttest.Noise(3, 3000))
	settle(t, src)
	c := w.client()
	save(t, c, client.BackupOptions{Paths: []string{src}})
	save(t, c, client.BackupOptions{Paths: []string{src}})
	vault := schemas.SealedVault("ana")
	var lost []storage.PartID
	err := w.stores[0].Each(t.Context(), storage.Cursor{Vault: vault}, func(h storage.Held) bool {
		if h.Vault == vault && h.Kind == schemas.Data && len(lost) < 3 {
			lost = append(lost, h.PartID)
		}
		return h.Vault == vault
	})
	if err == nil {
		_, err = w.stores[0].Drop(t.Context(), vault, lost, func() bool { return true })
	}
	if err != nil || len(lost) < 3 {
		t.Fatalf("%d chunks are lost: %v", len(lost), err)
	}
	if again := save(t, c, client.BackupOptions{Paths: []string{src}}); again.Read > 0 {
		t.Fatalf("the node is asked without a reason, so this test shows nothing: %+v", again)
	}
	again := save(t, c, client.BackupOptions{Paths: []string{src}, Recheck: true})
	if again.Read == 0 || again.Chunks < 3 {
		t.Errorf("the backup that rechecks reads %d bytes and sends %d chunks", again.Read, again.Chunks)
	}
	if res, err := c.Check(t.Context(), client.CheckOptions{Read: 1}); err != nil || res.Damaged > 0 {
		t.Errorf("after that: %+v, %v", res, err)
	}
}
