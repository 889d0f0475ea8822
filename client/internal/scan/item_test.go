package scan

import (
	"io"
	"os"
	"path/filepath"
	"testing"
)

func TestItemsCanBeOpenedAfterTheWalk(t *testing.T) {
	dir := t.TempDir()
	makeFiles(t, dir, "a/b/file")
	var last Item
	walkAll(t, []string{dir}, nil, func(it Item) error { last = it; return nil })
	if err := os.WriteFile(filepath.Join(dir, "a/b/file"), []byte("longer than before"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, _, err := last.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, err := io.ReadAll(f); string(got) != "longer than before" || int64(len(got)) != last.Entry.Size {
		t.Errorf("read %q (%v), the entry's size is %d, want the new content and its size", got, err, last.Entry.Size)
	}
}

// The next backup tries again to read attributes that could not be read.
func TestEntryWithUnreadAttributesHasNoChangeTime(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "d")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "f"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	roots, err := NewRoots([]string{top})
	if err != nil {
		t.Fatal(err)
	}
	var item Item
	if err := Walk(t.Context(), roots, nil, func(it Item) error {
		if it.Path == "d/f" {
			item = it
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	item.Entry.Ctime = 1
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := item.ReadRest(); err == nil || item.Entry.Ctime != 0 {
		t.Errorf("got the error %v and the change time %d, want an error and 0", err, item.Entry.Ctime)
	}
}
