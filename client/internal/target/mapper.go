package target

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"servidor-backup/client/internal/osfs"
	"servidor-backup/client/internal/tree"
)

// Mapper maps the paths of a version, one entry after the other, to paths that a target can have.
// See [MapName]. A nil Mapper changes nothing. It is not safe for concurrent use.
type Mapper struct {
	foldsCase bool
	// clashes are the entries, by path, whose names differ only in case from that of an earlier
	// entry in the folder, and the names that they get.
	clashes map[string]string
	folders []mappedFolder // the folder of the last entry, and those above
}

type mappedFolder struct {
	path  string
	names map[string]string // by what foldName makes of their mapped names
}

// NewMapper returns a Mapper for a target that lacks the names that Windows lacks. foldsCase says
// that names there that differ only in case are the same.
func NewMapper(foldsCase bool) *Mapper {
	return &Mapper{foldsCase: foldsCase, clashes: map[string]string{}}
}

// Mapper returns how paths are mapped for this target, or nil if it can have all names. It finds
// that out by empty files with names in question, which it removes.
func (t *Target) Mapper() (*Mapper, error) {
	if err := t.top.disk.Acquire(); err != nil {
		return nil, err
	}
	defer t.top.disk.Release()
	probe := t.temporaryName()
	foldsCase, err := t.takes(probe+"-a", probe+"-A")
	if err != nil {
		return nil, err
	}
	if !foldsCase && os.PathSeparator == '/' {
		if takes, err := t.takes(probe+"-:", ""); takes || err != nil {
			return nil, err
		}
	}
	return NewMapper(foldsCase), nil
}

// takes reports whether a file of that name can be made and, if other is not "", has that name too.
func (t *Target) takes(name, other string) (bool, error) {
	root := t.top.disk.Root
	f, err := root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return false, nil // if nothing can be made here, the first entry tells so
	}
	made, err := f.Stat()
	f.Close() // it is empty and is removed
	there := err == nil
	if other != "" && err == nil {
		info, lookErr := root.Lstat(other)
		there = lookErr == nil && os.SameFile(made, info)
	}
	if rmErr := t.top.disk.Remove(name); rmErr != nil && !errors.Is(rmErr, fs.ErrNotExist) {
		err = errors.Join(err, rmErr)
	}
	if err != nil {
		return false, fmt.Errorf("find out which names are possible: %w", osfs.WithoutPath(err))
	}
	return there, nil
}

// Enter maps the path of the next entry, and reports whether the entry's own name is mapped. All
// entries of a folder must follow it before others come.
func (m *Mapper) Enter(path string) (as string, mapped bool) {
	if m == nil || path == "." || path == "" {
		return path, false
	}
	if m.foldsCase {
		m.findClash(path)
	}
	as = m.Path(path)
	_, name := tree.SplitPath(path)
	_, now := tree.SplitPath(as)
	return as, now != name
}

// Path maps a path. It knows the clashes of the entries that came before.
func (m *Mapper) Path(path string) string {
	if m == nil || path == "." || path == "" {
		return path
	}
	parts := strings.Split(path, "/")
	end := -1
	for i, name := range parts {
		end += 1 + len(name)
		as, clashes := m.clashes[path[:end]]
		if !clashes {
			as = MapName(name, false)
		}
		parts[i] = as
	}
	return strings.Join(parts, "/")
}

// findClash finds out whether an earlier name in the folder differs from that of the entry only in
// case.
func (m *Mapper) findClash(path string) {
	parent, name := tree.SplitPath(path)
	for n := len(m.folders); n > 0 && !tree.InSubtree(parent, m.folders[n-1].path); n-- {
		m.folders = m.folders[:n-1]
	}
	if n := len(m.folders); n == 0 || m.folders[n-1].path != parent {
		m.folders = append(m.folders, mappedFolder{parent, map[string]string{}})
	}
	names := m.folders[len(m.folders)-1].names
	folded := foldName(MapName(name, false))
	switch first, found := names[folded]; {
	case !found:
		names[folded] = name
	case first != name:
		m.clashes[path] = MapName(name, true)
	}
}
