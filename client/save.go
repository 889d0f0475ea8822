package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
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
	// smallHole is the length below which a hole is read as zeros: a chunk never
	// spans a hole, and many small chunks cost more than zeros, which compress.
	smallHole = minChunk
)

// saver makes a version's tree: it merges the walk with the parent's tree, has
// files read by a few readers, and adds entries to the tree in order.
type saver struct {
	up     *uploader
	p      *plan
	parent *parentTree // nil for a first version

	queue  chan *saving // in the tree's order
	toRead chan *saving
	links  map[inode]string    // first names of files with several, met by the walk
	lost   map[string]struct{} // those of them that could not be saved

	files, bytes, unchanged, read, unreadable atomic.Int64
}

// saving is an entry on its way into the tree.
type saving struct {
	walkItem
	ready chan struct{} // closed when the entry is whole, or was given up; nil if it was from the start
	drop  bool          // it was given up
}

type inode struct{ dev, ino uint64 }

func newSaver(up *uploader, p *plan) *saver {
	return &saver{
		up: up, p: p,
		queue: make(chan *saving, ahead), toRead: make(chan *saving, ahead),
		links: map[inode]string{}, lost: map[string]struct{}{},
	}
}

// run saves everything. The walk, the readers and the making of the tree go on
// side by side; the first failure ends them all.
func (s *saver) run(ctx context.Context) (*saved, error) {
	ctx, fail := context.WithCancelCause(ctx)
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
	for range max(2, min(runtime.GOMAXPROCS(0), 8)) {
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
		return s.meet(ctx, walkItem{Path: s.p.Name, Nlink: 1, Entry: &Entry{
			Path: s.p.Name, Type: TypeFile, Mode: 0o600, Mtime: time.Now().UnixNano(),
		}})
	}
	_, err := walk(ctx, s.p.roots, s.p.exclude, func(it walkItem) error { return s.meet(ctx, it) })
	return err
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
	before, err := s.parent.find(ctx, e.Path)
	if err != nil {
		s.p.Warn(e.Path, fmt.Errorf("the previous version %s cannot be read, files are read again: %w", s.parent.id, err))
		s.parent = nil
	}
	sv := &saving{walkItem: it}
	switch {
	case s.isLink(it):
	case e.Type == TypeFile && e.unchangedSince(before):
		e.Content = before.Content
		s.unchanged.Add(1)
		s.p.Progress.Bytes.Add(e.Size)
	case e.Type == TypeFile || xattrSize(e.Xattrs) > maxInlineXattrs:
		sv.ready = make(chan struct{})
		if !push(ctx, s.toRead, sv) {
			return ctx.Err()
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
	return true
}

// unchangedSince reports whether before is the same file in the parent version,
// and nothing was written to it since.
func (e *Entry) unchangedSince(before *Entry) bool {
	return before != nil && before.Type == e.Type && before.HardLink == "" &&
		before.Size == e.Size && before.Mtime == e.Mtime && before.Ino == e.Ino &&
		before.Ctime == e.Ctime && e.Ctime != 0 && xattrSize(e.Xattrs) <= maxInlineXattrs
}

// giveUp notes a path that is not saved, or not saved whole.
func (s *saver) giveUp(path string, err error) {
	s.unreadable.Add(1)
	s.p.Warn(path, err)
}

// readAll is one reader.
func (s *saver) readAll(ctx context.Context) error {
	cutter := newChunker(nil, s.up.k.gear, nil)
	for sv := range s.toRead {
		if ctx.Err() != nil {
			return nil // whoever ended it says why
		}
		err := s.readOne(ctx, sv, cutter)
		close(sv.ready)
		if err != nil {
			return err
		}
	}
	return nil
}

// readOne makes the entry whole. Only a failure that ends the backup is an error.
func (s *saver) readOne(ctx context.Context, sv *saving, cutter *chunker) error {
	e := sv.Entry
	if xattrSize(e.Xattrs) > maxInlineXattrs {
		if err := s.moveXattrs(e); err != nil {
			return err
		}
	}
	if e.Type != TypeFile {
		return nil
	}
	if s.p.roots == nil {
		return s.readStdin(ctx, e, cutter)
	}
	for attempt := 1; ; attempt++ {
		again, err := s.readFile(sv, cutter, attempt == attempts)
		var unreadable *readError
		if errors.As(err, &unreadable) {
			sv.drop = true
			s.giveUp(e.Path, unreadable.err)
			return nil
		}
		if err != nil || !again {
			return err
		}
	}
}

// readError is a failure to read a file that is being saved; the backup goes on
// without the file.
type readError struct{ err error }

func (e *readError) Error() string { return e.err.Error() }

// readFile reads the file once. again means that it changed meanwhile; the last
// attempt keeps what it got.
func (s *saver) readFile(sv *saving, cutter *chunker, last bool) (again bool, err error) {
	e := sv.Entry
	f, before, err := sv.open()
	if err != nil {
		return false, &readError{err}
	}
	defer f.Close()
	fresh := time.Since(time.Unix(0, e.Ctime)) < trust
	if e.Content, err = s.content(f, e.Size, cutter); err != nil {
		return false, err
	}
	after, err := f.Stat()
	if err != nil {
		return false, &readError{err}
	}
	if changed(before, after) {
		if !last {
			return true, nil
		}
		s.giveUp(e.Path, errors.New("the file changed while it was read; what was read of it is saved"))
		// A file that shrank must not gain zeros; what was cut off is gone.
		e.Size = max(e.Content.end(), min(e.Size, after.Size()))
		fresh = true
	}
	if fresh {
		e.Ctime = 0 // so that the next backup reads it again
	}
	return false, nil
}

// end is where the last inline piece ends; 0 for a file tree, whose file was
// large enough to keep its size.
func (c *Content) end() int64 {
	if n := len(c.Pieces); n > 0 {
		return c.Pieces[n-1].Off + c.Pieces[n-1].Len
	}
	return 0
}

// content sends the first size bytes of f, but for holes. A failure of f is a
// *readError.
func (s *saver) content(f *os.File, size int64, cutter *chunker) (Content, error) {
	w := newFileWriter(s.up.k, s.up.tree)
	if size <= minChunk {
		return s.smallContent(f, size, w)
	}
	extents := dataExtents(f, size)
	for region, more := (extent{}), true; more; {
		var next extent
		var err error
		if next, more, err = extents.next(); err != nil {
			return Content{}, &readError{err}
		}
		if end := region.Off + region.Len; more && region.Len > 0 && next.Off-end < smallHole {
			region.Len = next.Off + next.Len - region.Off
			continue
		}
		cutter.reset(io.NewSectionReader(f, region.Off, region.Len))
		if _, err := s.pieces(w, cutter, region.Off); err != nil {
			return Content{}, err
		}
		region = next
	}
	return w.finish()
}

// smallContent reads a file of one chunk with one call.
func (s *saver) smallContent(f *os.File, size int64, w *fileWriter) (Content, error) {
	if size > 0 {
		if err := s.up.reserve(int(size)); err != nil {
			return Content{}, err
		}
		plain := newPlain(int(size))
		n, err := io.ReadFull(f, plain)
		s.up.release(int(size) - n)
		if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
			s.up.release(n)
			return Content{}, &readError{err}
		}
		if n > 0 { // a file that has shrunk is noticed by its times
			if err := s.piece(w, 0, plain[:n]); err != nil {
				return Content{}, err
			}
		}
	}
	return w.finish()
}

// pieces cuts until the cutter's reader ends, and returns the offset behind it.
func (s *saver) pieces(w *fileWriter, cutter *chunker, off int64) (int64, error) {
	for {
		chunk, err := cutter.next()
		if err == io.EOF {
			return off, nil
		}
		if err != nil {
			return off, &readError{err}
		}
		if err := s.up.reserve(len(chunk)); err != nil {
			return off, err
		}
		plain := newPlain(len(chunk))
		copy(plain, chunk)
		if err := s.piece(w, off, plain); err != nil {
			return off, err
		}
		off += int64(len(chunk))
	}
}

// piece sends one chunk whose room was reserved. plain becomes the uploader's.
func (s *saver) piece(w *fileWriter, off int64, plain []byte) error {
	n := int64(len(plain))
	s.read.Add(n)
	s.p.Progress.Bytes.Add(n)
	s.p.Progress.Sent.Store(s.up.sent.Load())
	id := s.up.k.dataID(plain)
	if err := s.up.data(id, plain); err != nil {
		return err
	}
	return w.add(off, n, id)
}

// readStdin reads to the end of standard input, or until ctx ends.
func (s *saver) readStdin(ctx context.Context, e *Entry, cutter *chunker) error {
	in := abandonable(ctx, s.p.Stdin)
	defer in.Close()
	cutter.reset(in)
	w := newFileWriter(s.up.k, s.up.tree)
	size, err := s.pieces(w, cutter, 0)
	var failed *readError
	if errors.As(err, &failed) {
		return fmt.Errorf("read standard input: %w", failed.err)
	}
	if err != nil {
		return err
	}
	e.Size = size
	e.Content, err = w.finish()
	return err
}

// abandonable is r, except that reads fail as soon as ctx ends or it is closed.
// A read of a pipe or terminal cannot be called off, so the goroutine that waits
// in one is left behind, until its read returns, or with the process.
func abandonable(ctx context.Context, r io.Reader) io.ReadCloser {
	out, in := io.Pipe()
	go func() {
		_, err := io.Copy(in, r)
		in.CloseWithError(err) // nil is the end of the stream
	}()
	context.AfterFunc(ctx, func() { in.CloseWithError(context.Cause(ctx)) })
	return out
}

// moveXattrs puts attributes that are too many for a tree's leaf into chunks.
func (s *saver) moveXattrs(e *Entry) error {
	b, err := encodeXattrs(e.Xattrs)
	if err != nil {
		s.giveUp(e.Path, fmt.Errorf("its extended attributes are left out: %w", err))
		e.Xattrs = nil
		return nil
	}
	w := newFileWriter(s.up.k, s.up.tree)
	for off := 0; off < len(b); off += maxChunk {
		part := b[off:min(off+maxChunk, len(b))]
		if err := s.up.reserve(len(part)); err != nil {
			return err
		}
		plain := newPlain(len(part))
		copy(plain, part)
		id := s.up.k.dataID(plain)
		if err := s.up.data(id, plain); err != nil {
			return err
		}
		if err := w.add(int64(off), int64(len(part)), id); err != nil {
			return err
		}
	}
	e.Xattrs = nil
	e.XattrContent, err = w.finish()
	return err
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
		if sv.Nlink > 1 {
			s.lost[e.Path] = struct{}{}
		}
		return nil
	}
	err := w.add(e)
	if errors.Is(err, errBadEntry) {
		s.giveUp(e.Path, err)
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

// parentTree reads the parent version side by side with the walk. Both are in
// the same order, so each is passed over once.
type parentTree struct {
	entries *entryIter
	id      string
	next    *Entry // the first that was not asked for yet
	ended   bool
}

// find is the parent's entry at path, or nil. Paths must be asked for in order.
func (t *parentTree) find(ctx context.Context, path string) (*Entry, error) {
	if t == nil {
		return nil, nil
	}
	for !t.ended {
		if t.next != nil && comparePath(t.next.Path, path) >= 0 {
			break
		}
		e, ok, err := t.entries.Next()
		if err != nil {
			if ctx.Err() != nil {
				return nil, nil // not the tree's fault
			}
			return nil, err
		}
		t.next, t.ended = e, !ok
	}
	if t.next != nil && t.next.Path == path {
		return t.next, nil
	}
	return nil, nil
}
