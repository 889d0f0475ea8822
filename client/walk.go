package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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
// Entry and Err: without Err the entry is whole, except for HardLink and
// Content, which are the visitor's to set. With both, the entry can be saved,
// but Err says what of it is missing (extended attributes). With Err alone
// nothing is known of the path, or the folder at Path, which was visited
// before, could not be listed to the end.
type walkItem struct {
	Path  string // as in the entry
	Entry *Entry
	Err   error
	Nlink uint64 // how many names the file has, this one included

	dir  *folder // holds name; nil if there is nothing to open
	name string
	info os.FileInfo
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
// An item may be kept, handed to other goroutines and opened even after the
// walk has ended. The walk keeps the names of one folder per level in memory,
// and not more than maxOpenFolders of them open.
func walk(ctx context.Context, roots []root, exclude *matcher, visit func(walkItem) error) (walkCount, error) {
	w := walker{ctx: ctx, exclude: exclude, visit: visit, names: newOwnerNames(), set: newFolders()}
	defer w.set.close()
	for _, r := range roots {
		if err := w.root(r); err != nil {
			return w.count, err
		}
	}
	return w.count, nil
}

type walker struct {
	ctx     context.Context
	exclude *matcher
	visit   func(walkItem) error
	names   *ownerNames
	set     *folders
	count   walkCount
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
	return w.step(dir, name, r.Path, "")
}

// step visits one name and what is below it. rel is its path relative to the
// root, for patterns; "" for the root itself.
func (w *walker) step(dir *folder, name, path, rel string) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	it := walkItem{Path: path, dir: dir, name: name}
	if it.info, it.Err = dir.lstat(name); it.Err != nil {
		return w.visit(walkItem{Path: path, Err: it.Err})
	}
	if rel != "" && (w.exclude.match(rel, it.info.IsDir()) || w.exclude.is(it.info)) {
		w.count.Excluded++
		return nil
	}
	it.Entry, it.Nlink = newEntry(path, it.info, w.names)
	if it.Entry.Type == 0 || it.Entry.Type == TypeSocket {
		w.count.Special++
		return nil
	}
	if it.Err = it.complete(); it.Err != nil && it.Entry.Type == TypeSymlink && it.Entry.Target == "" {
		it.Entry = nil // a link without a target cannot be restored
	}
	if err := w.visit(it); err != nil {
		return err
	}
	if it.Entry == nil || it.Entry.Type != TypeDir {
		return nil
	}
	if name != "." {
		dir = dir.child(name, it.info)
	}
	return w.below(dir, path, rel)
}

// below visits what is in a folder.
func (w *walker) below(dir *folder, path, rel string) error {
	names, err := dir.names()
	if err != nil {
		if err := w.visit(walkItem{Path: path, Err: fmt.Errorf("list the folder: %w", err)}); err != nil {
			return err
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if err := w.step(dir, name, joinPath(path, name), joinPath(rel, name)); err != nil {
			return err
		}
	}
	return nil
}

// joinPath is the path of a name in the folder at path.
func joinPath(path, name string) string {
	if path == "." || path == "" {
		return name
	}
	return path + "/" + name
}

// complete reads what looking at the file did not tell: a link's target and
// extended attributes.
func (it *walkItem) complete() error {
	if err := it.dir.acquire(); err != nil {
		return err
	}
	defer it.dir.release()
	if it.Entry.Type == TypeSymlink {
		target, err := it.dir.root.Readlink(it.name)
		if err != nil {
			return fmt.Errorf("read the link: %w", bare(err))
		}
		it.Entry.Target = target
	}
	var err error
	it.Entry.Xattrs, err = readXattrs(it.dir.path(it.name))
	return err
}

// open opens a regular file for reading. The entry's mode, owner, size and times
// are set anew from what was opened; the info is for a later [changed]. An error
// that is errReplaced means that the name now stands for another file.
func (it walkItem) open() (*os.File, os.FileInfo, error) {
	if it.Entry == nil || it.Entry.Type != TypeFile {
		return nil, nil, fmt.Errorf("open %q: not a regular file", it.Path)
	}
	f, err := it.openQuietly()
	if err != nil {
		return nil, nil, fmt.Errorf("open %q: %w", it.Path, err)
	}
	info, err := f.Stat()
	if err == nil && !os.SameFile(it.info, info) {
		err = fmt.Errorf("the file %w", errReplaced)
	}
	if err != nil {
		f.Close()
		return nil, nil, fmt.Errorf("open %q: %w", it.Path, bare(err))
	}
	it.Entry.setStat(info)
	return f, info, nil
}

// openQuietly opens the file without touching its access time, where that is
// allowed.
func (it walkItem) openQuietly() (*os.File, error) {
	if err := it.dir.acquire(); err != nil {
		return nil, err
	}
	defer it.dir.release()
	f, err := it.dir.root.OpenFile(it.name, openFlags|noAtime, 0)
	if noAtime != 0 && errors.Is(err, fs.ErrPermission) {
		f, err = it.dir.root.OpenFile(it.name, openFlags, 0)
	}
	return f, bare(err)
}
