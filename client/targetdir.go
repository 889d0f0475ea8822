package client

import (
	"errors"
	"fmt"
	"io/fs"
)

// targetDir is a folder of the target that can still change. It is held by
// everything in it that is not finished: entries that are to come, files that are
// being written, folders below it, and, until [restoreTarget.leave], by the descent that is
// in it. When nothing holds it any more, it gets its metadata.
type targetDir struct {
	t *restoreTarget
	*folder
	path   string
	parent *targetDir // nil for the target folder
	mine   bool       // made by this restore, or to be overwritten

	// Under restoreTarget.mu.
	holds int
	entry *Entry // nil if only something in it is restored
}

// hold keeps the folder's metadata from being set until unhold. It must be held
// already. A nil folder needs no holding.
func (d *targetDir) hold() {
	if d == nil {
		return
	}
	d.t.mu.Lock()
	d.holds++
	d.t.mu.Unlock()
}

// unhold ends one hold. The last one settles the folder, and with it perhaps those
// above.
func (d *targetDir) unhold() {
	for d != nil {
		d.t.mu.Lock()
		d.holds--
		settled := d.holds == 0
		if settled {
			delete(d.t.live, d.path)
		}
		d.t.mu.Unlock()
		if !settled {
			return
		}
		d.settle()
		d = d.parent
	}
}

// leave says that no more entries will come in a folder that mkdir has returned. Its
// metadata is set as soon as nothing holds it; what fails then is a warning.
func (t *restoreTarget) leave(d *targetDir) { d.unhold() }

// mkdir makes a folder, or takes over one that is there. It is held until
// [restoreTarget.leave].
func (t *restoreTarget) mkdir(e *Entry) (*targetDir, error) {
	err := checkTarget(e.Path)
	var d *targetDir
	if err == nil {
		d, err = t.makeDir(e)
	}
	return d, restoreError(e, err)
}

func (t *restoreTarget) makeDir(e *Entry) (*targetDir, error) {
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
		parent.unhold()
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
		parent.unhold()
	}
	return d, nil
}

// make makes the folder name in d, with the rights of its owner only.
func (d *targetDir) make(name, path string) (*targetDir, error) {
	if err := d.acquire(); err != nil {
		return nil, err
	}
	defer d.release()
	err := d.root.Mkdir(name, 0o700)
	mine := err == nil || d.t.opt.Overwrite
	if errors.Is(err, fs.ErrExist) {
		err = d.makeWay(name)
	}
	if err != nil {
		return nil, bare(err)
	}
	info, err := d.root.Lstat(name)
	if err != nil {
		return nil, bare(err)
	}
	return &targetDir{t: d.t, folder: d.child(name, info), path: path, parent: d, mine: mine, holds: 1}, nil
}

// makeWay deals with what has a folder's name already: a folder is opened for its
// owner, something else is replaced if that is allowed.
func (d *targetDir) makeWay(name string) error {
	info, err := d.root.Lstat(name)
	switch {
	case err != nil:
		return err
	case info.IsDir() && d.t.opt.Overwrite && info.Mode()&0o700 != 0o700:
		// An earlier restore of a read-only folder; its mode is set again later.
		return d.root.Chmod(name, info.Mode()|0o700)
	case info.IsDir():
		return nil
	case !d.t.opt.Overwrite:
		return errInTheWay
	}
	if err := d.root.Remove(name); err != nil {
		return err
	}
	return d.root.Mkdir(name, 0o700)
}

// enter finds the folder that the entry at path goes into, making what is
// missing of it, and holds it.
func (t *restoreTarget) enter(path string) (dir *targetDir, name string, err error) {
	if path == "." {
		return nil, "", errors.New("the target can only be a folder")
	}
	parent, name := splitPath(path)
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
func (t *restoreTarget) dir(path string) (*targetDir, error) {
	if d := t.live[path]; d != nil {
		return d, nil
	}
	parents, name := splitPath(path)
	parent, err := t.dir(parents)
	if err != nil {
		return nil, err
	}
	if err := parent.acquire(); err != nil {
		return nil, err
	}
	defer parent.release()
	err = parent.root.Mkdir(name, 0o777)
	mine := err == nil || t.opt.Overwrite
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make the folder %q: %w", path, bare(err))
	}
	f, err := parent.step(name, path)
	if err != nil {
		return nil, err
	}
	parent.holds++
	d := &targetDir{t: t, folder: f, path: path, parent: parent, mine: mine, holds: 1}
	t.live[path] = d
	return d, nil
}

// find is the folder at path if it is there; nothing is made.
func (t *restoreTarget) find(path string) (*folder, error) {
	t.mu.Lock()
	d := t.live[path]
	t.mu.Unlock()
	if d != nil {
		return d.folder, nil
	}
	parents, name := splitPath(path)
	parent, err := t.find(parents)
	if err != nil {
		return nil, err
	}
	return parent.step(name, path)
}

// settle gives a folder its metadata.
func (d *targetDir) settle() {
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

func (d *targetDir) setMeta() {
	if err := d.acquire(); err != nil {
		d.t.opt.Warn(d.path, fmt.Errorf("set the folder's metadata: %w", err))
		return
	}
	defer d.release()
	d.t.meta.set(d.folder, ".", d.self, d.entry)
}
