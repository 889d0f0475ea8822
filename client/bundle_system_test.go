package client_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"servidor-backup/client"
	"servidor-backup/client/treetest"
)

// Small files share chunks; a change costs only the file that changed; and the
// same files elsewhere are the same chunks.
func TestSmallFilesShareChunks(t *testing.T) {
	w := newWorld(t, 1)
	src, twin := t.TempDir(), t.TempDir()
	for i := range 1500 {
		name, content := fmt.Sprintf("d%02d/f%04d", i/40, i), noise(byte(i), i*7%9000+i%2)
		write(t, filepath.Join(src, name), content)
		write(t, filepath.Join(twin, name), content)
	}
	settle(t, src)
	c := w.client()
	first := save(t, c, client.BackupOptions{Paths: []string{src}, Name: "r"})
	if first.Chunks > 60 || first.Read < 5_000_000 {
		t.Errorf("1500 small files of %d bytes became %d chunks", first.Read, first.Chunks)
	}
	changed := noise(99, 5000)
	for i := range 3 {
		write(t, filepath.Join(src, fmt.Sprintf("d%02d/f%04d", i*11, i*440)), changed[:1000*(i+1)])
	}
	second := save(t, c, client.BackupOptions{Paths: []string{src}, Name: "r"})
	if second.Read != 6000 {
		t.Errorf("three files of 6000 bytes changed, %d bytes were read", second.Read)
	}
	elsewhere := save(t, c, client.BackupOptions{Paths: []string{twin}, Name: "twin"})
	if elsewhere.Read < 5_000_000 || elsewhere.Sent*5 > first.Sent {
		t.Errorf("the same files elsewhere: read %d bytes, sent %d (the first time %d)", elsewhere.Read, elsewhere.Sent, first.Sent)
	}
	for id, from := range map[string]string{"r@2": src, "twin": twin} {
		to := treetest.TempDir(t)
		res := bringBack(t, w.client(), client.RestoreOptions{ID: id, To: to})
		same(t, from, filepath.Join(to, res.Top[0]))
	}
}
