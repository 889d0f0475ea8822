package scan

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"servidor-backup/client/treetest"
)

// A walk must not wait for the writer of a fifo that has replaced a folder.
func TestWalkNoticesAReplacedFolder(t *testing.T) {
	dir := t.TempDir()
	makeFiles(t, dir, "d/x")
	var failed error
	walkAlone(t, dir, func(it Item) error {
		if it.Path == "d" && it.Err == nil {
			d := filepath.Join(dir, "d")
			return errors.Join(os.Rename(d, d+".old"), unix.Mkfifo(d, 0o600))
		}
		failed = errors.Join(failed, it.Err)
		return nil
	})
	if !errors.Is(failed, syscall.ENOTDIR) {
		t.Errorf("got %v, want ENOTDIR", failed)
	}
}

// A walk has few folders open, however deep they lie, and none when it has ended.
func TestWalkBoundsOpenFolders(t *testing.T) {
	const depth, bound = 400, 128
	dir := treetest.TempDir(t)
	makeFiles(t, dir, strings.Repeat("d/", depth), strings.Repeat("d/", depth/2)+"z")
	descriptors := func() int {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(fds)
	}
	before := descriptors()
	most, n := 0, 0
	walkAll(t, []string{dir}, nil, func(it Item) error {
		most = max(most, descriptors()-before)
		n++
		return it.Err
	})
	if want := depth + 2; n != want || most > bound || most < bound/4 {
		t.Errorf("%d entries are visited with up to %d files open, want %d entries and %d to %d files", n, most, want, bound/4, bound)
	}
	if after := descriptors(); after > before {
		t.Errorf("%d files stay open", after-before)
	}
}
