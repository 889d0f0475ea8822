package target

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"servidor-backup/client/internal/osfs"
	"servidor-backup/client/internal/scan"
	"servidor-backup/client/internal/tree"
	"servidor-backup/client/treetest"
)

// copyTree walks from and restores everything below to. Files are written by several goroutines,
// which finish in any order. It returns the warnings.
func copyTree(t *testing.T, from, to string, opt Options) []string {
	t.Helper()
	var mu sync.Mutex
	var warnings []string
	opt.Warn = func(path string, err error) {
		mu.Lock()
		defer mu.Unlock()
		warnings = append(warnings, fmt.Sprintf("%q: %v", path, err))
	}
	p, err := Open(to, opt)
	if err != nil {
		t.Fatal(err)
	}
	if err := copyInto(p, from); err != nil {
		t.Error(err)
	}
	p.Close()
	return warnings
}

// copyInto restores everything below the folder from.
func copyInto(to *Target, from string) error {
	roots, err := scan.NewRoots([]string{from})
	if err != nil {
		return err
	}
	c := copier{to: to, first: map[[2]uint64]string{}, slots: make(chan struct{}, 8)}
	err = scan.Walk(context.Background(), roots, nil, c.visit)
	c.wait.Wait()
	for _, d := range slices.Backward(c.dirs) {
		d.Release()
	}
	return errors.Join(err, c.failed)
}

type copier struct {
	to    *Target
	first map[[2]uint64]string // by device and inode: the first name of a file
	dirs  []*Dir               // the folders the walk is in

	slots  chan struct{}
	wait   sync.WaitGroup
	mu     sync.Mutex
	failed error
}

func (c *copier) visit(it scan.Item) error {
	if it.Err != nil {
		return fmt.Errorf("%q: %w", it.Path, it.Err)
	}
	if err := it.ReadRest(); err != nil {
		return fmt.Errorf("%q: %w", it.Path, err)
	}
	e := it.Entry
	for len(c.dirs) > 0 && !tree.InSubtree(e.Path, c.dirs[len(c.dirs)-1].Path) {
		c.dirs[len(c.dirs)-1].Release()
		c.dirs = c.dirs[:len(c.dirs)-1]
	}
	if e.Type == tree.TypeDir {
		d, err := c.to.Mkdir(e)
		if err == nil {
			c.dirs = append(c.dirs, d)
		}
		return err
	}
	if id := [2]uint64{e.Dev, e.Ino}; it.Nlink > 1 {
		if e.HardLink = c.first[id]; e.HardLink == "" {
			c.first[id] = e.Path
		}
	}
	if e.Type != tree.TypeFile || e.HardLink != "" {
		return putEntry(c.to, e)
	}
	f, err := c.to.Create(e)
	if err != nil {
		return err
	}
	c.slots <- struct{}{}
	c.wait.Go(func() {
		err := errors.Join(copyContent(f, it), f.Finish())
		c.mu.Lock()
		c.failed = errors.Join(c.failed, err)
		c.mu.Unlock()
		<-c.slots
	})
	return nil
}

// copyContent copies a file except for its holes.
func copyContent(to *File, it scan.Item) error {
	f, before, err := it.Open()
	if err != nil {
		return err
	}
	defer f.Close()
	for region, err := range osfs.DataRegions(f, it.Entry.Size, 1) {
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.NewOffsetWriter(to, region.Off), io.NewSectionReader(f, region.Off, region.Len)); err != nil {
			return err
		}
		if after, err := f.Stat(); err != nil || osfs.ChangedBetween(before, after) {
			return fmt.Errorf("%q changed while it was copied (%w)", it.Path, err)
		}
	}
	return nil
}

// restoreOptions are the options of a usual restore.
func restoreOptions() Options { return Options{Owner: os.Geteuid() == 0} }

func wantSame(t *testing.T, from, to string) {
	t.Helper()
	diffs := treetest.Compare(from, to, treetest.Ignore{Special: true})
	for _, d := range diffs[:min(20, len(diffs))] {
		t.Error(d)
	}
	if len(diffs) > 20 {
		t.Errorf("and %d more differences", len(diffs)-20)
	}
}

func TestWalkAndRestoreKeepATree(t *testing.T) {
	from := treetest.New(t, 1, treetest.Small)
	to := filepath.Join(treetest.TempDir(t), "made", "here")
	for _, w := range copyTree(t, from, to, restoreOptions()) {
		t.Errorf("warning %s", w)
	}
	wantSame(t, from, to)
}

