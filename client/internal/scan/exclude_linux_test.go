package scan

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// The folder where another file system is mounted is kept, and its content is not.
func TestOneFileSystem(t *testing.T) {
	dir := t.TempDir()
	makeFiles(t, dir, "a/x", "mnt/hidden", "z")
	mnt := filepath.Join(dir, "mnt")
	if err := unix.Mount("none", mnt, "tmpfs", 0, ""); err != nil {
		t.Skipf("no file system can be mounted: %v", err)
	}
	defer unix.Unmount(mnt, unix.MNT_DETACH)
	makeFiles(t, dir, "mnt/sub/x")
	wantWalk(t, []string{dir}, matcherFor(t, Rules{}, dir), ".", "a", "a/x", "mnt", "mnt/sub", "mnt/sub/x", "z")
	m := matcherFor(t, Rules{OneFileSystem: true}, dir)
	wantWalk(t, []string{dir}, m, ".", "a", "a/x", "mnt", "z")
	if n := m.LeftOut()[OtherFileSystem].Paths; n != 1 {
		t.Errorf("%d folders were counted, want 1", n)
	}
	wantWalk(t, []string{mnt}, matcherFor(t, Rules{OneFileSystem: true}, mnt), ".", "sub", "sub/x")
}

func TestNoDumpFlag(t *testing.T) {
	dir := t.TempDir()
	makeFiles(t, dir, "a/x", "a/y", "b/x")
	for _, name := range []string{"a/x", "b"} {
		f, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		const noDump = 0x40 // FS_NODUMP_FL
		if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, noDump); err != nil {
			t.Skipf("the flag cannot be set here: %v", err)
		}
	}
	wantWalk(t, []string{dir}, matcherFor(t, Rules{}, dir), ".", "a", "a/x", "a/y", "b", "b/x")
	m := matcherFor(t, Rules{NoDump: true}, dir)
	wantWalk(t, []string{dir}, m, ".", "a", "a/y")
	if n := m.LeftOut()[NoDump].Paths; n != 2 {
		t.Errorf("%d paths were counted, want 2", n)
	}
}
