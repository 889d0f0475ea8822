package client_test

import (
	"bytes"
	"path/filepath"
	"testing"

	"servidor-backup/client"
	"servidor-backup/client/internal/clienttest"
	"servidor-backup/client/treetest"
)

// The smallest memory budget is still enough for everything.
func TestTheSmallestMemoryBudget(t *testing.T) {
	w := newWorld(t, 2)
	src, to := treetest.New(t, 1, treetest.Small), treetest.TempDir(t)
	big := clienttest.Noise(5, 20<<20)
	write(t, filepath.Join(src, "big"), big)
	c := w.client(func(o *client.Options) { o.MemoryBudget = 0.001 })
	save(t, c, client.BackupOptions{Paths: []string{src}, Name: "things"})
	res := restore(t, c, client.RestoreOptions{ID: "things", To: to})
	same(t, src, filepath.Join(to, res.Top[0]))
	var out bytes.Buffer
	if _, err := c.Cat(t.Context(), "things", "big", &out); err != nil || !bytes.Equal(out.Bytes(), big) {
		t.Errorf("%d bytes arrived: %v", out.Len(), err)
	}
}
