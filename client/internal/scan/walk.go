package scan

import (
	"context"
	"path/filepath"
	"runtime"

	"servidor-backup/client/internal/osfs"
	"servidor-backup/client/internal/tree"
	"servidor-backup/schemas"
)

// Walk visits the roots and everything below them in the order of [tree.ComparePath]: depth
// first, names sorted bytewise, a folder before what is in it. Symbolic links are entries
// and are not followed. Left out are sockets, what is mounted below a root and shows the kernel's
// state, such as /proc, and what exclude matches.
//
// What cannot be read is visited as an item with an error, and the walk goes on. The walk
// ends early with the error of visit or of ctx.
//
// Folders are read ahead while visit works. The walk keeps in memory the names of one folder
// per level and some thousands of items, and keeps a bounded number of folders open.
func Walk(ctx context.Context, roots []Root, exclude *Matcher, visit func(Item) error) error {
	w := newWalker(ctx, exclude, visit)
	defer w.dirs.Close()
	defer w.queue.startHelpers(min(max(2, runtime.GOMAXPROCS(0)), 8))()
	for _, r := range roots {
		if err := w.walkRoot(r); err != nil {
			return err
		}
	}
	return nil
}

type walker struct {
	ctx   context.Context
	visit func(Item) error
	dirs  *osfs.Dirs
	queue *queue
}

func newWalker(ctx context.Context, exclude *Matcher, visit func(Item) error) *walker {
	return &walker{ctx: ctx, visit: visit, dirs: osfs.NewWalkDirs(), queue: newQueue(ctx, exclude)}
}

// walkRoot walks one root. A person named it, so hardly anything leaves it out.
func (w *walker) walkRoot(r Root) error {
	if r.err != nil {
		return w.visit(Item{Path: r.Path, Err: r.err})
	}
	if w.queue.exclude.dropsRoot(&r) {
		return nil
	}
	// A folder is opened by itself: its parent need not be readable.
	top, name := r.Abs, "."
	if !r.isDir {
		top, name = filepath.Split(r.Abs)
	}
	dir, err := w.dirs.Top(top)
	if err != nil {
		return w.visit(Item{Path: r.Path, Err: osfs.WithoutPath(err)})
	}
	l := &listing{dir: dir, names: []string{name}, listed: true, rootPath: r.Path, scope: w.queue.exclude.newScope(&r)}
	w.queue.append(l)
	return w.walkListing(l)
}

// walkListing visits what a listing and those of the same folder's remaining names find, and
// everything below.
func (w *walker) walkListing(l *listing) error {
	for ; l != nil; l = l.rest {
		w.queue.await(l)
		if l.err != nil {
			if err := w.visit(Item{Path: l.path, Err: schemas.Explain("", "folder-not-listed", "list the folder").Because(l.err)}); err != nil {
				return err
			}
		}
		items, folders := l.items, l.subdirs
		l.items, l.subdirs = nil, nil // what was visited is not kept
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
				if err := w.walkListing(next); err != nil {
					return err
				}
			}
		}
	}
	return w.ctx.Err()
}