func TestSync(t *testing.T) {
	p := newTestTarget(t, t.TempDir(), Options{})
	top := &tree.Entry{Path: ".", Type: tree.TypeDir, Mode: 0o755}
	d, err := p.Mkdir(top)
	if err != nil {
		t.Fatal(err)
	}
	d.Release()
	if err := p.Sync(); err != nil {
		t.Error(err)
	}
}

func TestRestoringAgain(t *testing.T) {
	from := treetest.New(t, 2, treetest.Small)
	to := treetest.TempDir(t)
	copyTree(t, from, to, restoreOptions())

	t.Run("is refused unless overwriting is allowed", func(t *testing.T) {
		p, err := Open(to, restoreOptions())
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		if err := copyInto(p, from); !errors.Is(err, fs.ErrExist) {
			t.Errorf("got %v, want an error that is fs.ErrExist", err)
		}
	})
	t.Run("changes nothing", func(t *testing.T) {
		opt := restoreOptions()
		opt.Overwrite = true
		for _, w := range copyTree(t, from, to, opt) {
			t.Errorf("warning %s", w)
		}
		wantSame(t, from, to)
	})
	t.Run("repairs", func(t *testing.T) {
		damage(t, to)
		opt := restoreOptions()
		opt.Overwrite = true
		copyTree(t, from, to, opt)
		wantSame(t, from, to)
	})
}

// damage changes a restored tree in ways that overwriting undoes.
func damage(t *testing.T, dir string) {
	t.Helper()
	at := func(name string) string { return filepath.Join(dir, name) }
	steps := []error{
		os.WriteFile(at("files/text-4096"), []byte("other"), 0o600),
		os.Remove(at("links/m-first")),
		os.RemoveAll(at("order/a")),
		os.WriteFile(at("order/a"), nil, 0o600), // a file in place of a folder
		os.Remove(at("links/to-dir")),
		os.Symlink("/", at("links/to-dir")),
		os.RemoveAll(at("times")),
		os.Symlink(t.TempDir(), at("times")), // a link in place of a folder
		os.Chmod(at("files"), 0o777),
	}
	if err := errors.Join(steps...); err != nil {
		t.Fatal(err)
	}
}

