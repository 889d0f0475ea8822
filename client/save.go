package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"servidor-backup/schemas"
)

const (
	// ahead is how many entries may wait for the one that is being read, so
	// that a large file does not hold up the small ones behind it.
	ahead = 2048
	// attempts is how often a file that changes while it is read is begun again.
	attempts = 2
	// trust is how old a change must be, when a file is opened, for its times
	// to show any later change: clocks of file systems tick some milliseconds
	// apart.
	trust = 20 * time.Millisecond
)

// saver makes a version's tree: it merges the walk with the parent's tree, has
// files read by a few readers, and adds entries to the tree in order.
type saver struct {
	up     *uploader
	p      *plan
	parent *parentTree // nil for a first version
	// recheck says that the parent's chunks may be lost: the nodes are asked
	// before an unchanged file's are used again.
	recheck bool

	queue  chan *saving // in the tree's order
	toRead chan bundle
	next   bundler                         // what the walk gathers for toRead
	zeros  func() (schemas.ChunkID, error) // sendZeros, once
	links  map[inode]string                // first names of files with several, met by the walk
	lost   map[string]struct{}             // those of them that could not be saved

	files, bytes, unchanged, read, unreadable atomic.Int64
}

// saving is an entry on its way into the tree.
type saving struct {
	walkItem
	kept  leafPlace     // where the parent has the very same entry, if it has
	same  *Entry        // the parent's entry, when the file has not changed but its chunks are in doubt
	ready chan struct{} // closed when the entry is whole, or was given up; nil if it was from the start
	drop  bool          // it was given up
}

type inode struct{ dev, ino uint64 }

func newSaver(up *uploader, p *plan) *saver {
	s := &saver{
		up: up, p: p,
		queue: make(chan *saving, ahead), toRead: make(chan bundle, ahead),
		links: map[inode]string{}, lost: map[string]struct{}{},
	}
	s.zeros = sync.OnceValues(s.sendZeros)
	return s
}

// run saves everything. The walk, the readers and the making of the tree go on
// side by side; the first failure ends them all.
func (s *saver) run(ctx context.Context) (*saved, error) {
	ctx, fail := context.WithCancelCause(ctx)
	defer s.parent.close()
	defer fail(nil)
	var work sync.WaitGroup
	side := func(f func(context.Context) error) {
		work.Go(func() {
			if err := f(ctx); err != nil {
				fail(err)
			}
		})
	}
	if s.p.Progress.Count {
		work.Go(func() { s.count(ctx) })
	}
	side(s.walk)
	for range readers() {
		side(s.readAll)
	}
	root, err := s.makeTree(ctx)
	if err != nil {
		fail(err)
	}
	work.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return nil, cause
	}
	return &saved{
		root: root, files: s.files.Load(), bytes: s.bytes.Load(), unchanged: s.unchanged.Load(),
		read: s.read.Load(), unreadable: s.unreadable.Load(),
	}, nil
}

// walk meets every path in order.
func (s *saver) walk(ctx context.Context) error {
	defer close(s.toRead)
	defer close(s.queue)
	if s.p.roots == nil {
		err := s.meet(ctx, walkItem{Path: s.p.Name, Nlink: 1, Entry: &Entry{
			Path: s.p.Name, Type: TypeFile, Mode: 0o600, Mtime: time.Now().UnixNano(),
		}})
		return errors.Join(err, s.readNext(ctx))
	}
	_, err := walk(ctx, s.p.roots, s.p.exclude, func(it walkItem) error { return s.meet(ctx, it) })
	return errors.Join(err, s.readNext(ctx))
}

// readNext has the bundle read that was gathered.
func (s *saver) readNext(ctx context.Context) error {
	if b := s.next.cut(); len(b) > 0 && !push(ctx, s.toRead, b) {
		return ctx.Err()
	}
	return nil
}

// readLater has a file read, alone or with its neighbours.
func (s *saver) readLater(ctx context.Context, sv *saving) error {
	sv.ready = make(chan struct{})
	if !s.next.takes(sv) {
		if !push(ctx, s.toRead, bundle{sv}) {
			return ctx.Err()
		}
		return nil
	}
	if s.next.endsBefore(sv.Entry.Size) {
		if err := s.readNext(ctx); err != nil {
			return err
		}
	}
	if s.next.add(s.up.k, sv) {
		return s.readNext(ctx)
	}
	return nil
}

