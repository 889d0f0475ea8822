package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
)

// root is a file or folder that a person asked to save.
type root struct {
	Abs  string // where it is; symbolic links are resolved
	Path string // its entry's path: "." for a folder saved alone, else its name

	isDir bool
}

// newRoots finds the roots for the paths of a command line. A lone folder's
// content is saved without the folder's name, as the record has a name of its
// own; a lone file, and each of several paths, appears under its base name. A
// path that is itself a symbolic link stands for what it points to.
func newRoots(paths []string) ([]root, error) {
	if len(paths) == 0 {
		return nil, errors.New("no path to save was given")
	}
	roots := make([]root, 0, len(paths))
	for _, path := range paths {
		r, err := newRoot(path, len(paths) == 1)
		if err != nil {
			return nil, err
		}
		roots = append(roots, r)
	}
	slices.SortFunc(roots, func(a, b root) int { return cmp.Compare(a.Path, b.Path) })
	for i := 1; i < len(roots); i++ {
		if a, b := roots[i-1], roots[i]; a.Path == b.Path {
			return nil, fmt.Errorf("%s and %s would both be saved as %q: save them as two records, or save a folder that holds both", a.Abs, b.Abs, a.Path)
		}
	}
	return roots, nil
}

func newRoot(path string, alone bool) (root, error) {
	named, err := filepath.Abs(path)
	if err != nil {
		return root{}, fmt.Errorf("save %s: %w", path, err)
	}
	abs, err := filepath.EvalSymlinks(named)
	if err != nil {
		return root{}, fmt.Errorf("save %s: %w", path, bare(err))
	}
	info, err := os.Lstat(abs)
	if err != nil {
		return root{}, fmt.Errorf("save %s: %w", path, bare(err))
	}
	base := filepath.Base(named)
	switch {
	case alone && info.IsDir():
		base = "."
	case base == string(filepath.Separator):
		return root{}, fmt.Errorf("%s has no name under which it could be saved beside other paths: save it alone", path)
	}
	return root{Abs: abs, Path: base, isDir: info.IsDir()}, nil
}

// walkItem is one step of a walk.
//
// Entry and Err: without Err the entry is what looking at the path told:
// [walkItem.complete] or, for a file, [walkItem.open] adds what takes more than
// that, and HardLink and Content are the visitor's to set. With Err nothing is
// known of the path, or the folder at Path, which was visited before, could not
// be listed to the end.
type walkItem struct {
	Path  string // as in the entry
	Entry *Entry
	Err   error
	Nlink uint64 // how many names the file has, this one included

	dir  *folder // holds name; nil if there is nothing to open
	name string
	is   identity
}

// walkCount is what a walk left out.
type walkCount struct {
	Excluded int64 // matched a pattern; a folder with all in it counts as one
	Special  int64 // sockets and other things that cannot be saved
}

// walk visits the roots and everything below them in the order of
// [comparePath]: depth first, names sorted bytewise, a folder before what is in
// it. Symbolic links are entries, they are not followed.
//
// What cannot be read is visited as an item with an error, and the walk goes
// on. The walk ends early with the error of visit or of ctx.
//
// The folders that come next are looked at while visit is at work. An item may
// be kept, handed to other goroutines and opened even after the walk has ended.
// The walk keeps the names of one folder per level and some thousands of items
// in memory, and a bounded number of folders open.
func walk(ctx context.Context, roots []root, exclude *matcher, visit func(walkItem) error) (walkCount, error) {
	w := newWalker(ctx, exclude, visit)
	defer w.set.close()
	defer w.listings.startHelpers(min(max(2, runtime.GOMAXPROCS(0)), 8))()
	for _, r := range roots {
		if err := w.root(r); err != nil {
			return w.count, err
		}
	}
	return w.count, nil
}

type walker struct {
	ctx      context.Context
	visit    func(walkItem) error
	set      *folders
	listings *listings
	count    walkCount
}

func newWalker(ctx context.Context, exclude *matcher, visit func(walkItem) error) *walker {
	return &walker{ctx: ctx, visit: visit, set: newWalkFolders(), listings: newListings(ctx, exclude)}
}

// root walks one root. It was named on purpose, so no pattern excludes it.
func (w *walker) root(r root) error {
	// A folder is opened by itself: the one above it need not be readable.
	top, name := r.Abs, "."
	if !r.isDir {
		top, name = filepath.Split(r.Abs)
	}
	dir, err := w.set.top(top)
	if err != nil {
		return w.visit(walkItem{Path: r.Path, Err: bare(err)})
	}
	s := &listing{dir: dir, names: []string{name}, listed: true, only: r.Path, begin: len(r.Path) + 1}
	if r.Path == "." {
		s.begin = 0
	}
	w.listings.add(s)
	return w.below(s)
}

// below visits what a listing finds, and everything below that.
func (w *walker) below(s *listing) error {
	for ; s != nil; s = s.rest {
		w.listings.await(s)
		w.count.Excluded += s.count.Excluded
		w.count.Special += s.count.Special
		if s.err != nil {
			if err := w.visit(walkItem{Path: s.path, Err: fmt.Errorf("list the folder: %w", s.err)}); err != nil {
				return err
			}
		}
		items, folders := s.items, s.below
		s.items, s.below = nil, nil // nothing that was visited is kept
		for i, it := range items {
			if err := w.ctx.Err(); err != nil {
				return err
			}
			items[i] = walkItem{}
			isFolder := it.Entry != nil && it.Entry.Type == TypeDir
			if err := w.visit(it); err != nil {
				return err
			}
			if isFolder {
				next := folders[0]
				folders[0], folders = nil, folders[1:]
				if err := w.below(next); err != nil {
					return err
				}
			}
		}
	}
	return w.ctx.Err()
}
