package scan

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"servidor-backup/client/internal/osfs"
	"servidor-backup/client/internal/tree"
)

// Open must neither wait for the writer of a fifo nor follow a link.
func TestOpenNoticesAReplacedFile(t *testing.T) {
	for what, replace := range map[string]func(path string) error{
		"fifo":    func(path string) error { return unix.Mkfifo(path, 0o600) },
		"link":    func(path string) error { return os.Symlink("other", path) },
		"outside": func(path string) error { return os.Symlink("/etc/passwd", path) },
		"file":    func(path string) error { return os.WriteFile(path, []byte("new"), 0o600) },
		"folder":  func(path string) error { return os.Mkdir(path, 0o700) },
		"device":  func(path string) error { return os.Symlink("/dev/zero", path) },
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			makeFiles(t, dir, "file", "other")
			walkAll(t, []string{dir}, nil, func(it Item) error {
				if it.Path != "file" {
					return nil
				}
				path := filepath.Join(dir, "file")
				if err := errors.Join(os.Rename(path, path+".old"), replace(path)); err != nil {
					t.Fatal(err)
				}
				if f, _, err := it.Open(); err == nil {
					t.Errorf("opened %s, which is another file", f.Name())
					f.Close()
				}
				return nil
			})
		})
	}
}

func TestDeviceEntryHasItsNumber(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mknod(filepath.Join(dir, "null"), unix.S_IFCHR|0o640, int(unix.Mkdev(1, 3))); err != nil {
		t.Skipf("no device can be made: %v", err)
	}
	walkAll(t, []string{dir}, nil, func(it Item) error {
		if it.Path == "null" && (it.Entry.Type != tree.TypeChar || it.Entry.Rdev != unix.Mkdev(1, 3) || it.Entry.Mode != 0o640) {
			t.Errorf("got %+v", it.Entry)
		}
		return nil
	})
}

// A file that gets another owner between the walk and its opening has the names of that owner: a
// restore goes by them.
func TestOpenedItemsNameTheirOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may give files away")
	}
	dir := t.TempDir()
	makeFiles(t, dir, "f")
	var it Item
	walkAll(t, []string{dir}, nil, func(last Item) error { it = last; return nil })
	if err := os.Lchown(filepath.Join(dir, "f"), 54321, 54321); err != nil {
		t.Fatal(err)
	}
	f, _, err := it.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if e := it.Entry; e.UID != 54321 || e.GID != 54321 || e.User != "" || e.Group != "" {
		t.Errorf("it belongs to %d:%d with the names %q and %q, want 54321:54321 without names", e.UID, e.GID, e.User, e.Group)
	}
}

// What ReadRest reads of a path that has changed since the walk looked at it belongs to what else
// the entry says.
func TestReadRestIsOfOneMoment(t *testing.T) {
	dir := t.TempDir()
	makeFiles(t, dir, "d/", "other/")
	past := unix.NsecToTimespec(1e18)
	for _, name := range []string{"d", "other"} {
		path := filepath.Join(dir, name)
		if err := unix.Setxattr(path, "user.of", []byte(name), 0); err != nil {
			t.Skipf("no attributes here: %v", err)
		}
		setTimes(t, path, past)
	}
	if err := os.Symlink("old", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	items := func() map[string]Item {
		all := map[string]Item{}
		walkAll(t, []string{dir}, nil, func(it Item) error { all[filepath.Base(it.Path)] = it; return nil })
		return all
	}
	seen := items()
	if err := errors.Join(
		unix.Setxattr(filepath.Join(dir, "d"), "user.of", []byte("new"), 0),
		os.Chmod(filepath.Join(dir, "d"), 0o700),
	); err != nil {
		t.Fatal(err)
	}
	later := unix.NsecToTimespec(1.1e18)
	setTimes(t, filepath.Join(dir, "d"), later)
	it := seen["d"]
	if err := it.ReadRest(); err != nil {
		t.Fatal(err)
	}
	if e := it.Entry; e.Mtime != later.Nano() || e.Mode != 0o700 || string(e.Xattrs[0].Value) != "new" {
		t.Errorf("changed: the entry has the time %d, mode %o and attributes %q", e.Mtime, e.Mode, e.Xattrs)
	}

	// A folder that was replaced is kept without the other one's attributes, a link is not saved.
	if err := errors.Join(
		os.Rename(filepath.Join(dir, "d"), filepath.Join(dir, "gone")),
		os.Rename(filepath.Join(dir, "other"), filepath.Join(dir, "d")),
		os.Symlink("new", filepath.Join(dir, "fresh")),
		os.Rename(filepath.Join(dir, "fresh"), filepath.Join(dir, "link")),
	); err != nil {
		t.Fatal(err)
	}
	it = seen["d"]
	if err := it.ReadRest(); !errors.Is(err, osfs.ErrReplaced) || it.Entry == nil || it.Entry.Xattrs != nil {
		t.Errorf("replaced folder: %v, and the entry %+v", err, it.Entry)
	}
	it = seen["link"]
	if err := it.ReadRest(); !errors.Is(err, osfs.ErrReplaced) || it.Entry != nil {
		t.Errorf("replaced link: %v, and the entry %+v", err, it.Entry)
	}
}

func setTimes(t *testing.T, path string, to unix.Timespec) {
	t.Helper()
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{to, to}, 0); err != nil {
		t.Fatal(err)
	}
}
