package osfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// chain makes folders one inside the other, and returns them, the outermost first.
func chain(t *testing.T, set *Dirs, depth int) []*Dir {
	t.Helper()
	path := t.TempDir()
	top, err := set.Top(path)
	if err != nil {
		t.Fatal(err)
	}
	dirs := []*Dir{top}
	for range depth {
		path = filepath.Join(path, "d")
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		dirs = append(dirs, dirs[len(dirs)-1].Child("d", IdentityOf(info)))
	}
	return dirs
}

func sets() map[string]*Dirs { return map[string]*Dirs{"all uses": NewDirs(), "walk": NewWalkDirs()} }

func TestOpenFoldersAreBounded(t *testing.T) {
	for name, set := range sets() {
		limit := set.limit
		dirs := chain(t, set, 2*limit)
		most := 0
		for range 2 {
			for _, d := range dirs {
				if err := d.Acquire(); err != nil {
					t.Fatal(err)
				}
				most = max(most, set.open.Len())
				d.Release()
			}
		}
		if most != limit {
			t.Errorf("%s: up to %d folders are open, want %d", name, most, limit)
		}
		set.Close()
		if n := set.open.Len(); n != 0 {
			t.Errorf("%s: %d folders stay open after Close", name, n)
		}
	}
}

func TestFoldersInUseStayOpen(t *testing.T) {
	for name, set := range sets() {
		limit := set.limit
		dirs := chain(t, set, limit+10)
		for _, d := range dirs {
			if err := d.Acquire(); err != nil {
				t.Fatal(err)
			}
		}
		if n := set.open.Len(); n != len(dirs) {
			t.Errorf("%s: %d folders are open, want the %d in use", name, n, len(dirs))
		}
		for _, d := range dirs {
			d.Release()
		}
		if n := set.open.Len(); n != limit {
			t.Errorf("%s: %d folders are open after their use, want %d", name, n, limit)
		}
		set.Close()
	}
}

func TestReplacedFolderIsNotOpened(t *testing.T) {
	for name, set := range sets() {
		dirs := chain(t, set, 1)
		path := filepath.Join(dirs[0].name, "d")
		for _, err := range []error{os.Rename(path, path+".old"), os.Mkdir(path, 0o700)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := dirs[1].Acquire(); !errors.Is(err, ErrReplaced) {
			t.Errorf("%s: got %v, want ErrReplaced", name, err)
		}
		set.Close()
	}
}

func TestErrorsHaveNoPath(t *testing.T) {
	_, err := os.Open(filepath.Join(t.TempDir(), "secret"))
	if got := fmt.Sprint(WithoutPath(err)); err == nil || got == err.Error() {
		t.Errorf("got %q", got)
	}
	if WithoutPath(nil) != nil {
		t.Error("no error became one")
	}
}
