package client

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
)

// placeDir is a folder of the target that can still change.
type placeDir struct {
	*folder
	path   string
	parent *placeDir // nil for the target folder
	mine   bool      // made by this restore, or to be overwritten

	// Under placer.mu.
	pending int    // what is not finished in it, and one until it is left
	entry   *Entry // set when it was left
}

// mkdir makes a folder, or takes over one that is there.
func (p *placer) mkdir(e *Entry) error {
	if e.Path == "." {
		return nil
	}
	parent, name, err := p.enter(e.Path)
	if err != nil {
		return err
	}
	d, err := p.makeDir(parent, name, e.Path)
	if err != nil {
		p.leave(parent)
		return err
	}
	p.mu.Lock()
	_, known := p.live[e.Path] // made earlier for something in it
	if !known {
		p.live[e.Path] = d
	}
	p.mu.Unlock()
	if known {
		p.leave(parent)
	}
	return nil
}

// makeDir makes the folder name in parent, with the rights of its owner only.
func (p *placer) makeDir(parent *placeDir, name, path string) (*placeDir, error) {
	if err := parent.acquire(); err != nil {
		return nil, err
	}
	defer parent.release()
	err := parent.root.Mkdir(name, 0o700)
	mine := err == nil || p.opt.Overwrite
	if errors.Is(err, fs.ErrExist) {
		err = p.clearForDir(parent.folder, name)
	}
	if err != nil {
		return nil, bare(err)
	}
	info, err := parent.root.Lstat(name)
	if err != nil {
		return nil, bare(err)
	}
	return &placeDir{folder: parent.child(name, info), path: path, parent: parent, mine: mine, pending: 1}, nil
}

// clearForDir deals with what has a folder's name already: a folder is opened
// for its owner, something else is replaced if that is allowed.
func (p *placer) clearForDir(parent *folder, name string) error {
	info, err := parent.root.Lstat(name)
	switch {
	case err != nil:
		return err
	case info.IsDir() && p.opt.Overwrite && info.Mode()&0o700 != 0o700:
		// An earlier restore of a read-only folder; its mode is set again later.
		return parent.root.Chmod(name, info.Mode()|0o700)
	case info.IsDir():
		return nil
	case !p.opt.Overwrite:
		return errInTheWay
	}
	if err := parent.root.Remove(name); err != nil {
		return err
	}
	return parent.root.Mkdir(name, 0o700)
}

// enter finds the folder that the entry at path goes into, making what is
// missing of it, and keeps its metadata from being set until [placer.leave].
func (p *placer) enter(path string) (dir *placeDir, name string, err error) {
	if path == "." {
		return nil, "", errors.New("the target can only be a folder")
	}
	parent, name := splitPath(path)
	p.mu.Lock()
	defer p.mu.Unlock()
	dir, err = p.dir(parent)
	if err != nil {
		return nil, "", err
	}
	dir.pending++
	return dir, name, nil
}

// dir is the folder at path, made if there is none, for entries whose folders
// are not restored with them. The caller holds p.mu.
func (p *placer) dir(path string) (*placeDir, error) {
	if d := p.live[path]; d != nil {
		return d, nil
	}
	above, name := splitPath(path)
	parent, err := p.dir(above)
	if err != nil {
		return nil, err
	}
	if err := parent.acquire(); err != nil {
		return nil, err
	}
	defer parent.release()
	err = parent.root.Mkdir(name, 0o777)
	mine := err == nil || p.opt.Overwrite
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make the folder %q: %w", path, bare(err))
	}
	f, err := parent.step(name, path)
	if err != nil {
		return nil, err
	}
	parent.pending++
	d := &placeDir{folder: f, path: path, parent: parent, mine: mine, pending: 1}
	p.live[path] = d
	return d, nil
}

// find is the folder at path if it is there; nothing is made.
func (p *placer) find(path string) (*folder, error) {
	p.mu.Lock()
	d := p.live[path]
	p.mu.Unlock()
	if d != nil {
		return d.folder, nil
	}
	above, name := splitPath(path)
	parent, err := p.find(above)
	if err != nil {
		return nil, err
	}
	return parent.step(name, path)
}

// step is the folder name in f. What is no folder, a symbolic link above all,
// is refused; path is for the message.
func (f *folder) step(name, path string) (*folder, error) {
	info, err := f.lstat(name)
	switch {
	case err != nil:
		return nil, fmt.Errorf("open the folder %q: %w", path, err)
	case info.Mode()&os.ModeSymlink != 0:
		return nil, fmt.Errorf("%q is a symbolic link, and nothing is restored through one", path)
	case !info.IsDir():
		return nil, fmt.Errorf("%q is not a folder", path)
	}
	return f.child(name, info), nil
}

// leaveDir says that no more entries will be placed in the folder e. Its
// metadata is set as soon as nothing in it is unfinished; what fails then is a
// warning.
func (p *placer) leaveDir(e *Entry) {
	p.mu.Lock()
	d := p.live[e.Path]
	if d == nil || d.entry != nil {
		p.mu.Unlock()
		return
	}
	d.entry = e
	p.mu.Unlock()
	p.leave(d)
}

// leave counts one thing in d as finished. The last one settles the folder, and
// with it perhaps those above.
func (p *placer) leave(d *placeDir) {
	for d != nil {
		p.mu.Lock()
		d.pending--
		settled := d.pending == 0
		if settled {
			delete(p.live, d.path)
		}
		p.mu.Unlock()
		if !settled {
			return
		}
		p.settle(d)
		d = d.parent
	}
}

// settle gives a folder its metadata.
func (p *placer) settle(d *placeDir) {
	if d.entry == nil || !d.mine {
		return
	}
	if d.entry.Mode&0o500 != 0o500 {
		// It may hold the first name of a file that gets another one later.
		p.mu.Lock()
		p.shut = append(p.shut, d)
		p.mu.Unlock()
		return
	}
	p.setDirMeta(d)
}

func (p *placer) setDirMeta(d *placeDir) {
	if err := d.acquire(); err != nil {
		p.opt.Warn(d.path, fmt.Errorf("set the folder's metadata: %w", err))
		return
	}
	defer d.release()
	p.setMeta(placed{dir: d.folder, name: ".", file: d.self}, d.entry)
}

// close settles what is left and closes all folders. Files must be finished or
// aborted before.
func (p *placer) close() {
	p.mu.Lock()
	rest := make([]*placeDir, 0, len(p.live))
	for _, d := range p.live {
		rest = append(rest, d)
	}
	p.mu.Unlock()
	slices.SortFunc(rest, func(a, b *placeDir) int { return comparePath(b.path, a.path) })
	for _, d := range rest {
		p.settle(d)
	}
	// Children settled before their parents, and so they are in this list.
	for _, d := range p.shut {
		p.setDirMeta(d)
	}
	p.live, p.shut = nil, nil
	p.set.close()
}

// abandon ends a restore that cannot go on: files that are being written are
// removed, folders stay as they are. No other call may be under way.
func (p *placer) abandon() error {
	var err error
	for _, pf := range p.writing {
		err = errors.Join(err, pf.remove())
		pf.f.Close() // what it says does not matter any more
	}
	p.set.close()
	return err
}
