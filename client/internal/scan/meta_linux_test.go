package scan

import (
	"errors"
	"os"
	"path/filepath"
	"servidor-backup/client/internal/osfs"
	"servidor-backup/client/internal/tree"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestExtents(t *testing.T) {
	const block = 64 << 10
	for name, tc := range map[string]struct {
		size int64
		data []int64 // blocks written
		want []osfs.Extent
	}{
		"empty":    {0, nil, nil},
		"all hole": {10 * block, nil, nil},
		"no hole":  {2 * block, []int64{0, 1}, []osfs.Extent{{Off: 0, Len: 2 * block}}},
		"start":    {4 * block, []int64{3}, []osfs.Extent{{Off: 3 * block, Len: block}}},
		"end":      {4 * block, []int64{0}, []osfs.Extent{{Off: 0, Len: block}}},
		"comb":     {6 * block, []int64{1, 3, 4}, []osfs.Extent{{Off: block, Len: block}, {Off: 3 * block, Len: 2 * block}}},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := os.Create(filepath.Join(t.TempDir(), "f"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			for _, b := range tc.data {
				if _, err := f.WriteAt(slices.Repeat([]byte{1}, block), b*block); err != nil {
					t.Fatal(err)
				}
			}
			if err := f.Truncate(tc.size); err != nil {
				t.Fatal(err)
			}
			if got := allExtents(t, f, tc.size); !slices.Equal(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func allExtents(t *testing.T, f *os.File, size int64) []osfs.Extent {
	t.Helper()
	var all []osfs.Extent
	for x := osfs.DataExtents(f, size); ; {
		e, ok, err := x.Next()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return all
		}
		all = append(all, e)
	}
}

// A file may grow or shrink after its size was taken.
func TestExtentsKeepToTheSize(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(make([]byte, 128<<10)); err != nil {
		t.Fatal(err)
	}
	if got, want := allExtents(t, f, 1000), []osfs.Extent{{Off: 0, Len: 1000}}; !slices.Equal(got, want) {
		t.Errorf("of 1000 bytes: got %v, want %v", got, want)
	}
	if got, want := allExtents(t, f, 1<<20), []osfs.Extent{{Off: 0, Len: 128 << 10}}; !slices.Equal(got, want) {
		t.Errorf("of what has shrunk to 128 KiB: got %v, want %v", got, want)
	}
}

// An open must neither wait for a fifo's writer nor follow a link.
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
					t.Errorf("opened %s", f.Name())
					f.Close()
				}
				return nil
			})
		})
	}
}

// A walk must not wait at a fifo that has taken a folder's place.
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

func TestEntryOfADevice(t *testing.T) {
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
