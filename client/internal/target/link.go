package target

import (
	"errors"
	"fmt"
	"io/fs"

	"servidor-backup/client/internal/osfs"
	"servidor-backup/client/internal/tree"
)

// pendingLink is another name of a file that is still being written.
type pendingLink struct {
	entry *tree.Entry
	dir   *Dir
	name  string
}

// Link makes another name of a file. If the file is still being written, the name is made when
// the file is finished. An error that wraps fs.ErrNotExist means that the first name does not
// exist, as when only a part of a version is restored: the caller can write the file with its
// content instead.
func (t *Target) Link(e *tree.Entry) error { return entryError(e, t.linkOrWait(e)) }

func (t *Target) linkOrWait(e *tree.Entry) error {
	if err := errors.Join(checkPath(e.Path), checkPath(e.HardLink)); err != nil {
		return err
	}
	d, name, err := t.holdParent(e.Path)
	if err != nil {
		return err
	}
	l := pendingLink{entry: e, dir: d, name: name}
	t.mu.Lock()
	first := t.writing[e.HardLink]
	if first != nil {
		first.links = append(first.links, l)
	}
	t.mu.Unlock()
	if first != nil {
		return nil
	}
	return t.makeLink(l)
}

// makeLink makes the link and releases its folder.
func (t *Target) makeLink(l pendingLink) error {
	defer l.dir.Release()
	from, fromName, err := t.findFirstName(l.entry)
	if err != nil {
		return err
	}
	if err := from.Acquire(); err != nil {
		return err
	}
	defer from.Release()
	if err := l.dir.disk.Acquire(); err != nil {
		return err
	}
	defer l.dir.disk.Release()
	used, err := t.makeNamed(l.dir, l.name, func(d *osfs.Dir, name string) error {
		return osfs.Link(from, fromName, d, name)
	})
	if err != nil {
		return fmt.Errorf("link to %q: %w", l.entry.HardLink, err)
	}
	return l.dir.disk.Rename(used, l.name)
}

// findFirstName finds the first name of a file that has several: its folder and its name there.
// The type and size must be those of the version, because a target that was not empty may hold
// another file of that name.
func (t *Target) findFirstName(e *tree.Entry) (*osfs.Dir, string, error) {
	parents, name := tree.SplitPath(e.HardLink)
	dir, err := t.findDir(parents)
	if err != nil {
		return nil, "", err
	}
	info, err := dir.Lstat(name)
	if err != nil {
		return nil, "", fmt.Errorf("look at %q, of which it is another name: %w", e.HardLink, err)
	}
	if tree.TypeOfMode(osfs.MetaOf(info).Mode) != e.Type || e.Type == tree.TypeFile && info.Size() != e.Size {
		return nil, "", fmt.Errorf("%q, of which it is another name, was not restored: %w", e.HardLink, fs.ErrNotExist)
	}
	return dir, name, nil
}
