package target

import (
	"errors"
	"fmt"
	"io/fs"
	"servidor-backup/client/internal/osfs"
	"servidor-backup/client/internal/tree"
)

// Dir is a folder of the target that can still change. It is held by
// everything in it that is not finished: entries that are to come, files that are
// being written, folders below it, and, until [Target.leave], by the descent that is
// in it. When nothing holds it any more, it gets its metadata.
type Dir struct {
	t *Target
	*osfs.Dir
	Path   string
	parent *Dir // nil for the target folder
	mine   bool // made by this restore, or to be overwritten

	// Under Target.mu.
	holds int
	entry *tree.Entry // nil if only something in it is restored
}

// Hold keeps the folder's metadata from being set until unhold. It must be held
// already. A nil folder needs no holding.
func (d *Dir) Hold() {
	if d == nil {
		return
	}
	d.t.mu.Lock()
	d.holds++
	d.t.mu.Unlock()
}

// Unhold ends one hold. The last one settles the folder, and with it perhaps those
// above.
func (d *Dir) Unhold() {
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

// Leave says that no more entries will come in a folder that mkdir has returned. Its
// metadata is set as soon as nothing holds it; what fails then is a warning.
func (t *Target) Leave(d *Dir) { d.Unhold() }

// Mkdir makes a folder, or takes over one that is there. It is held until
// [Target.leave].
func (t *Target) Mkdir(e *tree.Entry) (*Dir, error) {
	err := checkTarget(e.Path)
	var d *Dir
	if err == nil {
		d, err = t.makeDir(e)
	}
	return d, restoreError(e, err)
}

func (t *Target) makeDir(e *tree.Entry) (*Dir, error) {
	if e.Path == "." {
		t.top.entry = e
		return t.top, nil
	}
	parent, name, err := t.enter(e.Path)
	if err != nil {
		return nil, err
	}
	d, err := parent.make(name, e.Path)
	if err != nil {
		parent.Unhold()
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
		parent.Unhold()
	}
	return d, nil
}

// make makes the folder name in d, with the rights of its owner only.
func (d *Dir) make(name, path string) (*Dir, error) {
	if err := d.Acquire(); err != nil {
		return nil, err
	}
	defer d.Release()
	err := d.Root.Mkdir(name, 0o700)
	mine := err == nil || d.t.opt.Overwrite
	if errors.Is(err, fs.ErrExist) {
		err = d.makeWay(name)
	}
	if err != nil {
		return nil, osfs.WithoutPath(err)
	}
	info, err := d.Root.Lstat(name)
	if err != nil {
		return nil, osfs.WithoutPath(err)
	}
	return &Dir{t: d.t, Dir: d.Child(name, osfs.IdentityOf(info)), Path: path, parent: d, mine: mine, holds: 1}, nil
}

// makeWay deals with what has a folder's name already: a folder is opened for its
// owner, something else is replaced if that is allowed.
func (d *Dir) makeWay(name string) error {
	info, err := d.Root.Lstat(name)
	switch {
	case err != nil:
		return err
	case info.IsDir() && d.t.opt.Overwrite && info.Mode()&0o700 != 0o700:
		// An earlier restore of a read-only folder; its mode is set again later.
		return d.Root.Chmod(name, info.Mode()|0o700)
	case info.IsDir():
		return nil
	case !d.t.opt.Overwrite:
		return errInTheWay
	}
	if err := d.Root.Remove(name); err != nil {
		return err
	}
	return d.Root.Mkdir(name, 0o700)
}

// enter finds the folder that the entry at path goes into, making what is
// missing of it, and holds it.
func (t *Target) enter(path string) (dir *Dir, name string, err error) {
	if path == "." {
		return nil, "", errors.New("the target can only be a folder")
	}
	parent, name := tree.SplitPath(path)
	t.mu.Lock()
	defer t.mu.Unlock()
	dir, err = t.dir(parent)
	if err != nil {
		return nil, "", err
	}
	dir.holds++
	return dir, name, nil
}

// dir is the folder at path, made if there is none, for entries whose folders
// are not restored with them. The caller holds t.mu.
func (t *Target) dir(path string) (*Dir, error) {
	if d := t.live[path]; d != nil {
		return d, nil
	}
	parents, name := tree.SplitPath(path)
	parent, err := t.dir(parents)
	if err != nil {
		return nil, err
	}
	if err := parent.Acquire(); err != nil {
		return nil, err
	}
	defer parent.Release()
	err = parent.Root.Mkdir(name, 0o777)
	mine := err == nil || t.opt.Overwrite
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make the folder %q: %w", path, osfs.WithoutPath(err))
	}
	f, err := parent.Subdir(name, path)
	if err != nil {
		return nil, err
	}
	parent.holds++
	d := &Dir{t: t, Dir: f, Path: path, parent: parent, mine: mine, holds: 1}
	t.live[path] = d
	return d, nil
}

// find is the folder at path if it is there; nothing is made.
func (t *Target) find(path string) (*osfs.Dir, error) {
	t.mu.Lock()
	d := t.live[path]
	t.mu.Unlock()
	if d != nil {
		return d.Dir, nil
	}
	parents, name := tree.SplitPath(path)
	parent, err := t.find(parents)
	if err != nil {
		return nil, err
	}
	return parent.Subdir(name, path)
}

// settle gives a folder its metadata.
func (d *Dir) settle() {
	if d.entry == nil || !d.mine {
		return
	}
	if d.entry.Mode&0o500 != 0o500 {
		// It may hold the first name of a file that gets another one later.
		d.t.mu.Lock()
		d.t.shut = append(d.t.shut, d)
		d.t.mu.Unlock()
		return
	}
	d.setMeta()
}

func (d *Dir) setMeta() {
	if err := d.Acquire(); err != nil {
		d.t.opt.Warn(d.Path, fmt.Errorf("set the folder's metadata: %w", err))
		return
	}
	defer d.Release()
	d.t.meta.set(d.Dir, ".", d.Self, d.entry)
}
