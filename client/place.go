package client

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// placeOptions are how a restore treats what it finds and what it may do. The
// zero value neither overwrites anything nor gives files away.
type placeOptions struct {
	// Overwrite replaces files and links that are in the way, and gives folders
	// that are there already the metadata of the version. A folder in place of
	// something else is never removed.
	Overwrite bool
	// Owner gives every entry its owner, which takes root's rights. Without it
	// entries belong to who restores them, and the setuid and setgid bits of
	// other people's files are dropped.
	Owner bool
	// NumericOwner takes owners by their numbers only. Otherwise, as in tar, a
	// name that this machine knows goes before the number.
	NumericOwner bool
	// Warn is told what of an entry that was placed could not be set. It may be
	// called concurrently. nil drops warnings.
	Warn func(path string, err error)
}

// placer puts entries below a target folder and nowhere else.
//
// Entries come from a version and are taken for hostile: every name is used
// relative to its opened parent folder, and a parent that is a symbolic link is
// refused, whether this restore made it or somebody else.
//
// The calls for an entry must come after those for its folder; otherwise all
// methods may be called concurrently, so that files are written in parallel.
// Folders are made private and open to their owner, and get their metadata when
// two things have happened in any order: [placer.leaveDir], and the last of what
// is in them was finished. So a read-only folder can be filled, and its mtime
// stays.
type placer struct {
	opt placeOptions
	ids *ownerIDs
	set *folders

	top *placeDir

	mu      sync.Mutex
	live    map[string]*placeDir   // folders without their metadata yet
	writing map[string]*placedFile // created, not finished
	shut    []*placeDir            // settled but for what would lock us out
}

// newPlacer makes a placer for the folder dir, which is made if it is missing.
// A folder that has something in it keeps its own metadata, unless it may be
// overwritten.
func newPlacer(dir string, opt placeOptions) (*placer, error) {
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
	root := &placeDir{folder: top, path: ".", mine: mine || len(names) == 0, pending: 1}
	return &placer{
		opt: opt, ids: newOwnerIDs(), set: set, top: root,
		live:    map[string]*placeDir{".": root},
		writing: map[string]*placedFile{},
	}, nil
}

// place puts everything but a regular file's content: folders, links, further
// names of files, fifos and devices. A device that this process may not make is
// a warning.
//
// A further name of a file that is still being written is made when that file
// is finished. An error that is fs.ErrNotExist means that the first name is not
// there, as when only a part of a version is restored: the file can be placed
// with its content instead.
func (p *placer) place(e *Entry) error {
	err := checkPlace(e.Path)
	if err == nil {
		switch {
		case e.HardLink != "":
			err = p.link(e)
		case e.Type == TypeDir:
			err = p.mkdir(e)
		case e.Type == TypeSymlink:
			err = p.putWhole(e, func(d *folder, name string) error {
				return bare(d.root.Symlink(e.Target, name))
			})
		case e.Type == TypeFile:
			err = errors.New("a regular file is placed by writing it")
		default:
			err = p.special(e)
		}
	}
	if err != nil {
		return fmt.Errorf("restore %q: %w", e.Path, err)
	}
	return nil
}

// checkPlace says why nothing may be placed at path, or nil.
func checkPlace(path string) error {
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

// splitPath is the folder and the name of an entry's path.
func splitPath(path string) (dir, name string) {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i], path[i+1:]
	}
	return ".", path
}

// sync puts what was placed on stable storage; once for all files costs a small
// part of what once for each would.
func (p *placer) sync() error {
	if err := p.top.acquire(); err != nil {
		return fmt.Errorf("sync the target folder: %w", err)
	}
	defer p.top.release()
	if err := syncFolder(p.top.self); err != nil {
		return fmt.Errorf("sync the target folder: %w", err)
	}
	return nil
}

// special makes a fifo or a device.
func (p *placer) special(e *Entry) error {
	err := p.putWhole(e, func(d *folder, name string) error { return makeNode(d, name, e) })
	noRight := e.Type != TypeFifo && errors.Is(err, fs.ErrPermission)
	if noRight || errors.Is(err, errors.ErrUnsupported) {
		p.opt.Warn(e.Path, fmt.Errorf("the %v was left out: %w", e.Type, err))
		return nil
	}
	return err
}

// putWhole makes an entry that has no content, with its metadata.
func (p *placer) putWhole(e *Entry, make func(d *folder, name string) error) error {
	d, name, err := p.enter(e.Path)
	if err != nil {
		return err
	}
	defer p.leave(d)
	if err := d.acquire(); err != nil {
		return err
	}
	defer d.release()
	used, err := p.put(d.folder, name, make)
	if err != nil {
		return err
	}
	p.setMeta(placed{dir: d.folder, name: used}, e)
	return d.rename(used, name)
}

// put calls make with the name that the entry is to have or, where something is
// in the way that may be overwritten, with a temporary one. It returns the name
// used; [folder.rename] ends what it began. d must be acquired.
func (p *placer) put(d *folder, name string, make func(d *folder, name string) error) (string, error) {
	err := make(d, name)
	if !errors.Is(err, fs.ErrExist) {
		return name, err
	}
	info, err := d.root.Lstat(name)
	switch {
	case err != nil:
		return "", bare(err)
	case info.IsDir():
		return "", fmt.Errorf("a folder is in the way and is not removed: move it away first")
	case !p.opt.Overwrite:
		return "", errInTheWay
	}
	used := ".restore-" + rand.Text()
	return used, make(d, used)
}

// rename gives what put made its final name.
func (f *folder) rename(used, name string) error {
	if used == name {
		return nil
	}
	err := f.root.Rename(used, name)
	// Renaming one name of a file to another of the same file does nothing.
	if rmErr := f.root.Remove(used); err == nil && rmErr != nil && !errors.Is(rmErr, fs.ErrNotExist) {
		err = rmErr
	}
	return bare(err)
}