func TestFolderIsNeverReplaced(t *testing.T) {
	to := t.TempDir()
	if err := os.Mkdir(filepath.Join(to, "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	p := newTestTarget(t, to, Options{Overwrite: true})
	if _, err := p.Create(&tree.Entry{Path: "x", Type: tree.TypeFile}); err == nil {
		t.Error("a file replaced a folder")
	}
	if err := putEntry(p, &tree.Entry{Path: "x", Type: tree.TypeSymlink, Target: "y"}); err == nil {
		t.Error("a link replaced a folder")
	}
	treetest.WantNames(t, to, "x")
}

func newTestTarget(t *testing.T, dir string, opt Options) *Target {
	t.Helper()
	if opt.Warn == nil {
		opt.Warn = func(path string, err error) { t.Errorf("warning %q: %v", path, err) }
	}
	p, err := Open(dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// putEntry restores an entry that is not a regular file.
func putEntry(p *Target, e *tree.Entry) error {
	switch {
	case e.HardLink != "":
		return p.Link(e)
	case e.Type == tree.TypeDir:
		_, err := p.Mkdir(e)
		return err
	}
	return p.Put(e)
}

// putFile restores a file with the given content.
func putFile(p *Target, path, content string) error {
	f, err := p.Create(&tree.Entry{Path: path, Type: tree.TypeFile, Mode: 0o644, Size: int64(len(content))})
	if err != nil {
		return err
	}
	if _, err := f.WriteAt([]byte(content), 0); err != nil {
		return errors.Join(err, f.Abort())
	}
	return f.Finish()
}

func TestHostilePathsAreRefused(t *testing.T) {
	outer := t.TempDir()
	to := filepath.Join(outer, "target")
	p := newTestTarget(t, to, Options{Overwrite: true})
	for _, path := range []string{
		"", ".", "..", "/", "/x", "../x", "a/../../x", "a/..", "a//b", "a/", "./a", "a/./b", "a\x00b", outer + "/x",
		strings.Repeat("a/", tree.MaxPath) + "a",
	} {
		if err := putFile(p, path, "x"); err == nil {
			t.Errorf("the file %.40q was made", path)
		}
		if path != "." {
			if err := putEntry(p, &tree.Entry{Path: path, Type: tree.TypeDir}); err == nil {
				t.Errorf("the folder %.40q was made", path)
			}
			if err := putEntry(p, &tree.Entry{Path: "y", Type: tree.TypeFile, HardLink: path}); err == nil {
				t.Errorf("a link to %.40q was made", path)
			}
		}
		if err := putEntry(p, &tree.Entry{Path: path, Type: tree.TypeSymlink, Target: "x"}); err == nil {
			t.Errorf("the link %.40q was made", path)
		}
	}
	treetest.WantNames(t, outer, "target")
}

// The usual attack on unpackers: an entry that is a symbolic link, followed by one below it.
func TestNothingIsRestoredThroughALink(t *testing.T) {
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "passwd"), []byte("root"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, linkTarget := range map[string]string{"absolute": outside, "up": "../outside", "inside": "real", "dangling": "nowhere"} {
		t.Run(name, func(t *testing.T) {
			to := t.TempDir()
			p := newTestTarget(t, to, Options{Overwrite: true})
			ok := []error{
				putEntry(p, &tree.Entry{Path: "real", Type: tree.TypeDir, Mode: 0o755}),
				putEntry(p, &tree.Entry{Path: "a", Type: tree.TypeSymlink, Target: linkTarget}),
			}
			if err := errors.Join(ok...); err != nil {
				t.Fatal(err)
			}
			for what, err := range map[string]error{
				"file":        putFile(p, "a/passwd", "x"),
				"folder":      putEntry(p, &tree.Entry{Path: "a/b", Type: tree.TypeDir}),
				"deep folder": putEntry(p, &tree.Entry{Path: "a/b/c", Type: tree.TypeDir}),
				"link":        putEntry(p, &tree.Entry{Path: "a/b", Type: tree.TypeSymlink, Target: "x"}),
				"fifo":        putEntry(p, &tree.Entry{Path: "a/b", Type: tree.TypeFifo}),
				"hard link":   putEntry(p, &tree.Entry{Path: "h", Type: tree.TypeFile, HardLink: "a/passwd", Size: 4}),
			} {
				if err == nil || !strings.Contains(err.Error(), "symbolic link") {
					t.Errorf("a %s through the link: got %v, want a refusal that names the link", what, err)
				}
			}
			treetest.WantNames(t, outside, "passwd")
			treetest.WantNames(t, to, "a", "real")
			treetest.WantNames(t, filepath.Join(to, "real"))
		})
	}
}

// A folder that is swapped for a link while the restore runs is noticed when it is opened again.
func TestSwappedFolderIsNoticed(t *testing.T) {
	outside, to := t.TempDir(), t.TempDir()
	p := newTestTarget(t, to, Options{Warn: func(string, error) {}})
	if err := putEntry(p, &tree.Entry{Path: "d", Type: tree.TypeDir}); err != nil {
		t.Fatal(err)
	}
	p.dirs.Close() // so that every use opens the folder again
	d := filepath.Join(to, "d")
	if err := errors.Join(os.Rename(d, d+"2"), os.Symlink(outside, d)); err != nil {
		t.Fatal(err)
	}
	if err := putFile(p, "d/x", "x"); err == nil {
		t.Error("a file was made through the link")
	}
	if err := errors.Join(os.Remove(d), os.Mkdir(d, 0o755)); err != nil {
		t.Fatal(err)
	}
	if err := putFile(p, "d/x", "x"); !errors.Is(err, osfs.ErrReplaced) {
		t.Errorf("got %v, want osfs.ErrReplaced", err)
	}
	treetest.WantNames(t, outside)
	treetest.WantNames(t, d)
}

func TestWritesStayWithinTheSize(t *testing.T) {
	p := newTestTarget(t, t.TempDir(), Options{})
	f, err := p.Create(&tree.Entry{Path: "f", Type: tree.TypeFile, Size: 10})
	if err != nil {
		t.Fatal(err)
	}
	for _, off := range []int64{-1, 8, 10, 1 << 62} {
		if _, err := f.WriteAt([]byte("abc"), off); err == nil {
			t.Errorf("3 bytes were written at %d of 10", off)
		}
	}
	if _, err := f.WriteAt([]byte("abc"), 7); err != nil {
		t.Error(err)
	}
	if err := f.Finish(); err != nil {
		t.Error(err)
	}
}

func TestHardLinkWaitsForItsFile(t *testing.T) {
	to := t.TempDir()
	p := newTestTarget(t, to, Options{})
	f, err := p.Create(&tree.Entry{Path: "a", Type: tree.TypeFile, Mode: 0o600, Size: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := putEntry(p, &tree.Entry{Path: "b", Type: tree.TypeFile, HardLink: "a", Size: 1}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		if _, err := os.Lstat(filepath.Join(to, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is there before the file is whole (%v)", name, err)
		}
	}
	if err := f.Finish(); err != nil {
		t.Fatal(err)
	}
	treetest.WantNames(t, to, "a", "b")
	a, errA := os.Stat(filepath.Join(to, "a"))
	b, errB := os.Stat(filepath.Join(to, "b"))
	if errA != nil || errB != nil || !os.SameFile(a, b) {
		t.Errorf("a and b are not one file: %v, %v", errA, errB)
	}
}

func TestHardLinkWithoutItsFile(t *testing.T) {
	to := t.TempDir()
	if err := os.WriteFile(filepath.Join(to, "other"), []byte("not the size"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := newTestTarget(t, to, Options{})
	for _, first := range []string{"missing", "no/folder", "other"} {
		err := putEntry(p, &tree.Entry{Path: "b", Type: tree.TypeFile, HardLink: first, Size: 1})
		if !errors.Is(err, ErrNoFirst) {
			t.Errorf("another name of %q: got %v, want an error that is ErrNoFirst", first, err)
		}
	}
	f, err := p.Create(&tree.Entry{Path: "a", Type: tree.TypeFile, Size: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := putEntry(p, &tree.Entry{Path: "b", Type: tree.TypeFile, HardLink: "a", Size: 1}); err != nil {
		t.Fatal(err)
	}
	if err := f.Abort(); err == nil || !strings.Contains(err.Error(), `"b"`) {
		t.Errorf("got %v, want an error that names the lost link", err)
	}
	treetest.WantNames(t, to, "other")
}

func TestAbortKeepsTheOldFile(t *testing.T) {
	to := t.TempDir()
	if err := os.WriteFile(filepath.Join(to, "f"), []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := newTestTarget(t, to, Options{Overwrite: true})
	f, err := p.Create(&tree.Entry{Path: "f", Type: tree.TypeFile, Size: 3})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("new"), 0); err != nil {
		t.Error(err)
	}
	if err := f.Abort(); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(filepath.Join(to, "f")); string(got) != "old" {
		t.Errorf("the file holds %q (%v), want its old content", got, err)
	}
	treetest.WantNames(t, to, "f")
}

// A part of a version is restored without the folders above it.
func TestMissingFoldersAreMade(t *testing.T) {
	to := t.TempDir()
	p := newTestTarget(t, to, Options{})
	if err := putFile(p, "a/b/c", "x"); err != nil {
		t.Fatal(err)
	}
	if err := putFile(p, "a/b/d", "x"); err != nil {
		t.Fatal(err)
	}
	treetest.WantNames(t, filepath.Join(to, "a", "b"), "c", "d")
}

func TestTargetFolderKeepsItsMetadata(t *testing.T) {
	to := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(to, "sub"), 0o711), os.Chmod(to, 0o711)); err != nil {
		t.Fatal(err)
	}
	p := newTestTarget(t, to, Options{})
	d, err := p.Mkdir(&tree.Entry{Path: ".", Type: tree.TypeDir, Mode: 0o755})
	if err != nil {
		t.Fatal(err)
	}
	d.Release()
	p.Close()
	if info, err := os.Stat(to); err != nil || info.Mode().Perm() != 0o711 {
		t.Errorf("%v (%v), want its own mode 0711", info.Mode(), err)
	}
}

// A file that gets another owner than it had does not get its setuid and setgid bits.
func TestSetuidGoesWithItsOwner(t *testing.T) {
	to := t.TempDir()
	var warned []string
	p := newTestTarget(t, to, Options{NumericOwner: true, Warn: func(path string, _ error) { warned = append(warned, path) }})
	stranger := uint32(os.Getuid()) + 4321
	for name, e := range map[string]*tree.Entry{
		"mine":  {UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), Mode: 0o6755},
		"yours": {UID: stranger, GID: stranger, Mode: 0o6755},
	} {
		e.Path, e.Type = name, tree.TypeFile
		f, err := p.Create(e)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Finish(); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]uint32{"mine": 0o6755, "yours": 0o755} {
		info, err := os.Stat(filepath.Join(to, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := osfs.MetaOf(info).Mode & 0o7777; got != want {
			t.Errorf("%s has mode %#o, want %#o", name, got, want)
		}
	}
	if !slices.Equal(warned, []string{"yours"}) {
		t.Errorf("warned of %q, want only of the file without its bits", warned)
	}
}
