// Package target writes the entries of a version below one folder. It is the only door through
// which a restore reaches the disk, and nothing is written outside of that folder.
//
// Entries are not trusted, because a version may have been made by somebody else. Every name is
// checked and then used relative to its opened parent folder. A parent that is a symbolic link is
// refused, whether this restore or somebody else made the link.
//
// Existing files are kept unless [Options].Overwrite is set. A file that replaces another one is
// written under a temporary name and renamed when it is complete, so that the old file stays until
// then. Folders are made private and writable, and get their metadata when nothing holds them any
// more (see [Dir]). So a read-only folder can be filled, and its mtime stays as it was saved.
//
// What cannot be set of an entry's metadata is a warning, because its content is there. Nothing is
// durable before [Target.Sync] returns.
package target

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"servidor-backup/client/internal/osfs"
	"servidor-backup/client/internal/tree"
)

// Options say what a restore may overwrite and set. The zero value overwrites nothing and gives
// no file to another owner.
type Options struct {
	// Overwrite replaces files and links that have the name of an entry, and gives folders
	// that exist already the metadata of the version. A folder is never replaced by
	// something else.
	Overwrite bool
	// Owner gives every entry its owner, which takes root's rights. Without it, entries
	// belong to the user who restores them, and files of other users lose their setuid and
	// setgid bits.
	Owner bool
	// NumericOwner takes owners by their numbers only. Without it, as in tar, a user or group
	// name that this machine knows takes precedence over the number.
	NumericOwner bool
	// Warn is called with what could not be set of a written entry, perhaps concurrently.
	// nil drops warnings.
	Warn func(path string, err error)
}

// Target writes entries below a folder.
//
// The calls for an entry must come after those for its folder. Apart from that, all methods may be
// called concurrently, so that files are written in parallel, except for Close and Abandon.
type Target struct {
	opt  Options
	meta *metaWriter
	dirs *osfs.Dirs

	top *Dir

	mu      sync.Mutex
	live    map[string]*Dir  // by path: folders that have not got their metadata yet
	writing map[string]*File // by path: files that were created and are not finished
	// restricted are folders that are complete and whose mode would deny this process access.
	// They get their metadata at the end.
	restricted []*Dir
}

// Open returns a target that writes below the folder dir, which is made if it does not exist.
// A folder that is not empty keeps its own metadata, unless opt allows overwriting.
func Open(dir string, opt Options) (*Target, error) {
	if opt.Warn == nil {
		opt.Warn = func(string, error) {}
	}
	_, err := os.Lstat(dir)
	getsMeta := opt.Overwrite || errors.Is(err, fs.ErrNotExist)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, fmt.Errorf("make the target folder %s: %w", dir, osfs.WithoutPath(err))
	}
	// Later changes of the working directory must not matter.
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("find the target folder %s: %w", dir, err)
	}
	dirs := osfs.NewDirs()
	top, err := dirs.Top(abs)
	if err != nil {
		return nil, fmt.Errorf("open the target folder %s: %w", dir, osfs.WithoutPath(err))
	}
	names, err := top.Names()
	if err != nil {
		return nil, fmt.Errorf("open the target folder %s: %w", dir, err)
	}
	t := &Target{
		opt: opt, dirs: dirs, meta: newMetaWriter(&opt),
		live: map[string]*Dir{}, writing: map[string]*File{},
	}
	t.top = &Dir{t: t, disk: top, Path: ".", getsMeta: getsMeta || len(names) == 0, holds: 1}
	t.live["."] = t.top
	return t, nil
}

// Put makes a symbolic link, a fifo or a device. A device that this process may not make is a
// warning.
func (t *Target) Put(e *tree.Entry) error {
	err := checkPath(e.Path)
	if err == nil {
		switch e.Type {
		case tree.TypeSymlink:
			err = t.putNode(e, func(d *osfs.Dir, name string) error {
				return osfs.WithoutPath(d.Root.Symlink(e.Target, name))
			})
		case tree.TypeFile, tree.TypeDir:
			err = fmt.Errorf("Put does not make a %v: this is a bug", e.Type)
		default:
			err = t.putSpecial(e)
		}
	}
	return entryError(e, err)
}

