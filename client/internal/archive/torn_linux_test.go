package archive

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"servidor-backup/client/internal/clienttest"
	"servidor-backup/client/treetest"
)

// A file that changes while it is read, within one tick of the file system's clock, is of one moment
// or named: its times do not show the change.
func TestChangesWithinATickAreNoticed(t *testing.T) {
	dir := treetest.Mount(t, "ext4", "-q", "-I", "128") // with times of whole seconds
	path := filepath.Join(dir, "src", "f")
	for round := byte(1); ; round++ {
		before, after := clienttest.Noise(2*round, 4<<20), clienttest.Noise(2*round+1, 4<<20)
		writeFile(t, path, string(before))
		first, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		s := newShelf(t)
		var once atomic.Bool
		s.onData = func([]byte) {
			if once.CompareAndSwap(false, true) {
				overwrite(t, path, after)
			}
		}
		v := s.save(t, nil, nil, filepath.Dir(path))
		last, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if !last.ModTime().Equal(first.ModTime()) {
			if round == 20 {
				t.Skip("the machine is too slow to change a file within a second")
			}
			continue // a second began meanwhile
		}
		named := len(v.warnings) == 1 && strings.HasPrefix(v.warnings[0], "f: ")
		if got := v.content(t, "f"); !named && !bytes.Equal(got, before) && !bytes.Equal(got, after) {
			t.Errorf("content of two moments is saved, with the warnings %q", v.warnings)
		}
		return
	}
}

// overwrite writes content over that of a file.
func overwrite(t *testing.T, path string, content []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	if _, err := f.Write(content); err != nil {
		t.Error(err)
	}
}
