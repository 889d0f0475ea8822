package target

import (
	"errors"
	"fmt"
	"io/fs"

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
	parent, name, err := t.holdParent(e.Path)
	if err != nil {
		return nil, err
	}
	d, err := parent.makeChild(name, e.Path)
	if err != nil {
		parent.Release()
		return nil, err
	}
	t.mu.Lock()
	known := t.live[e.Path] // made earlier for something in it
	if known == nil {
		t.live[e.Path] = d
	} else {
		d = known
	}
	d.entry = e
	t.mu.Unlock()
	if known != nil {
		parent.Release()
	}
	return d, nil
}

// makeChild makes the folder name in d, with rights for its owner only.
func (d *Dir) makeChild(name, path string) (*Dir, error) {
	if err := d.disk.Acquire(); err != nil {
		return nil, err
	}
	defer d.disk.Release()
	err := d.disk.Root.Mkdir(name, 0o700)
	getsMeta := err == nil || d.t.opt.Overwrite
	if errors.Is(err, fs.ErrExist) {
		err = d.makeWay(name)
	}
	if err != nil {
		return nil, osfs.WithoutPath(err)
	}
	info, err := d.disk.Root.Lstat(name)
	if err != nil {
		return nil, osfs.WithoutPath(err)
	}
	return &Dir{t: d.t, disk: d.disk.Child(name, osfs.IdentityOf(info)), Path: path, parent: d, getsMeta: getsMeta, holds: 1}, nil
}

// makeWay makes the folder name usable although something has that name: it makes a folder
// writable for its owner, and replaces anything else by a folder if overwriting is allowed.
func (d *Dir) makeWay(name string) error {
	info, err := d.disk.Root.Lstat(name)
	switch {
	case err != nil:
		return err
	case info.IsDir() && d.t.opt.Overwrite && info.Mode()&0o700 != 0o700:
		// A read-only folder from an earlier restore; its mode is set again later.
		return d.disk.Root.Chmod(name, info.Mode()|0o700)
	case info.IsDir():
		return nil
	case !d.t.opt.Overwrite:
		return errExists
	}
	if err := d.disk.Root.Remove(name); err != nil {
		return err
	}
	return d.disk.Root.Mkdir(name, 0o700)
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
	if err := parent.disk.Acquire(); err != nil {
		return nil, err
	}
	defer parent.disk.Release()
	err = parent.disk.Root.Mkdir(name, 0o777)
	getsMeta := err == nil || t.opt.Overwrite
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make the folder %q: %w", path, osfs.WithoutPath(err))
	}
	disk, err := parent.disk.Subdir(name, path)
	if err != nil {
		return nil, err
	}
	parent.holds++
	d := &Dir{t: t, disk: disk, Path: path, parent: parent, getsMeta: getsMeta, holds: 1}
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
