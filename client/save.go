package client

import (
	"context"
	"errors"
	"fmt"
	"io"
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
	// spareBlocks is how many blocks there are besides those that readers hold: what
	// waits to be sealed.
	spareBlocks = 3
)

// saveOptions say what is saved.
type saveOptions struct {
	Keys    *keys
	Roots   []root   // none: Stdin is saved as a file of that Name
	Exclude *matcher // what the walk leaves out
	Stdin   io.Reader
	Name    string
	// Parent is the id of the version before this one, and ParentRoot the root of its
	// tree, whose chunks Get gets; "" for a first version. Recheck says that chunks of it
	// may be lost: the nodes are asked before an unchanged file's are used again.
	Parent     string
	ParentRoot schemas.ChunkID
	Get        treeGet
	Recheck    bool
	// Budget scales the memory for what is read.
	Budget   budget
	Progress *Progress
	Warn     func(path string, err error)
}

// saveResult is what the tree of a new version contains.
type saveResult struct {
	Root       schemas.ChunkID
	Files      int64 // entries that are not folders
	Bytes      int64 // their content
	Unchanged  int64 // files that were not read again
	Read       int64 // bytes that were read from files
	Unreadable int64 // paths that are not saved, or not saved whole
}

// saver makes a version's tree: it merges the walk with the parent's tree, has
// files read by a few readers, and adds entries to the tree in order.
type saver struct {
	saveOptions
	up     *uploader
	parent *parentTree // nil for a first version, and when it cannot be read
	blocks blocks
	gear   *gearTable

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
	kept   leafPosition  // where the parent has the very same entry, if it has
	before *Entry        // the parent's entry, when the file has not changed but its chunks are in doubt
	ready  chan struct{} // closed when the entry is whole, or was given up; nil if it was from the start
	drop   bool          // it was given up
}

// save saves everything, and returns when all of it was put to the uploader.
func save(up *uploader, opt saveOptions) (*saveResult, error) {
	return newSaver(up, opt).run(up.context())
}

func newSaver(up *uploader, opt saveOptions) *saver {
	s := &saver{
		saveOptions: opt, up: up,
		blocks: newBlocks(max(opt.Budget.slots(readers()+spareBlocks), readers()+1)),
		gear:   newGear(opt.Keys.cutSeed()),
		queue:  make(chan *saving, ahead), toRead: make(chan bundle, ahead),
		links: map[inode]string{}, lost: map[string]struct{}{},
	}
	s.zeros = sync.OnceValues(s.sendZeros)
	if opt.Parent != "" {
		s.parent = newParentTree(up.context(), newTreeReader(opt.Get, opt.ParentRoot))
	}
	return s
}

// readers is how many goroutines read files side by side.
func readers() int { return max(2, min(runtime.GOMAXPROCS(0), 8)) }

// run saves everything. The walk, the readers and the making of the tree go on
// side by side; the first failure ends them all.
func (s *saver) run(ctx context.Context) (*saveResult, error) {
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
	if s.Progress.Count {
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
	return &saveResult{
		Root: root, Files: s.files.Load(), Bytes: s.bytes.Load(), Unchanged: s.unchanged.Load(),
		Read: s.read.Load(), Unreadable: s.unreadable.Load(),
	}, nil
}

// walk meets every path in order.
func (s *saver) walk(ctx context.Context) error {
	defer close(s.toRead)
	defer close(s.queue)
	if s.Roots == nil {
		err := s.meet(ctx, walkItem{Path: s.Name, Nlink: 1, Entry: &Entry{
			Path: s.Name, Type: TypeFile, Mode: 0o600, Mtime: time.Now().UnixNano(),
		}})
		return errors.Join(err, s.readNext(ctx))
	}
	_, err := walk(ctx, s.Roots, s.Exclude, func(it walkItem) error { return s.meet(ctx, it) })
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
	if s.next.add(s.Keys, sv) {
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
		s.Warn(e.Path, fmt.Errorf("the previous version %s cannot be read, files are read again: %w", s.Parent, err))
		s.parent = nil
	}
	unchanged := isUnchanged(e, before)
	if unchanged {
		unchanged = e.reuse(before, s.Recheck)
	}
	if !unchanged && e.Type != TypeFile && s.Roots != nil {
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
	case e.Type == TypeFile && unchanged && !s.Recheck:
		s.reuseContent(e, before)
	case e.Type == TypeFile || xattrSize(e.Xattrs) > maxInlineXattrs:
		if unchanged {
			sv.before = before
		}
		if err := s.readLater(ctx, sv); err != nil {
			return err
		}
	}
	if !s.Recheck && sv.ready == nil && e.equal(before) {
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

// push sends v, or reports false when ctx ends before that.
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

// isUnchanged reports whether before is the same file in the parent version,
// and nothing of it was changed since: whatever changes sets the change time.
func isUnchanged(e, before *Entry) bool {
	return before != nil && before.Type == e.Type && before.HardLink == "" &&
		before.Size == e.Size && before.Mtime == e.Mtime && before.Ino == e.Ino &&
		before.Ctime == e.Ctime && e.Ctime != 0
}

// reuseContent takes the content of an unchanged file from the parent's entry.
func (s *saver) reuseContent(e, before *Entry) {
	e.Content = before.Content
	s.unchanged.Add(1)
	s.Progress.Bytes.Add(e.Size)
}

// giveUp notes a path that is not saved, or not saved whole.
func (s *saver) giveUp(path string, err error) {
	s.unreadable.Add(1)
	s.Warn(path, err)
}

// makeTree adds the entries in order and returns the root.
func (s *saver) makeTree(ctx context.Context) (root schemas.ChunkID, err error) {
	w := newTreeWriter(s.Keys, s.up.putTree)
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
	if _, lost := s.lost[e.HardLink]; lost && e.HardLink != "" {
		s.giveUp(e.Path, fmt.Errorf("it is another name of %q, which could not be read", e.HardLink))
		return nil
	}
	if sv.drop {
		s.lose(sv)
		return nil
	}
	err := w.reuse(e, sv.kept)
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
		s.Progress.Files.Add(1)
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
	pr := s.Progress
	_, err := walk(ctx, s.Roots, s.Exclude, func(it walkItem) error {
		if it.Entry != nil && it.Entry.Type != TypeDir {
			pr.TotalFiles.Add(1)
			pr.TotalBytes.Add(it.Entry.Size)
		}
		return nil
	})
	pr.Counted.Store(err == nil && s.Roots != nil)
}
