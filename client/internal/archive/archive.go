package archive

import (
	"context"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"servidor-backup/client/internal/chunk"
	"servidor-backup/client/internal/scan"
	"servidor-backup/client/internal/seal"
	"servidor-backup/client/internal/transfer"
	"servidor-backup/client/internal/tree"
	"servidor-backup/client/internal/upload"
	"servidor-backup/schemas"
)

const (
	// maxPending is how many entries may wait for the one that is being read, so that a
	// large file does not delay the small ones behind it.
	maxPending = 2048
	// maxAttempts is how often a file that changes while it is read is read at most.
	maxAttempts = 2
	// sealingBlocks is how many blocks there are for plaintext that waits to be sealed,
	// besides those that readers hold. Each reader needs a second block for a moment, one
	// after the other, and makeTree may read as well, so there are always two.
	sealingBlocks = 3
)

// Options say what is saved.
type Options struct {
	Keys    *seal.Keys
	Roots   []scan.Root   // none: Stdin is saved as one file named Name
	Exclude *scan.Matcher // what the walk leaves out
	Stdin   io.Reader
	Name    string
	Parent  *Parent // nil for a first version
	Reread  bool    // read everything, also what is unchanged by its times
	// Budget scales the memory for plaintext.
	Budget   transfer.Budget
	Progress *transfer.Progress
	// Warn is told which paths are not saved, or not saved whole, and why. It is called
	// concurrently.
	Warn func(path string, err error)

	now time.Time // when the backup begins; zero: now
}

// Parent is the version that the new one builds on.
type Parent struct {
	ID   string          // for messages
	Root schemas.ChunkID // of its tree
	// NewGetter makes a getter of the tree's chunks. While a node is down that was reachable
	// when the getter was made, a chunk that is not found counts as unreachable and not as lost.
	// So what is asked later needs a getter of its own.
	NewGetter func() tree.Getter
	// Recheck says that chunks of the version may be lost: the nodes are asked before the
	// chunks of an unchanged file are reused.
	Recheck bool
}

// Result is what the tree of a new version contains.
type Result struct {
	Root       schemas.ChunkID
	Files      int64 // entries that are not folders
	Bytes      int64 // their content
	Unchanged  int64 // files that were not read again
	Read       int64 // bytes that were read from files
	Unreadable int64 // paths whose content is not saved, or not as it was at one moment
	Incomplete int64 // paths that are saved without something that belongs to them
}

// Uploader takes chunks in the clear and sends them to the nodes. It is an interface so
// that tests need no nodes; see upload.Uploader.
type Uploader interface {
	// Context ends when the upload has failed; the cause is the failure.
	Context() context.Context
	// CopyPlain waits for budget for a copy of b, which PutData then takes.
	CopyPlain(b []byte) (chunk.Plaintext, error)
	// PutData takes a data chunk and its id, and releases plain.
	PutData(id schemas.ChunkID, plain chunk.Plaintext) error
	// PutTree takes a tree chunk. It copies what it keeps.
	PutTree(id schemas.ChunkID, trees, data []schemas.ChunkID, payload []byte) error
	// Recoverable reports whether the nodes hold enough parts of all the chunks.
	Recoverable(ctx context.Context, ids []schemas.ChunkID) (bool, error)
	// Stats returns what was done so far.
	Stats() upload.Stats
}

// Save saves everything, and returns when the uploader has taken all chunks.
func Save(up Uploader, opt Options) (*Result, error) {
	return newSaver(up, opt).run(up.Context())
}

// saver makes a version's tree. See the package comment.
type saver struct {
	Options
	up         Uploader
	parentTree *tree.Parent // nil for a first version, and when it cannot be read
	recheck    bool
	blocks     chunk.Blocks
	gear       *chunk.Gear
	zeros      func() (schemas.ChunkID, error) // sendZeros, once

	queue  chan *pendingEntry // to makeTree, in the tree's order
	toRead chan readGroup     // to the readers

	// Of the walk.
	bundler bundler
	shared  sharedFiles

	files, bytes, unchanged, read, unreadable, incomplete atomic.Int64
	firstErr                                              atomic.Pointer[error] // why the first path is not saved; nil if all are
}

// pendingEntry is an entry on its way into the tree.
type pendingEntry struct {
	scan.Item
	// reused is where the parent's tree has the very same entry, if it has.
	reused tree.LeafPosition
	// file is set if the path is one of several names of its file, else nil.
	file *sharedFile
	// further says that the walk has met a name of the file before, from which makeTree takes
	// what belongs to the file. before and at are then the entry's in the parent.
	further bool
	before  *tree.Entry
	at      tree.LeafPosition
	// recheck is the parent's entry of an unchanged file whose chunks may be lost, else nil.
	recheck *tree.Entry
	ready   chan struct{} // closed when a reader is done with the entry; nil if none is needed
	drop    bool          // the reader could not read it; belongs to the reader until ready
	// torn says why the content is not as it was at one moment, Item.Err what else is lacking.
	// Both belong to the reader until ready.
	torn error
}

