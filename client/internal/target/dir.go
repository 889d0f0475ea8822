package target

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"

	"servidor-backup/client/internal/osfs"
	"servidor-backup/client/internal/tree"
)

// Dir is a folder of the target that can still change. It is held by everything in it that is not
// finished: files that are being written or about to come, folders below it, and the caller of
// [Target.Mkdir] until it knows that no more entries follow. When nothing holds it any more, it
// gets its metadata.
type Dir struct {
	t        *Target
	disk     *osfs.Dir
	Path     string // in the target; "." for the target folder
	parent   *Dir   // nil for the target folder
	getsMeta bool   // made by this restore, or may be overwritten
	// before are the names that were in the folder when the restore came to it, sorted. A
	// folder that the restore has made has none.
	before []string

	inherits     bool // new files get an ACL from the folder; set by inheritsACL
	askedInherit sync.Once

	// Under Target.mu.
	holds int
	entry *tree.Entry // nil if the folder itself is not restored, only something in it
}

// Hold postpones the folder's metadata until a matching Release. Somebody must hold the folder
// already. A nil folder needs no hold.
func (d *Dir) Hold() {
	if d == nil {
		return
	}
	d.t.mu.Lock()
	d.holds++
	d.t.mu.Unlock()
}

// Release ends one hold. The last release sets the folder's metadata, and ends the folder's hold
// on its parent. Metadata that cannot be set is a warning. A nil folder needs no release.
func (d *Dir) Release() {
	for d != nil {
		d.t.mu.Lock()
		d.holds--
		settled := d.holds == 0
		if settled {
			delete(d.t.live, d.Path)
		}
		d.t.mu.Unlock()
		if !settled {
			return
		}
		d.settle()
		d = d.parent
	}
}

// Mkdir makes a folder, or takes over an existing one. The caller holds it and must release it
// when no more entries come in it.
func (t *Target) Mkdir(e *tree.Entry) (*Dir, error) {
	err := checkPath(e.Path)
	var d *Dir
	if err == nil {
		d, err = t.makeDir(e)
	}
	return d, entryError(e, err)
}

func (t *Target) makeDir(e *tree.Entry) (*Dir, error) {
	if e.Path == "." {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.top.entry = e
		return t.top, nil
	}
	if d := t.giveEntry(e); d != nil { // made earlier for something in it
		return d, nil
	}
	parent, name, err := t.holdParent(e.Path)
	if err != nil {
		return nil, err
	}
	d, err := parent.makeChild(name, e.Path, 0o700)
	if err != nil {
		parent.Release()
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	d.entry = e
	t.live[e.Path] = d
	return d, nil
}

// giveEntry returns the folder that e is the entry of, if that is held already.
func (t *Target) giveEntry(e *tree.Entry) *Dir {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.live[e.Path]
	if d != nil {
		d.entry = e
	}
	return d
}

// makeChild makes the folder name in d, or takes over an existing one if overwriting is allowed.
// The caller holds d for it.
func (d *Dir) makeChild(name, path string, mode fs.FileMode) (*Dir, error) {
	if err := d.disk.Acquire(); err != nil {
		return nil, err
	}
	defer d.disk.Release()
	existed, err := d.makeWay(name)
	if err == nil && !existed {
		err = d.explainName(name, osfs.WithoutPath(d.disk.Root.Mkdir(name, mode)))
		if err == nil {
			err = d.checkMade(name)
		}
	}
	if err != nil {
		return nil, err
	}
	info, err := d.disk.Root.Lstat(name)
	if err != nil {
		return nil, osfs.WithoutPath(err)
	}
	made := &Dir{t: d.t, disk: d.disk.Child(name, osfs.IdentityOf(info)), Path: path, parent: d, getsMeta: true, holds: 1}
	if existed {
		if err := made.readNames(); err != nil {
			return nil, err
		}
	}
	return made, nil
}

// makeWay prepares for the folder name: if there is one that may be filled, it is made writable for
// its owner, and if there is anything else that may be replaced, it is removed.
func (d *Dir) makeWay(name string) (existed bool, err error) {
	info, err := d.existing(name)
	switch {
	case err != nil || info == nil:
		return false, err
	case !d.t.opt.Overwrite:
		return false, errExists
	case !info.IsDir():
		return false, d.disk.Remove(name)
	case info.Mode()&0o700 != 0o700:
		// A read-only folder from an earlier restore; its mode is set again later.
		err = osfs.WithoutPath(d.disk.Root.Chmod(name, info.Mode()|0o700))
	}
	return true, err
}

// readNames reads which names are in the folder, and removes leftovers of earlier restores.
func (d *Dir) readNames() error {
	names, err := d.disk.Names()
	if err != nil {
		return err
	}
	if err := d.disk.Acquire(); err != nil {
		return err
	}
	defer d.disk.Release()
	d.before = slices.DeleteFunc(names, func(name string) bool { return d.t.removeLeftover(d, name) })
	slices.Sort(d.before)
	return nil
}

// existing looks at what had the name before the restore came to the folder; nil if nothing had it.
// Only the very same name counts, also where the file system takes others for the same. d.disk must
// be acquired.
func (d *Dir) existing(name string) (fs.FileInfo, error) {
	if _, found := slices.BinarySearch(d.before, name); !found {
		return nil, nil
	}
	info, err := d.disk.Root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // removed meanwhile
	}
	return info, osfs.WithoutPath(err)
}

