package archive

import (
	"context"
	"errors"
	"fmt"
	"time"

	"servidor-backup/client/internal/osfs"
	"servidor-backup/client/internal/scan"
	"servidor-backup/client/internal/tree"
)

// walk puts every path into the queue, in order, and passes to the readers what has to be
// read.
func (s *saver) walk(ctx context.Context) error {
	defer close(s.toRead)
	defer close(s.queue)
	if s.Roots == nil {
		err := s.reuseOrRead(ctx, scan.Item{Path: s.Name, Nlink: 1, Entry: &tree.Entry{
			Path: s.Name, Type: tree.TypeFile, Mode: 0o600, Mtime: time.Now().UnixNano(),
		}})
		return errors.Join(err, s.endBundle(ctx))
	}
	err := scan.Walk(ctx, s.Roots, s.Exclude, func(it scan.Item) error { return s.reuseOrRead(ctx, it) })
	return errors.Join(err, s.endBundle(ctx))
}

// reuseOrRead decides what to do with a path: reuse what the parent has, or read it.
func (s *saver) reuseOrRead(ctx context.Context, it scan.Item) error {
	if it.Err != nil {
		s.reportUnreadable(it.Path, it.Err)
	}
	if it.Entry == nil {
		return nil
	}
	e := it.Entry
	before, at := s.findInParent(ctx, e.Path)
	file, further := s.shared.find(&it)
	unchanged := !further && !s.Reread && isUnchanged(e, before) && e.ReuseMetadata(before, s.recheck)
	if unchanged && osfs.MayRepeat(e.Ctime, osfs.Ordinary, s.now) {
		e.Ctime = 0 // the clock was set back since the parent: a change may get this time again
	}
	if !further && !unchanged && e.Type != tree.TypeFile && !s.readRest(&it) {
		return nil
	}
	p := &pendingEntry{Item: it, file: file, further: further}
	switch {
	case further:
		p.before, p.at = before, at
	case e.Type == tree.TypeFile && unchanged && !s.recheck:
		s.reuseContent(e, before)
	case e.Type == tree.TypeFile || tree.XattrSize(e.Xattrs) > tree.MaxInlineXattrs:
		if unchanged {
			p.recheck = before
		}
		if err := s.readLater(ctx, p); err != nil {
			return err
		}
	}
	if !further && !s.recheck && p.ready == nil && e.Equal(before) {
		p.reused = at
	}
	s.bundler.countEntry()
	if s.bundler.endsBefore(0) {
		if err := s.endBundle(ctx); err != nil {
			return err
		}
	}
	if !push(ctx, s.queue, p) {
		return ctx.Err()
	}
	return nil
}

// findInParent returns the parent's entry at path, or nil, and its position. If the parent
// cannot be read, there is a warning, and the backup goes on as if there were no parent.
func (s *saver) findInParent(ctx context.Context, path string) (*tree.Entry, tree.LeafPosition) {
	before, at, err := s.parentTree.Find(ctx, path)
	if err != nil {
		s.Warn(path, fmt.Errorf("the previous version %s cannot be read, so files are read again: %w", s.Parent.ID, err))
		s.parentTree = nil
	}
	return before, at
}

// readRest reads what lstat does not tell of an entry that is no file. It reports false if there
// is nothing to save.
func (s *saver) readRest(it *scan.Item) bool {
	err := it.ReadRest()
	switch {
	case it.Entry == nil:
		s.reportUnreadable(it.Path, err)
	case err != nil:
		it.Err = err
		s.reportIncomplete(it.Path, err)
	}
	return it.Entry != nil
}

// readLater has a reader read an entry, alone or in a bundle with its neighbours.
func (s *saver) readLater(ctx context.Context, p *pendingEntry) error {
	p.ready = make(chan struct{})
	if !s.bundler.accepts(p) {
		if !push(ctx, s.toRead, readGroup{p}) {
			return ctx.Err()
		}
		return nil
	}
	if s.bundler.endsBefore(p.Entry.Size) {
		if err := s.endBundle(ctx); err != nil {
			return err
		}
	}
	if s.bundler.add(s.Keys, p) {
		return s.endBundle(ctx)
	}
	return nil
}

// endBundle passes the bundle that was gathered to the readers, unless it is empty.
func (s *saver) endBundle(ctx context.Context) error {
	if b := s.bundler.takeBundle(); len(b) > 0 && !push(ctx, s.toRead, b) {
		return ctx.Err()
	}
	return nil
}