// entryError adds to err the path of the entry that it is about.
func entryError(e *tree.Entry, err error) error {
	if err != nil {
		return fmt.Errorf("restore %q: %w", e.Path, err)
	}
	return nil
}

// checkPath returns why nothing may be written at path, or nil.
func checkPath(path string) error {
	if err := tree.CheckPath(path); err != nil {
		return err
	}
	// A name from another system can be a device, a stream or a path on Windows.
	for part := range strings.SplitSeq(path, "/") {
		if !filepath.IsLocal(part) || filepath.Separator != '/' && strings.ContainsAny(part, `\:`) {
			return fmt.Errorf("the name %q is not possible on this system", part)
		}
	}
	return nil
}

// errExists is the refusal to overwrite; it wraps fs.ErrExist.
var errExists = fmt.Errorf("%w: restore into another folder, or allow overwriting", fs.ErrExist)

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

// putNode makes an entry without content by make, and sets its metadata.
func (t *Target) putNode(e *tree.Entry, make func(d *osfs.Dir, name string) error) error {
	d, name, err := t.holdParent(e.Path)
	if err != nil {
		return err
	}
	defer d.Release()
	if err := d.disk.Acquire(); err != nil {
		return err
	}
	defer d.disk.Release()
	used, err := t.makeNamed(d, name, make)
	if err != nil {
		return err
	}
	t.meta.set(d.disk, used, nil, e)
	return d.disk.Rename(used, name)
}

// makeNamed calls make with name or, if something has that name and may be overwritten, with a
// temporary name. It returns the name that it used; the caller completes the entry and then
// renames it with [osfs.Dir.Rename]. d.disk must be acquired.
func (t *Target) makeNamed(d *Dir, name string, make func(d *osfs.Dir, name string) error) (used string, err error) {
	err = make(d.disk, name)
	if !errors.Is(err, fs.ErrExist) {
		return name, err
	}
	info, err := d.disk.Root.Lstat(name)
	switch {
	case err != nil:
		return "", osfs.WithoutPath(err)
	case info.IsDir():
		return "", errors.New("a folder has that name, and folders are not replaced: move it away first")
	case !t.opt.Overwrite:
		return "", errExists
	}
	used = ".restore-" + rand.Text()
	return used, make(d.disk, used)
}

// ReadBack fills b from byte off on of a regular file that this target has written or is writing.
func (t *Target) ReadBack(path string, b []byte, off int64) error {
	parents, name := tree.SplitPath(path)
	d, err := t.findDir(parents)
	if err != nil {
		return err
	}
	return d.ReadAt(name, b, off)
}

// Close sets the metadata of all folders that have not got it yet, and closes them. All files must
// have been finished or aborted before.
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
	// Children settle before their parents, so they also come first in this list.
	for _, d := range t.restricted {
		d.setMeta()
	}
	t.live, t.restricted = nil, nil
	t.dirs.Close()
}

// Sync makes everything that was written durable. One sync for all files costs a small part of
// what one sync for each file would. It works after Close.
func (t *Target) Sync() error {
	if err := t.top.disk.Acquire(); err != nil {
		return fmt.Errorf("sync the target folder: %w", err)
	}
	defer t.top.disk.Release()
	if err := osfs.SyncFileSystem(t.top.disk.Self); err != nil {
		return fmt.Errorf("sync the target folder: %w", err)
	}
	return nil
}

// Abandon ends a restore that cannot go on, in place of Close. It removes files that are not
// finished and leaves folders as they are. No other call may be under way.
func (t *Target) Abandon() error {
	var err error
	for _, f := range t.writing {
		err = errors.Join(err, f.remove())
		f.file.Close() // the file is removed, so an error does not matter
	}
	t.dirs.Close()
	return err
}
