package client_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"servidor-backup/client"
	"servidor-backup/client/internal/clienttest"
	"servidor-backup/client/treetest"
)

// mustNotWrite is a writer that nothing may be written to.
type mustNotWrite struct{ t *testing.T }

func (w mustNotWrite) Write(b []byte) (int, error) {
	w.t.Errorf("%d bytes were written", len(b))
	return len(b), nil
}

// Cat writes exactly one file, or nothing.
func TestCatWritesOneFileOrNothing(t *testing.T) {
	w := newWorld(t, 1)
	dir := t.TempDir()
	for _, name := range []string{"a.sql", "b.sql", "folder/one"} {
		write(t, filepath.Join(dir, name), []byte("content of "+name))
	}
	check(t, os.Symlink("a.sql", filepath.Join(dir, "folder", "link")))
	at := func(names ...string) (paths []string) {
		for _, n := range names {
			paths = append(paths, filepath.Join(dir, n))
		}
		return paths
	}
	c := w.client()
	save(t, c, client.BackupOptions{Paths: at("a.sql", "b.sql"), Name: "files"})
	save(t, c, client.BackupOptions{Paths: at("a.sql", "folder"), Name: "mixed"})
	save(t, c, client.BackupOptions{Paths: at("folder"), Name: "folder"})
	save(t, c, client.BackupOptions{Paths: at("a.sql"), Name: "one"})
	for _, tc := range [][2]string{
		{"files", ""}, {"mixed", ""}, {"folder", ""}, {"files", "*.sql"}, {"mixed", "folder"}, {"mixed", "folder/link"},
		{"folder", "link"}, {"folder", "."}, {"one", "b.sql"},
	} {
		if _, err := c.Cat(t.Context(), tc[0], tc[1], mustNotWrite{t}); err == nil {
			t.Errorf("%q of %q was written as one file", tc[1], tc[0])
		}
	}
	for _, tc := range [][3]string{
		{"one", "", "a.sql"}, {"files", "b.sql", "b.sql"}, {"mixed", "folder/one", "folder/one"}, {"folder", "one", "folder/one"},
	} {
		var got bytes.Buffer
		cat(t, c, tc[0], tc[1], &got)
		if want := "content of " + tc[2]; got.String() != want {
			t.Errorf("%q of %q is %q, want %q", tc[1], tc[0], got.String(), want)
		}
	}
}

// A restore without Force makes everything at the top itself, or nothing at all, whatever there is.
func TestRestoreMergesNothing(t *testing.T) {
	w := newWorld(t, 1)
	src := t.TempDir()
	write(t, filepath.Join(src, "a/1"), []byte("1"))
	write(t, filepath.Join(src, "b/2"), []byte("2"))
	write(t, filepath.Join(src, "c"), clienttest.Noise(1, 100))
	c := w.client()
	var paths []string
	for _, name := range []string{"a", "b", "c"} {
		paths = append(paths, filepath.Join(src, name))
	}
	save(t, c, client.BackupOptions{Paths: paths, Name: "abc"})
	save(t, c, client.BackupOptions{Paths: paths[2:], Name: "file"})
	outside := t.TempDir()
	for name, tc := range map[string]struct {
		id     string
		inside []string
		there  func(to string) error
	}{
		"a folder":          {"abc", nil, func(to string) error { return os.Mkdir(filepath.Join(to, "b"), 0o755) }},
		"a file":            {"abc", nil, func(to string) error { return os.WriteFile(filepath.Join(to, "a"), nil, 0o600) }},
		"a link to outside": {"abc", nil, func(to string) error { return os.Symlink(outside, filepath.Join(to, "b")) }},
		"a broken link":     {"abc", nil, func(to string) error { return os.Symlink("nowhere", filepath.Join(to, "c")) }},
		"a file, alone":     {"file", nil, func(to string) error { return os.WriteFile(filepath.Join(to, "c"), nil, 0o600) }},
		"a part's name":     {"abc", []string{"a", "b/2"}, func(to string) error { return os.WriteFile(filepath.Join(to, "2"), nil, 0o600) }},
	} {
		to := t.TempDir()
		check(t, tc.there(to))
		before := names(t, to)
		_, err := c.Restore(t.Context(), client.RestoreOptions{ID: tc.id, Inside: tc.inside, To: to})
		if !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: %v, want an error that is fs.ErrExist", name, err)
		}
		if after := names(t, to); !slices.Equal(after, before) {
			t.Errorf("%s: the refused restore left %v", name, after)
		}
		treetest.WantNames(t, outside)
	}
}

// names returns the names of everything below dir.
func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	check(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		all = append(all, path)
		return err
	}))
	return all
}

// A restore into a place where a part of the version is already fetches only what differs.
func TestRestoreAgainFetchesWhatDiffers(t *testing.T) {
	w := newWorld(t, 1)
	src := filepath.Join(t.TempDir(), "photos")
	const files, size = 40, 100_000
	for i := range files {
		write(t, filepath.Join(src, fmt.Sprintf("%02d", i)), clienttest.Noise(byte(i), size))
	}
	big := clienttest.Noise(100, 8<<20)
	write(t, filepath.Join(src, "big"), big)
	write(t, filepath.Join(src, "small"), []byte("some words"))
	check(t, os.Chmod(filepath.Join(src, "00"), 0o600))
	c := w.client()
	save(t, c, client.BackupOptions{Paths: []string{src}})
	to := t.TempDir()
	at := func(name string) string { return filepath.Join(to, "photos", name) }
	restore(t, c, client.RestoreOptions{ID: "photos", To: to})
	again := func(verify bool, same, received int64) {
		t.Helper()
		res := restore(t, c, client.RestoreOptions{ID: "photos", To: to, Force: true, Verify: verify})
		if res.Same != same || res.Received > received || res.Files != files+2 {
			t.Errorf("%d of %d files were kept and %d bytes received, want %d and at most %d", res.Same, res.Files, res.Received, same, received)
		}
		if diffs := treetest.Compare(src, filepath.Join(to, "photos"), treetest.Ignore{}); len(diffs) > 0 {
			t.Error(diffs)
		}
	}
	const trees = 50_000 // the tree is read in any case
	again(false, files+2, trees)
	again(true, files+2, trees+20_000)

	for i := range files / 2 { // as after an interruption
		check(t, os.Remove(at(fmt.Sprintf("%02d", i))))
	}
	check(t, os.Chmod(at("30"), 0o640)) // the next restore sets it right
	again(false, files/2+2, files/2*size*105/100+trees)

	// A changed byte in a large file costs its chunk.
	info, err := os.Stat(at("big"))
	check(t, err)
	big[5<<20] ^= 1
	check(t, os.WriteFile(at("big"), big, 0o644))
	again(false, files+1, 1<<20+trees)

	// Size and time do not tell of this change, the content does.
	big[3<<20] ^= 1
	big[5<<20] ^= 1
	check(t, os.WriteFile(at("big"), big, 0o644))
	check(t, os.WriteFile(at("small"), []byte("same words"), 0o644))
	check(t, os.Chtimes(at("big"), info.ModTime(), info.ModTime()))
	again(true, files, 1<<20+trees+20_000)
}
