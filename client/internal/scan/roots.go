package scan

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"servidor-backup/client/internal/osfs"
	"servidor-backup/schemas"
)

// Root is a file or folder that a person asked to save.
type Root struct {
	Abs  string // where it is; symbolic links are resolved
	Path string // the path of its entry: "." for a folder saved alone, else its name

	isDir bool
	named string // as Abs, before links are resolved
	err   error  // why nothing can be saved of it; nil unless there are other roots
}

// NewRoots returns the roots for paths that a person gave, sorted by the paths of their
// entries. The content of a lone folder is saved without the folder's name, because the
// record has its own name. A lone file, and each of several paths, appears under its base
// name. A path that is itself a symbolic link stands for what the link points to.
//
// A path that does not exist, or has no content to save, is an error if it is alone or all paths
// are so. Otherwise the walk visits it as an item with an error.
func NewRoots(paths []string) ([]Root, error) {
	if len(paths) == 0 {
		return nil, schemas.Explain("", "no-path", "no path to save was given")
	}
	roots := make([]Root, 0, len(paths))
	for _, path := range paths {
		r, err := newRoot(path, len(paths) == 1)
		if err != nil {
			return nil, err
		}
		roots = append(roots, r)
	}
	if !slices.ContainsFunc(roots, func(r Root) bool { return r.err == nil }) {
		var err error
		for _, r := range roots {
			err = errors.Join(err, r.err)
		}
		return nil, err
	}
	slices.SortFunc(roots, func(a, b Root) int { return cmp.Compare(a.Path, b.Path) })
	for i := 1; i < len(roots); i++ {
		if a, b := roots[i-1], roots[i]; a.Path == b.Path {
			return nil, schemas.Explain("", "saved-under-one-name", "{path} and {other} would both be saved as \"{name}\": save them as two records, or save a folder that holds both", "path", a.Abs, "other", b.Abs, "name", a.Path)
		}
	}
	return roots, nil
}

func newRoot(path string, alone bool) (Root, error) {
	named, err := filepath.Abs(path)
	if err != nil {
		return Root{}, fmt.Errorf("save %s: %w", path, err)
	}
	abs, err := resolve(named, maxLinks)
	var info os.FileInfo
	if err == nil {
		info, err = os.Lstat(abs)
	}
	if err == nil {
		err = hasContent(info.Mode())
	}
	r := Root{Abs: abs, Path: filepath.Base(named), named: named}
	if err != nil {
		r.err = schemas.Explain("", "not-saved", "save {path}", "path", path).Because(osfs.WithoutPath(err))
		return r, nil
	}
	r.isDir = info.IsDir()
	switch {
	case alone && r.isDir:
		r.Path = "."
	case r.Path == string(filepath.Separator):
		return Root{}, schemas.Explain("", "path-without-name", "{path} has no name under which it could be saved beside other paths: save it alone", "path", path)
	}
	return r, nil
}

// hasContent returns why something that a person named has no content to save, or nil.
func hasContent(mode os.FileMode) error {
	switch {
	case mode.IsRegular() || mode.IsDir():
		return nil
	case mode&os.ModeDevice != 0:
		return schemas.Explain("", "is-device", "it is a device, which has no content to save")
	case mode&os.ModeNamedPipe != 0:
		return schemas.Explain("", "is-pipe", "it is a pipe, which has no content to save")
	case mode&os.ModeSocket != 0:
		return schemas.Explain("", "is-socket", "it is a socket, which has no content to save")
	}
	return schemas.Explain("", "is-special", "it is neither a file nor a folder, and has no content to save")
}

// maxLinks is how many symbolic links that lead nowhere may follow each other.
const maxLinks = 40

// resolve resolves the symbolic links in a path. With an error, it returns what the path stands for
// when what is missing is there, as for a disk that is not mounted: so the record's source stays
// the same.
func resolve(path string, links int) (string, error) {
	abs, err := filepath.EvalSymlinks(path)
	dir, name := filepath.Split(path)
	if err == nil || links == 0 || name == "" {
		return cmp.Or(abs, path), err
	}
	dir, _ = resolve(filepath.Clean(dir), links)
	path = filepath.Join(dir, name)
	if to, linkErr := os.Readlink(path); linkErr == nil {
		if !filepath.IsAbs(to) {
			to = filepath.Join(dir, to)
		}
		path, _ = resolve(to, links-1)
	}
	return path, err
}
