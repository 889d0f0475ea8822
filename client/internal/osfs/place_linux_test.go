package osfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// A file without a name is not in its folder until it gets one, and takes the place of nothing.
func TestUnnamedFileAppearsWhole(t *testing.T) {
	path := t.TempDir()
	dir, err := NewDirs().Top(path)
	if err == nil {
		err = dir.Acquire()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Release()
	if err := os.WriteFile(filepath.Join(path, "taken"), []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := CreateUnnamed(dir, 0o640)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("this file system has no files without a name")
	}
	if err == nil {
		err = f.Write([]byte("new"))
	}
	if err != nil {
		t.Fatal(err)
	}
	if names, err := dir.Names(); err != nil || len(names) != 1 {
		t.Errorf("before it has a name, the folder has %q, %v", names, err)
	}
	if err := f.SetName(dir, "taken"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("with a taken name: %v", err)
	}
	if err := errors.Join(f.SetName(dir, "free"), f.Close()); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"taken": "old", "free": "new"} {
		if got, err := os.ReadFile(filepath.Join(path, name)); err != nil || string(got) != want {
			t.Errorf("%s has %q, %v, want %q", name, got, err, want)
		}
	}
}