// meet decides what to do with a path.
func (s *saver) meet(ctx context.Context, it walkItem) error {
	if it.Err != nil {
		s.giveUp(it.Path, it.Err)
	}
	if it.Entry == nil {
		return nil
	}
	e := it.Entry
	before, at, err := s.parent.find(ctx, e.Path)
	if err != nil {
		s.p.Warn(e.Path, fmt.Errorf("the previous version %s cannot be read, files are read again: %w", s.parent.id, err))
		s.parent = nil
	}
	unchanged := e.unchangedSince(before)
	if unchanged {
		unchanged = e.takeOver(before, s.recheck)
	}
	if !unchanged && e.Type != TypeFile && s.p.roots != nil {
		if err := it.complete(); err != nil {
			s.giveUp(it.Path, err)
		}
		if it.Entry == nil {
			return nil
		}
	}
	sv := &saving{walkItem: it}
	switch {
	case s.isLink(it):
	case e.Type == TypeFile && unchanged && !s.recheck:
		s.reuse(e, before)
	case e.Type == TypeFile || xattrSize(e.Xattrs) > maxInlineXattrs:
		if unchanged {
			sv.same = before
		}
		if err := s.readLater(ctx, sv); err != nil {
			return err
		}
	}
	if !s.recheck && sv.ready == nil && e.equal(before) {
		sv.kept = at
	}
	s.next.pass()
	if s.next.endsBefore(0) {
		if err := s.readNext(ctx); err != nil {
			return err
		}
	}
	if !push(ctx, s.queue, sv) {
		return ctx.Err()
	}
	return nil
}

func push[T any](ctx context.Context, c chan<- T, v T) bool {
	select {
	case c <- v:
		return true
	case <-ctx.Done():
		return false
	}
}

// isLink makes a further name of a file a hard link to the first. The map grows
// only with files that have several names.
func (s *saver) isLink(it walkItem) bool {
	if it.Nlink < 2 || it.Entry.Type == TypeDir {
		return false
	}
	file := inode{it.Entry.Dev, it.Entry.Ino}
	first, known := s.links[file]
	if !known {
		s.links[file] = it.Entry.Path
		return false
	}
	it.Entry.HardLink = first
	it.Entry.Xattrs, it.Entry.XattrContent = nil, Content{} // they belong to the file, which has them already
	return true
}

// unchangedSince reports whether before is the same file in the parent version,
// and nothing of it was changed since: whatever changes sets the change time.
func (e *Entry) unchangedSince(before *Entry) bool {
	return before != nil && before.Type == e.Type && before.HardLink == "" &&
		before.Size == e.Size && before.Mtime == e.Mtime && before.Ino == e.Ino &&
		before.Ctime == e.Ctime && e.Ctime != 0
}

// reuse takes the content of an unchanged file from the parent's entry.
func (s *saver) reuse(e, before *Entry) {
	e.Content = before.Content
	s.unchanged.Add(1)
	s.p.Progress.Bytes.Add(e.Size)
}

// giveUp notes a path that is not saved, or not saved whole.
func (s *saver) giveUp(path string, err error) {
	s.unreadable.Add(1)
	s.p.Warn(path, err)
}

// makeTree adds the entries in order and returns the root.
func (s *saver) makeTree(ctx context.Context) (root schemas.ChunkID, err error) {
	w := newTreeWriter(s.up.k, s.up.tree)
	for sv := range s.queue {
		if sv.ready != nil {
			select {
			case <-sv.ready:
			case <-ctx.Done():
				return root, context.Cause(ctx)
			}
		}
		if err := s.enter(w, sv); err != nil {
			return root, err
		}
	}
	if ctx.Err() != nil {
		return root, context.Cause(ctx)
	}
	return w.finish()
}

// enter adds one entry, unless it was given up.
func (s *saver) enter(w *treeWriter, sv *saving) error {
	e := sv.Entry
	if _, gone := s.lost[e.HardLink]; gone && e.HardLink != "" {
		s.giveUp(e.Path, fmt.Errorf("it is another name of %q, which could not be read", e.HardLink))
		return nil
	}
	if sv.drop {
		s.lose(sv)
		return nil
	}
	err := w.keep(e, sv.kept)
	if errors.Is(err, errBadEntry) {
		s.giveUp(e.Path, err)
		s.lose(sv)
		return nil
	}
	if err != nil {
		return err
	}
	if e.Type != TypeDir {
		s.files.Add(1)
		s.p.Progress.Files.Add(1)
	}
	if e.HardLink == "" {
		s.bytes.Add(e.Size)
	}
	return nil
}

// lose remembers a file that is left out and has further names.
func (s *saver) lose(sv *saving) {
	if sv.Nlink > 1 {
		s.lost[sv.Path] = struct{}{}
	}
}

// count walks everything once more, only to know how much there is.
func (s *saver) count(ctx context.Context) {
	pr := s.p.Progress
	_, err := walk(ctx, s.p.roots, s.p.exclude, func(it walkItem) error {
		if it.Entry != nil && it.Entry.Type != TypeDir {
			pr.TotalFiles.Add(1)
			pr.TotalBytes.Add(it.Entry.Size)
		}
		return nil
	})
	pr.Counted.Store(err == nil && s.p.roots != nil)
}
