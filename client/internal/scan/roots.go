package scan

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"servidor-backup/client/internal/osfs"
)

// Root is a file or folder that a person asked to save.
type Root struct {
	Abs  string // where it is; symbolic links are resolved
	Path string // the path of its entry: "." for a folder saved alone, else its name

	isDir bool
	named string // as Abs, before links are resolved
}

// NewRoots returns the roots for paths that a person gave, sorted by the paths of their
// entries. The content of a lone folder is saved without the folder's name, because the
// record has its own name. A lone file, and each of several paths, appears under its base
// name. A path that is itself a symbolic link stands for what the link points to.
func NewRoots(paths []string) ([]Root, error) {
	if len(paths) == 0 {
		return nil, errors.New("no path to save was given")
	}
	roots := make([]Root, 0, len(paths))
	for _, path := range paths {
		r, err := newRoot(path, len(paths) == 1)
		if err != nil {
			return nil, err
		}
		roots = append(roots, r)
	}
	slices.SortFunc(roots, func(a, b Root) int { return cmp.Compare(a.Path, b.Path) })
	for i := 1; i < len(roots); i++ {
		if a, b := roots[i-1], roots[i]; a.Path == b.Path {
			return nil, fmt.Errorf("%s and %s would both be saved as %q: save them as two records, or save a folder that holds both", a.Abs, b.Abs, a.Path)
		}
	}
	return roots, nil
}

func newRoot(path string, alone bool) (Root, error) {
	named, err := filepath.Abs(path)
	if err != nil {
		return Root{}, fmt.Errorf("save %s: %w", path, err)
	}
	abs, err := filepath.EvalSymlinks(named)
	if err != nil {
		return Root{}, fmt.Errorf("save %s: %w", path, osfs.WithoutPath(err))
	}
	info, err := os.Lstat(abs)
	if err != nil {
		return Root{}, fmt.Errorf("save %s: %w", path, osfs.WithoutPath(err))
	}
	base := filepath.Base(named)
	switch {
	case alone && info.IsDir():
		base = "."
	case base == string(filepath.Separator):
		return Root{}, fmt.Errorf("%s has no name under which it could be saved beside other paths: save it alone", path)
	}
	return Root{Abs: abs, Path: base, isDir: info.IsDir(), named: named}, nil
}
