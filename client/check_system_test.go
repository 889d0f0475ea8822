package client_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"servidor-backup/bus/bustest"
	"servidor-backup/client"
	"servidor-backup/client/internal/clienttest"
	"servidor-backup/client/treetest"
	"servidor-backup/schemas"
)

// A check reads as much as it is asked to and names the damaged files of each version. It finds
// nothing any more after the next backup has repaired the damage.
func TestCheckNamesDamagedFiles(t *testing.T) {
	w := newWorld(t, 1)
	src := filepath.Join(treetest.TempDir(t), "docs")
	for i, name := range []string{"a", "b"} {
		write(t, filepath.Join(src, name), clienttest.Noise(byte(i), 8<<20))
	}
	write(t, filepath.Join(src, "sub", "small"), clienttest.Noise(9, 1000))
	settle(t, src)
	c := w.client()
	save(t, c, client.BackupOptions{Paths: []string{src}})
	write(t, filepath.Join(src, "sub", "small"), clienttest.Noise(10, 2000))
	save(t, c, client.BackupOptions{Paths: []string{src}})
	var found []string
	run := func(opt client.CheckOptions) *client.CheckResult {
		t.Helper()
		found = nil
		opt.Found = func(version, path string, err error) { found = append(found, version+":"+path) }
		res, err := c.Check(t.Context(), opt)
		if err != nil {
			t.Fatal(err)
		}
		if res.Damaged != int64(len(found)) {
			t.Errorf("%d were counted and %d reported", res.Damaged, len(found))
		}
		return res
	}
	all := run(client.CheckOptions{Read: 1})
	if len(found) > 0 || all.Versions != 2 || all.Trees < 2 || all.Read != all.Chunks || all.Bytes < 16<<20 {
		t.Errorf("%+v, found %v", all, found)
	}
	if res := run(client.CheckOptions{ID: "docs"}); len(found) > 0 || res.Chunks != all.Chunks || res.Read != 0 {
		t.Errorf("%+v, found %v", res, found)
	}
	if res := run(client.CheckOptions{ID: "docs@1", Read: 0.5}); res.Versions != 1 || res.Read == 0 || res.Read == res.Chunks {
		t.Errorf("of %d chunks %d were read", res.Chunks, res.Read)
	}

	segment := filepath.Join(w.dirs[0], "segments", "00000001.seg")
	at := flip(t, segment, -1)
	run(client.CheckOptions{Read: 1})
	if len(found) != 2 || found[0][len("docs@2"):] != found[1][len("docs@1"):] || !slices.Contains([]string{"docs@2:a", "docs@2:b"}, found[0]) {
		t.Errorf("found %q", found)
	}
	if run(client.CheckOptions{}); len(found) != 2 {
		t.Errorf("without reading, when the node knows of the damage: found %q", found)
	}
	bustest.Eventually(t, "the coordinator has heard of the damage", func() bool {
		m, err := c.Nodes(t.Context())
		return err == nil && m.Nodes[0].Damaged > 0
	})
	save(t, c, client.BackupOptions{Paths: []string{src}})
	if run(client.CheckOptions{Read: 1}); len(found) > 0 {
		t.Errorf("after another backup: found %q", found)
	}
	flip(t, segment, at) // back, because the store is checked at the end
}

// flip flips a bit of the byte at offset at of a file, or in the middle if at is negative. It
// returns the offset.
func flip(t *testing.T, path string, at int64) int64 {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if at < 0 {
		info, err := f.Stat()
		check(t, err)
		at = info.Size() / 2
	}
	var b [1]byte
	_, err = f.ReadAt(b[:], at)
	check(t, err)
	b[0] ^= 4
	_, err = f.WriteAt(b[:], at)
	check(t, err)
	return at
}

// An empty vault passes a check, and the check of an unknown record fails.
func TestCheckOfAnEmptyVault(t *testing.T) {
	c := newWorld(t, 1).client()
	if res, err := c.Check(t.Context(), client.CheckOptions{}); err != nil || res.Versions != 0 {
		t.Errorf("%+v, %v", res, err)
	}
	if _, err := c.Check(t.Context(), client.CheckOptions{ID: "none"}); schemas.CodeOf(err) != schemas.UnknownNickname {
		t.Error(err)
	}
}
