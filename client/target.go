package client

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
)

// targetOptions are how a restore treats what it finds and what it may do. The
// zero value neither overwrites anything nor gives files away.
type targetOptions struct {
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

// restoreTarget puts entries below a folder and nowhere else.
//
// Entries come from a version and are taken for hostile: every name is used
// relative to its opened parent folder, and a parent that is a symbolic link is
// refused, whether this restore made it or somebody else.
//
// The calls for an entry must come after those for its folder; otherwise all
// methods may be called concurrently, so that files are written in parallel.
// Folders are made private and open to their owner, and get their metadata when
// nothing holds them any more, see [targetDir]. So a read-only folder can be
// filled, and its mtime stays.
type restoreTarget struct {
	opt  targetOptions
	meta *metaWriter
	set  *folders

	top *targetDir

	mu      sync.Mutex
	live    map[string]*targetDir  // folders without their metadata yet
	writing map[string]*targetFile // created, not finished
	shut    []*targetDir           // settled but for what would lock us out
}

// openTarget makes a target of the folder dir, which is made if it is missing.
// A folder that has something in it keeps its own metadata, unless it may be
// overwritten.
func openTarget(dir string, opt targetOptions) (*restoreTarget, error) {
	if opt.Warn == nil {
		opt.Warn = func(string, error) {}
	}
	_, err := os.Lstat(dir)
	mine := opt.Overwrite || errors.Is(err, fs.ErrNotExist)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, fmt.Errorf("make the target folder %s: %w", dir, bare(err))
	}
	// Later changes of the working directory must not matter.
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("find the target folder %s: %w", dir, err)
	}
	set := newFolders()
	top, err := set.top(abs)
	if err != nil {
		return nil, fmt.Errorf("open the target folder %s: %w", dir, bare(err))
	}
	names, err := top.names()
	if err != nil {
		return nil, fmt.Errorf("open the target folder %s: %w", dir, err)
	}
	t := &restoreTarget{
		opt: opt, set: set,
		meta:    newMetaWriter(metaOptions{Owner: opt.Owner, NumericOwner: opt.NumericOwner, Warn: opt.Warn}),
		live:    map[string]*targetDir{},
		writing: map[string]*targetFile{},
	}
	t.top = &targetDir{t: t, folder: top, path: ".", mine: mine || len(names) == 0, holds: 1}
	t.live["."] = t.top
	return t, nil
}

// put places a symbolic link, a fifo or a device. A device that this process may
// not make is a warning.
func (t *restoreTarget) put(e *Entry) error {
	err := checkTarget(e.Path)
	if err == nil {
		switch e.Type {
		case TypeSymlink:
			err = t.putNode(e, func(d *folder, name string) error {
				return bare(d.root.Symlink(e.Target, name))
			})
		case TypeFile, TypeDir:
			err = fmt.Errorf("a %v is placed in another way: this is a bug", e.Type)
		default:
			err = t.putSpecial(e)
		}
	}
	return restoreError(e, err)
}

// restoreError says which entry err is about.
func restoreError(e *Entry, err error) error {
	if err != nil {
		return fmt.Errorf("restore %q: %w", e.Path, err)
	}
	return nil
}

// checkTarget says why nothing may be placed at path, or nil.
func checkTarget(path string) error {
	if err := checkPath(path); err != nil {
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

// sync puts what was placed on stable storage; once for all files costs a small
// part of what once for each would.
func (t *restoreTarget) sync() error {
	if err := t.top.acquire(); err != nil {
		return fmt.Errorf("sync the target folder: %w", err)
	}
	defer t.top.release()
	if err := syncFolder(t.top.self); err != nil {
		return fmt.Errorf("sync the target folder: %w", err)
	}
	return nil
}

// putSpecial makes a fifo or a device.
func (t *restoreTarget) putSpecial(e *Entry) error {
	err := t.putNode(e, func(d *folder, name string) error { return makeNode(d, name, e.Type.unixType(), e.Rdev) })
	noRight := e.Type != TypeFifo && errors.Is(err, fs.ErrPermission)
	if noRight || errors.Is(err, errors.ErrUnsupported) {
		t.opt.Warn(e.Path, fmt.Errorf("the %v was left out: %w", e.Type, err))
		return nil
	}
	return err
}

// putNode makes an entry that has no content, with its metadata.
func (t *restoreTarget) putNode(e *Entry, make func(d *folder, name string) error) error {
	d, name, err := t.enter(e.Path)
	if err != nil {
		return err
	}
	defer d.unhold()
	if err := d.acquire(); err != nil {
		return err
	}
	defer d.release()
	used, err := t.makeName(d, name, make)
	if err != nil {
		return err
	}
	t.meta.set(d.folder, used, nil, e)
	return d.rename(used, name)
}

// makeName calls make with the name that the entry is to have or, where something
// is in the way that may be overwritten, with a temporary one. It returns the name
// used; [folder.rename] ends what it began. d must be acquired.
func (t *restoreTarget) makeName(d *targetDir, name string, make func(d *folder, name string) error) (string, error) {
	err := make(d.folder, name)
	if !errors.Is(err, fs.ErrExist) {
		return name, err
	}
	info, err := d.root.Lstat(name)
	switch {
	case err != nil:
		return "", bare(err)
	case info.IsDir():
		return "", fmt.Errorf("a folder is in the way and is not removed: move it away first")
	case !t.opt.Overwrite:
		return "", errInTheWay
	}
	used := ".restore-" + rand.Text()
	return used, make(d.folder, used)
}

// close settles what is left and closes all folders. Files must be finished or
// aborted before.
func (t *restoreTarget) close() {
	t.mu.Lock()
	rest := make([]*targetDir, 0, len(t.live))
	for _, d := range t.live {
		rest = append(rest, d)
	}
	t.mu.Unlock()
	slices.SortFunc(rest, func(a, b *targetDir) int { return comparePath(b.path, a.path) })
	for _, d := range rest {
		d.settle()
	}
	// Children settled before their parents, and so they are in this list.
	for _, d := range t.shut {
		d.setMeta()
	}
	t.live, t.shut = nil, nil
	t.set.close()
}

// abandon ends a restore that cannot go on: files that are being written are
// removed, folders stay as they are. No other call may be under way.
func (t *restoreTarget) abandon() error {
	var err error
	for _, f := range t.writing {
		err = errors.Join(err, f.remove())
		f.f.Close() // what it says does not matter any more
	}
	t.set.close()
	return err
}

// readBack reads from a regular file that was placed, perhaps not finished yet.
func (t *restoreTarget) readBack(path string, b []byte, off int64) error {
	parents, name := splitPath(path)
	d, err := t.find(parents)
	if err != nil {
		return err
	}
	return d.readAt(name, b, off)
}