func newSaver(up Uploader, opt Options) *saver {
	s := &saver{
		Options: opt, up: up,
		blocks: chunk.NewBlocks(max(opt.Budget.Slots(readers()+sealingBlocks), readers()+2)),
		gear:   chunk.NewGear(opt.Keys.CutSeed()),
		queue:  make(chan *pendingEntry, maxPending), toRead: make(chan readGroup, maxPending),
		shared: sharedFiles{},
	}
	if s.now.IsZero() {
		s.now = time.Now()
	}
	s.zeros = sync.OnceValues(s.sendZeros)
	if p := opt.Parent; p != nil {
		s.recheck = p.Recheck
		s.parentTree = tree.OpenParent(up.Context(), tree.NewReader(p.NewGetter(), p.Root))
	}
	return s
}

// readers is how many goroutines read files side by side.
func readers() int { return max(2, min(runtime.GOMAXPROCS(0), 8)) }

// run runs the steps side by side. The first failure ends them all.
func (s *saver) run(ctx context.Context) (*Result, error) {
	ctx, fail := context.WithCancelCause(ctx)
	defer s.parentTree.Close()
	defer fail(nil)
	var work sync.WaitGroup
	start := func(step func(context.Context) error) {
		work.Go(func() {
			if err := step(ctx); err != nil {
				fail(err)
			}
		})
	}
	counting, stopCounting := context.WithCancel(ctx)
	defer stopCounting()
	if s.Progress.Count {
		work.Go(func() { s.countTotals(counting) })
	}
	start(s.walk)
	for range readers() {
		start(s.readGroups)
	}
	root, err := s.makeTree(ctx)
	if err != nil {
		fail(err)
	}
	stopCounting()
	work.Wait()
	s.countDone()
	if cause := context.Cause(ctx); cause != nil {
		return nil, cause
	}
	if err := s.checkSaved(); err != nil {
		return nil, err
	}
	return &Result{
		Root: root, Files: s.files.Load(), Bytes: s.bytes.Load(), Unchanged: s.unchanged.Load(),
		Read: s.read.Load(), Unreadable: s.unreadable.Load(), Incomplete: s.incomplete.Load(),
	}, nil
}

// countAfter is how long a backup runs before it counts what there is to do. A shorter one
// shows no time left, and the second walk would cost it more than it gives.
const countAfter = time.Second

// countTotals walks everything a second time, only to know how much there is to do.
func (s *saver) countTotals(ctx context.Context) {
	select {
	case <-time.After(countAfter):
	case <-ctx.Done():
		return
	}
	pr := s.Progress
	err := scan.Walk(ctx, s.Roots, s.Exclude.WithoutCounts(), func(it scan.Item) error {
		if it.Entry != nil && it.Entry.Type != tree.TypeDir {
			pr.TotalFiles.Add(1)
			pr.TotalBytes.Add(it.Entry.Size)
		}
		return nil
	})
	pr.Counted.Store(err == nil && s.Roots != nil)
}

// countDone makes the totals those of what was read, once everything is: what is left is to
// send the rest of it.
func (s *saver) countDone() {
	if pr := s.Progress; pr.Count && !pr.Counted.Load() {
		pr.TotalFiles.Store(pr.Files.Load())
		pr.TotalBytes.Store(pr.Bytes.Load())
		pr.Counted.Store(true)
	}
}

// reportUnreadable warns of a path whose content is not saved, or not as it was at one moment, and
// counts it.
func (s *saver) reportUnreadable(path string, err error) {
	s.unreadable.Add(1)
	s.firstErr.CompareAndSwap(nil, &err)
	s.Warn(path, err)
}

// reportIncomplete warns of a path that is saved without something that belongs to it, and counts
// it.
func (s *saver) reportIncomplete(path string, err error) {
	s.incomplete.Add(1)
	s.Warn(path, err)
}

// reportTorn is reportUnreadable for a file that is saved, but not as it was at one moment.
func (s *saver) reportTorn(p *pendingEntry, err error) {
	p.torn = err
	s.reportUnreadable(p.Path, err)
}

// checkSaved returns an error if there is nothing but failures and folders: as the newest version
// of a record, the new one would hide those that have its files.
func (s *saver) checkSaved() error {
	if err := s.firstErr.Load(); err != nil && s.files.Load() == 0 {
		return schemas.Explain("", "nothing-saved", "nothing could be saved, so there is no new version").Because(*err)
	}
	return nil
}

// push sends v. It reports false if ctx ends first.
func push[T any](ctx context.Context, c chan<- T, v T) bool {
	select {
	case c <- v:
		return true
	case <-ctx.Done():
		return false
	}
}
