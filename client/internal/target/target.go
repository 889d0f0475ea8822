package target

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"servidor-backup/client/internal/osfs"
	"servidor-backup/client/internal/tree"
	"slices"
	"strings"
	"sync"
)

// Options are how a restore treats what it finds and what it may do. The
// zero value neither overwrites anything nor gives files away.
type Options struct {
	// Overwrite replaces files and links that are in the way, and gives folders
	// that are there already the metadata of the version. A folder in place of
	// something else is never removed.
	Overwrite bool
	// Owner and NumericOwner are those of [metaOptions].
	Owner, NumericOwner bool
	// Warn is told what of an entry that was placed could not be set. It may be
	// called concurrently. nil drops warnings.
	Warn func(path string, err error)
}

// Target puts entries below a folder and nowhere else.
//
// Entries come from a version and are taken for hostile: every name is used
// relative to its opened parent folder, and a parent that is a symbolic link is
// refused, whether this restore made it or somebody else.
//
// The calls for an entry must come after those for its folder; otherwise all
// methods may be called concurrently, so that files are written in parallel.
// Folders are made private and open to their owner, and get their metadata when
// nothing holds them any more, see [Dir]. So a read-only folder can be
// filled, and its mtime stays.
type Target struct {
	opt  Options
	meta *metaWriter
	set  *osfs.Dirs

	top *Dir

	mu      sync.Mutex
	live    map[string]*Dir  // folders without their metadata yet
	writing map[string]*File // created, not finished
	shut    []*Dir           // settled but for what would lock us out
}

// Open makes a target of the folder dir, which is made if it is missing.
// A folder that has something in it keeps its own metadata, unless it may be
// overwritten.
func Open(dir string, opt Options) (*Target, error) {
	if opt.Warn == nil {
		opt.Warn = func(string, error) {}
	}
	_, err := os.Lstat(dir)
	mine := opt.Overwrite || errors.Is(err, fs.ErrNotExist)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, fmt.Errorf("make the target folder %s: %w", dir, osfs.WithoutPath(err))
	}
	// Later changes of the working directory must not matter.
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("find the target folder %s: %w", dir, err)
	}
	set := osfs.NewDirs()
	top, err := set.Top(abs)
	if err != nil {
		return nil, fmt.Errorf("open the target folder %s: %w", dir, osfs.WithoutPath(err))
	}
	names, err := top.Names()
	if err != nil {
		return nil, fmt.Errorf("open the target folder %s: %w", dir, err)
	}
	t := &Target{
		opt: opt, set: set,
		meta:    newMetaWriter(metaOptions{Owner: opt.Owner, NumericOwner: opt.NumericOwner, Warn: opt.Warn}),
		live:    map[string]*Dir{},
		writing: map[string]*File{},
	}
	t.top = &Dir{t: t, Dir: top, Path: ".", mine: mine || len(names) == 0, holds: 1}
	t.live["."] = t.top
	return t, nil
}

// Put places a symbolic link, a fifo or a device. A device that this process may
// not make is a warning.
func (t *Target) Put(e *tree.Entry) error {
	err := checkTarget(e.Path)
	if err == nil {
		switch e.Type {
		case tree.TypeSymlink:
			err = t.putNode(e, func(d *osfs.Dir, name string) error {
				return osfs.WithoutPath(d.Root.Symlink(e.Target, name))
			})
		case tree.TypeFile, tree.TypeDir:
			err = fmt.Errorf("a %v is placed in another way: this is a bug", e.Type)
		default:
			err = t.putSpecial(e)
		}
	}
	return restoreError(e, err)
}

// restoreError says which entry err is about.
func restoreError(e *tree.Entry, err error) error {
	if err != nil {
		return fmt.Errorf("restore %q: %w", e.Path, err)
	}
	return nil
}

// checkTarget says why nothing may be placed at path, or nil.
func checkTarget(path string) error {
	if err := tree.CheckPath(path); err != nil {
		return err
	}
	// What is a name elsewhere can be a device, a stream or a path on Windows.
	for part := range strings.SplitSeq(path, "/") {
		if !filepath.IsLocal(part) || filepath.Separator != '/' && strings.ContainsAny(part, `\:`) {
			return fmt.Errorf("the name %q is not possible on this system", part)
		}
	}
	return nil
}

