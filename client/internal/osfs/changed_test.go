package osfs

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestChangedBetween(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	look := func(err error) os.FileInfo {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	first := look(os.WriteFile(path, []byte("one"), 0o600))
	if ChangedBetween(first, look(nil)) {
		t.Error("an untouched file counts as changed")
	}
	longer := look(os.WriteFile(path, []byte("longer"), 0o600))
	older := look(os.Chtimes(path, time.Unix(1, 1), time.Unix(1, 1)))
	if !ChangedBetween(first, longer) || !ChangedBetween(longer, older) {
		t.Error("a change was not noticed")
	}
	if err := os.Rename(path, path+"2"); err != nil {
		t.Fatal(err)
	}
	other := look(os.WriteFile(path, []byte("longer"), 0o600))
	same := look(os.Chtimes(path, older.ModTime(), older.ModTime()))
	if !ChangedBetween(older, other) || !ChangedBetween(older, same) {
		t.Error("another file counts as the same")
	}
}
