package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"servidor-backup/client/internal/chunk"
	"servidor-backup/client/internal/osfs"
	"servidor-backup/client/internal/scan"
	"servidor-backup/client/internal/seal"
	"servidor-backup/client/internal/transfer"
	"servidor-backup/client/internal/tree"
	"servidor-backup/client/internal/upload"
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

// Options say what is saved.
type Options struct {
	Keys    *seal.Keys
	Roots   []scan.Root   // none: Stdin is saved as a file of that Name
	Exclude *scan.Matcher // what the walk leaves out
	Stdin   io.Reader
	Name    string
	// Parent is the id of the version before this one, and ParentRoot the root of its
	// tree, whose chunks Get gets; "" for a first version. Recheck says that chunks of it
	// may be lost: the nodes are asked before an unchanged file's are used again.
	Parent     string
	ParentRoot schemas.ChunkID
	Get        tree.Getter
	Recheck    bool
	// Budget scales the memory for what is read.
	Budget   transfer.Budget
	Progress *transfer.Progress
	Warn     func(path string, err error)
}

// Result is what the tree of a new version contains.
type Result struct {
	Root       schemas.ChunkID
	Files      int64 // entries that are not folders
	Bytes      int64 // their content
	Unchanged  int64 // files that were not read again
	Read       int64 // bytes that were read from files
	Unreadable int64 // paths that are not saved, or not saved whole
}

// Uploader takes chunks in the clear and gets them to the nodes, as upload.Uploader does.
type Uploader interface {
	// Context ends when the upload has failed; the cause is the failure.
	Context() context.Context
	// CopyPlain waits for budget for a copy of b, which PutData then takes.
	CopyPlain(b []byte) (chunk.Plaintext, error)
	// PutData takes a data chunk and its id, and releases plain.
	PutData(id schemas.ChunkID, plain chunk.Plaintext) error
	// PutTree takes a tree chunk. It copies what it keeps.
	PutTree(id schemas.ChunkID, trees, data []schemas.ChunkID, payload []byte) error
	// Recoverable reports whether the nodes hold enough of all the chunks.
	Recoverable(ctx context.Context, ids []schemas.ChunkID) (bool, error)
	// Stats is what was done so far.
	Stats() upload.Stats
}

// saver makes a version's tree: it merges the walk with the parent's tree, has
// files read by a few readers, and adds entries to the tree in order.
type saver struct {
	Options
	up     Uploader
	parent *tree.Parent // nil for a first version, and when it cannot be read
	blocks chunk.Blocks
	gear   *chunk.Gear

	queue  chan *saving // in the tree's order
	toRead chan bundle
	next   bundler                         // what the walk gathers for toRead
	zeros  func() (schemas.ChunkID, error) // sendZeros, once
	links  map[osfs.Inode]string           // first names of files with several, met by the walk
	lost   map[string]struct{}             // those of them that could not be saved

	files, bytes, unchanged, read, unreadable atomic.Int64
}

// saving is an entry on its way into the tree.
type saving struct {
	scan.Item
	kept   tree.LeafPosition // where the parent has the very same entry, if it has
	before *tree.Entry       // the parent's entry, when the file has not changed but its chunks are in doubt
	ready  chan struct{}     // closed when the entry is whole, or was given up; nil if it was from the start
	drop   bool              // it was given up
}

// Save saves everything, and returns when all of it was put to the uploader.
func Save(up Uploader, opt Options) (*Result, error) {
	return newSaver(up, opt).run(up.Context())
}

func newSaver(up Uploader, opt Options) *saver {
	s := &saver{
		Options: opt, up: up,
		blocks: chunk.NewBlocks(max(opt.Budget.Slots(readers()+spareBlocks), readers()+1)),
		gear:   chunk.NewGear(opt.Keys.CutSeed()),
		queue:  make(chan *saving, ahead), toRead: make(chan bundle, ahead),
		links: map[osfs.Inode]string{}, lost: map[string]struct{}{},
	}
	s.zeros = sync.OnceValues(s.sendZeros)
	if opt.Parent != "" {
		s.parent = tree.OpenParent(up.Context(), tree.NewReader(opt.Get, opt.ParentRoot))
	}
	return s
}

// readers is how many goroutines read files side by side.
func readers() int { return max(2, min(runtime.GOMAXPROCS(0), 8)) }