// errInTheWay is the refusal to overwrite; it is fs.ErrExist.
var errInTheWay = fmt.Errorf("%w: restore into another folder, or allow overwriting", fs.ErrExist)

// Sync puts what was placed on stable storage; once for all files costs a small
// part of what once for each would.
func (t *Target) Sync() error {
	if err := t.top.Acquire(); err != nil {
		return fmt.Errorf("sync the target folder: %w", err)
	}
	defer t.top.Release()
	if err := osfs.SyncFileSystem(t.top.Self); err != nil {
		return fmt.Errorf("sync the target folder: %w", err)
	}
	return nil
}

// putSpecial makes a fifo or a device.
func (t *Target) putSpecial(e *tree.Entry) error {
	err := t.putNode(e, func(d *osfs.Dir, name string) error { return osfs.Mknod(d, name, e.Type.UnixType(), e.Rdev) })
	noRight := e.Type != tree.TypeFifo && errors.Is(err, fs.ErrPermission)
	if noRight || errors.Is(err, errors.ErrUnsupported) {
		t.opt.Warn(e.Path, fmt.Errorf("the %v was left out: %w", e.Type, err))
		return nil
	}
	return err
}

// putNode makes an entry that has no content, with its metadata.
func (t *Target) putNode(e *tree.Entry, make func(d *osfs.Dir, name string) error) error {
	d, name, err := t.enter(e.Path)
	if err != nil {
		return err
	}
	defer d.Unhold()
	if err := d.Acquire(); err != nil {
		return err
	}
	defer d.Release()
	used, err := t.makeName(d, name, make)
	if err != nil {
		return err
	}
	t.meta.set(d.Dir, used, nil, e)
	return d.Rename(used, name)
}

// makeName calls make with the name that the entry is to have or, where something
// is in the way that may be overwritten, with a temporary one. It returns the name
// used; [folder.rename] ends what it began. d must be acquired.
func (t *Target) makeName(d *Dir, name string, make func(d *osfs.Dir, name string) error) (string, error) {
	err := make(d.Dir, name)
	if !errors.Is(err, fs.ErrExist) {
		return name, err
	}
	info, err := d.Root.Lstat(name)
	switch {
	case err != nil:
		return "", osfs.WithoutPath(err)
	case info.IsDir():
		return "", fmt.Errorf("a folder is in the way and is not removed: move it away first")
	case !t.opt.Overwrite:
		return "", errInTheWay
	}
	used := ".restore-" + rand.Text()
	return used, make(d.Dir, used)
}

// Close settles what is left and closes all folders. Files must be finished or
// aborted before.
func (t *Target) Close() {
	t.mu.Lock()
	rest := make([]*Dir, 0, len(t.live))
	for _, d := range t.live {
		rest = append(rest, d)
	}
	t.mu.Unlock()
	slices.SortFunc(rest, func(a, b *Dir) int { return tree.ComparePath(b.Path, a.Path) })
	for _, d := range rest {
		d.settle()
	}
	// Children settled before their parents, and so they are in this list.
	for _, d := range t.shut {
		d.setMeta()
	}
	t.live, t.shut = nil, nil
	t.set.Close()
}

// Abandon ends a restore that cannot go on: files that are being written are
// removed, folders stay as they are. No other call may be under way.
func (t *Target) Abandon() error {
	var err error
	for _, f := range t.writing {
		err = errors.Join(err, f.remove())
		f.f.Close() // what it says does not matter any more
	}
	t.set.Close()
	return err
}

// ReadBack reads from a regular file that was placed, perhaps not finished yet.
func (t *Target) ReadBack(path string, b []byte, off int64) error {
	parents, name := tree.SplitPath(path)
	d, err := t.find(parents)
	if err != nil {
		return err
	}
	return d.ReadAt(name, b, off)
}
