package scan

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"servidor-backup/client/internal/osfs"
	"servidor-backup/client/internal/tree"
	"slices"
)

// Root is a file or folder that a person asked to save.
type Root struct {
	Abs  string // where it is; symbolic links are resolved
	Path string // its entry's path: "." for a folder saved alone, else its name

	isDir bool
}

// NewRoots finds the roots for the paths of a command line. A lone folder's
// content is saved without the folder's name, as the record has a name of its
// own; a lone file, and each of several paths, appears under its base name. A
// path that is itself a symbolic link stands for what it points to.
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
		return Root{}, fmt.Errorf("save %s: %w", path, osfs.Bare(err))
	}
	info, err := os.Lstat(abs)
	if err != nil {
		return Root{}, fmt.Errorf("save %s: %w", path, osfs.Bare(err))
	}
	base := filepath.Base(named)
	switch {
	case alone && info.IsDir():
		base = "."
	case base == string(filepath.Separator):
		return Root{}, fmt.Errorf("%s has no name under which it could be saved beside other paths: save it alone", path)
	}
	return Root{Abs: abs, Path: base, isDir: info.IsDir()}, nil
}

// Item is one step of a walk.
//
// Entry and Err: without Err the entry is what looking at the path told:
// [Item.complete] or, for a file, [Item.open] adds what takes more than
// that, and HardLink and Content are the visitor's to set. With Err nothing is
// known of the path, or the folder at Path, which was visited before, could not
// be listed to the end.
type Item struct {
	Path  string // as in the entry
	Entry *tree.Entry
	Err   error
	Nlink uint64 // how many names the file has, this one included

	dir  *osfs.Dir // holds name; nil if there is nothing to open
	name string
	is   osfs.Identity
}

// walkCount is what a walk left out.
type walkCount struct {
	Excluded int64 // matched a pattern; a folder with all in it counts as one
	Special  int64 // sockets and other things that cannot be saved
}

// Walk visits the roots and everything below them in the order of
// [ComparePath]: depth first, names sorted bytewise, a folder before what is in
// it. Symbolic links are entries, they are not followed.
//
// What cannot be read is visited as an item with an error, and the walk goes
// on. The walk ends early with the error of visit or of ctx.
//
// The folders that come next are looked at while visit is at work. An item may
// be kept, handed to other goroutines and opened even after the walk has ended.
// The walk keeps the names of one folder per level and some thousands of items
// in memory, and a bounded number of folders open.
func Walk(ctx context.Context, roots []Root, exclude *Matcher, visit func(Item) error) (walkCount, error) {
	w := newWalker(ctx, exclude, visit)
	defer w.set.Close()
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
	visit    func(Item) error
	set      *osfs.Dirs
	listings *listings
	count    walkCount
}

func newWalker(ctx context.Context, exclude *Matcher, visit func(Item) error) *walker {
	return &walker{ctx: ctx, visit: visit, set: osfs.NewWalkFolders(), listings: newListings(ctx, exclude)}
}

// root walks one root. It was named on purpose, so no pattern excludes it.
func (w *walker) root(r Root) error {
	// A folder is opened by itself: the one above it need not be readable.
	top, name := r.Abs, "."
	if !r.isDir {
		top, name = filepath.Split(r.Abs)
	}
	dir, err := w.set.Top(top)
	if err != nil {
		return w.visit(Item{Path: r.Path, Err: osfs.Bare(err)})
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
			if err := w.visit(Item{Path: s.path, Err: fmt.Errorf("list the folder: %w", s.err)}); err != nil {
				return err
			}
		}
		items, folders := s.items, s.below
		s.items, s.below = nil, nil // nothing that was visited is kept
		for i, it := range items {
			if err := w.ctx.Err(); err != nil {
				return err
			}
			items[i] = Item{}
			isFolder := it.Entry != nil && it.Entry.Type == tree.TypeDir
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