// run saves everything. The walk, the readers and the making of the tree go on
// side by side; the first failure ends them all.
func (s *saver) run(ctx context.Context) (*Result, error) {
	ctx, fail := context.WithCancelCause(ctx)
	defer s.parent.Close()
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
	return &Result{
		Root: root, Files: s.files.Load(), Bytes: s.bytes.Load(), Unchanged: s.unchanged.Load(),
		Read: s.read.Load(), Unreadable: s.unreadable.Load(),
	}, nil
}

// walk meets every path in order.
func (s *saver) walk(ctx context.Context) error {
	defer close(s.toRead)
	defer close(s.queue)
	if s.Roots == nil {
		err := s.meet(ctx, scan.Item{Path: s.Name, Nlink: 1, Entry: &tree.Entry{
			Path: s.Name, Type: tree.TypeFile, Mode: 0o600, Mtime: time.Now().UnixNano(),
		}})
		return errors.Join(err, s.readNext(ctx))
	}
	_, err := scan.Walk(ctx, s.Roots, s.Exclude, func(it scan.Item) error { return s.meet(ctx, it) })
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
func (s *saver) meet(ctx context.Context, it scan.Item) error {
	if it.Err != nil {
		s.giveUp(it.Path, it.Err)
	}
	if it.Entry == nil {
		return nil
	}
	e := it.Entry
	before, at, err := s.parent.Find(ctx, e.Path)
	if err != nil {
		s.Warn(e.Path, fmt.Errorf("the previous version %s cannot be read, files are read again: %w", s.Parent, err))
		s.parent = nil
	}
	unchanged := isUnchanged(e, before)
	if unchanged {
		unchanged = e.ReuseMetadata(before, s.Recheck)
	}
	if !unchanged && e.Type != tree.TypeFile && s.Roots != nil {
		if err := it.Complete(); err != nil {
			s.giveUp(it.Path, err)
		}
		if it.Entry == nil {
			return nil
		}
	}
	sv := &saving{Item: it}
	switch {
	case s.isLink(it):
	case e.Type == tree.TypeFile && unchanged && !s.Recheck:
		s.reuseContent(e, before)
	case e.Type == tree.TypeFile || tree.XattrSize(e.Xattrs) > tree.MaxInlineXattrs:
		if unchanged {
			sv.before = before
		}
		if err := s.readLater(ctx, sv); err != nil {
			return err
		}
	}
	if !s.Recheck && sv.ready == nil && e.Equal(before) {
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
func (s *saver) isLink(it scan.Item) bool {
	if it.Nlink < 2 || it.Entry.Type == tree.TypeDir {
		return false
	}
	file := osfs.Inode{Dev: it.Entry.Dev, Ino: it.Entry.Ino}
	first, known := s.links[file]
	if !known {
		s.links[file] = it.Entry.Path
		return false
	}
	it.Entry.HardLink = first
	it.Entry.Xattrs, it.Entry.XattrContent = nil, tree.Content{} // they belong to the file, which has them already
	return true
}

// isUnchanged reports whether before is the same file in the parent version,
// and nothing of it was changed since: whatever changes sets the change time.
func isUnchanged(e, before *tree.Entry) bool {
	return before != nil && before.Type == e.Type && before.HardLink == "" &&
		before.Size == e.Size && before.Mtime == e.Mtime && before.Ino == e.Ino &&
		before.Ctime == e.Ctime && e.Ctime != 0
}

// reuseContent takes the content of an unchanged file from the parent's entry.
func (s *saver) reuseContent(e, before *tree.Entry) {
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
	w := tree.NewWriter(s.Keys, s.up.PutTree)
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
	return w.Finish()
}

// enter adds one entry, unless it was given up.
func (s *saver) enter(w *tree.Writer, sv *saving) error {
	e := sv.Entry
	if _, lost := s.lost[e.HardLink]; lost && e.HardLink != "" {
		s.giveUp(e.Path, fmt.Errorf("it is another name of %q, which could not be read", e.HardLink))
		return nil
	}
	if sv.drop {
		s.lose(sv)
		return nil
	}
	err := w.Reuse(e, sv.kept)
	if errors.Is(err, tree.ErrBadEntry) {
		s.giveUp(e.Path, err)
		s.lose(sv)
		return nil
	}
	if err != nil {
		return err
	}
	if e.Type != tree.TypeDir {
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
	_, err := scan.Walk(ctx, s.Roots, s.Exclude, func(it scan.Item) error {
		if it.Entry != nil && it.Entry.Type != tree.TypeDir {
			pr.TotalFiles.Add(1)
			pr.TotalBytes.Add(it.Entry.Size)
		}
		return nil
	})
	pr.Counted.Store(err == nil && s.Roots != nil)
}
