package target

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"servidor-backup/client/internal/osfs"
	"servidor-backup/client/internal/tree"
)

// pendingLink is another name of a file that is still being written.
type pendingLink struct {
	entry *tree.Entry
	dir   *Dir
	name  string
}

// These are the errors of [Target.Link] after which the caller can write a file of its own instead.
var (
	// ErrNoFirst means that the file's first name was not restored.
	ErrNoFirst = errors.New("the file's first name was not restored")
	// ErrNoLink means that the system does not make this hard link, as on a file system that
	// has none.
	ErrNoLink = errors.New("no hard link can be made")
)

// Link makes another name of a file. If the file is still being written, the name is made when
// the file is finished. See ErrNoFirst and ErrNoLink.
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
	switch {
	case errors.Is(err, fs.ErrExist):
		return err
	case err != nil:
		return fmt.Errorf("link to %q: %w: %w", l.entry.HardLink, ErrNoLink, err)
	}
	return l.dir.disk.Rename(used, l.name)
}

// findFirstName finds the first name of a file that has several: its folder and its name there.
// It must look like the version's file, because a target that was not empty may hold another file
// of that name, and the version's may have failed.
func (t *Target) findFirstName(e *tree.Entry) (*osfs.Dir, string, error) {
	parents, name := tree.SplitPath(e.HardLink)
	dir, err := t.findDir(parents)
	if err != nil {
		return nil, "", fmt.Errorf("%w: %w", ErrNoFirst, err)
	}
	info, err := dir.Lstat(name)
	if err != nil {
		return nil, "", fmt.Errorf("look at %q, of which it is another name: %w: %w", e.HardLink, ErrNoFirst, err)
	}
	if tree.TypeOfMode(osfs.MetaOf(info).Mode) != e.Type || e.Type == tree.TypeFile && !looksLike(info, e) {
		return nil, "", fmt.Errorf("%q is another file: %w", e.HardLink, ErrNoFirst)
	}
	return dir, name, nil
}

// looksLike reports whether a file has the size and the time of an entry, as far as file systems
// keep times.
func looksLike(info os.FileInfo, e *tree.Entry) bool {
	return info.Size() == e.Size && info.ModTime().Sub(time.Unix(0, e.Mtime)).Abs() <= 2*time.Second
}