// mayReplace reports whether an entry that is not a folder replaces something. The error tells why
// the entry must not be made. d.disk must be acquired.
func (d *Dir) mayReplace(name string) (replaces bool, err error) {
	info, err := d.existing(name)
	switch {
	case err != nil || info == nil:
		return false, err
	case info.IsDir():
		return false, errFolder
	case !d.t.opt.Overwrite:
		return false, errExists
	}
	return true, nil
}

// explainName explains an error about a name that nothing had when the restore came to the folder,
// if that name is taken or is not possible. It returns other errors as they are. d.disk must be
// acquired.
func (d *Dir) explainName(name string, err error) error {
	if errors.Is(err, syscall.EINVAL) && impossible(name) {
		return fmt.Errorf("%w: %q (%w)", ErrName, name, err)
	}
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := d.disk.Root.Lstat(name)
	if err == nil && info.Mode()&fs.ModeSymlink != 0 {
		return fmt.Errorf("%w as a symbolic link, which was made meanwhile, and links are not followed", fs.ErrExist)
	}
	return fmt.Errorf("%w: it was made meanwhile, or this file system takes another name in the folder for the same", fs.ErrExist)
}

// checkMade checks that what was just made has the name that was asked for. Some file systems cut
// off dots and spaces at the end without a word. Then it is removed. d.disk must be acquired.
func (d *Dir) checkMade(name string) error {
	cut := strings.TrimRight(name, ". ")
	if cut == name || cut == "" {
		return nil
	}
	made, err := d.disk.Root.Lstat(name)
	if err != nil {
		return osfs.WithoutPath(err)
	}
	if other, err := d.disk.Root.Lstat(cut); err != nil || !os.SameFile(made, other) {
		return nil
	}
	return errors.Join(fmt.Errorf("%w: %q (this file system makes %q of it)", ErrName, name, cut),
		d.disk.Remove(name))
}

// inheritsACL reports whether new files in the folder get an ACL from it. d.disk must be acquired.
// A folder gets its own ACL after its files.
func (d *Dir) inheritsACL() bool {
	d.askedInherit.Do(func() { d.inherits = osfs.InheritsACL(d.disk.Self) })
	return d.inherits
}

// holdParent returns the folder of the entry at path, and the entry's name in it. It makes folders
// that are missing. The caller holds the folder.
func (t *Target) holdParent(path string) (dir *Dir, name string, err error) {
	if path == "." {
		return nil, "", errors.New("the target can only be a folder")
	}
	parent, name := tree.SplitPath(path)
	t.mu.Lock()
	defer t.mu.Unlock()
	dir, err = t.ensureDir(parent)
	if err != nil {
		return nil, "", err
	}
	dir.holds++
	return dir, name, nil
}

// ensureDir returns the folder at path. It makes the folder if it is missing, for entries whose
// folders are not restored with them. The caller holds t.mu.
func (t *Target) ensureDir(path string) (*Dir, error) {
	if d := t.live[path]; d != nil {
		return d, nil
	}
	parents, name := tree.SplitPath(path)
	parent, err := t.ensureDir(parents)
	if err != nil {
		return nil, err
	}
	d, err := parent.makeChild(name, path, 0o777)
	if err != nil {
		return nil, fmt.Errorf("make the folder %q: %w", path, err)
	}
	parent.holds++
	t.live[path] = d
	return d, nil
}

// findDir returns the folder at path if it exists. It makes nothing.
func (t *Target) findDir(path string) (*osfs.Dir, error) {
	t.mu.Lock()
	d := t.live[path]
	t.mu.Unlock()
	if d != nil {
		return d.disk, nil
	}
	parents, name := tree.SplitPath(path)
	parent, err := t.findDir(parents)
	if err != nil {
		return nil, err
	}
	return parent.Subdir(name, path)
}

// settle gives the folder its metadata, or postpones that to [Target.Close] if the mode denies
// access.
func (d *Dir) settle() {
	if d.entry == nil || !d.getsMeta {
		return
	}
	if d.entry.Mode&0o500 != 0o500 {
		// The folder may hold the first name of a file that gets another name later.
		d.t.mu.Lock()
		d.t.restricted = append(d.t.restricted, d)
		d.t.mu.Unlock()
		return
	}
	d.setMeta()
}

func (d *Dir) setMeta() {
	if err := d.disk.Acquire(); err != nil {
		d.t.opt.Warn(d.Path, fmt.Errorf("set the folder's metadata: %w", err))
		return
	}
	defer d.disk.Release()
	d.t.meta.set(d.disk, ".", d.disk.Self, d.entry)
}
