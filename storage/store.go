package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"servidor-backup/schemas"
)

// Errors of [Open], to be asked for with errors.Is.
var (
	// ErrInUse: another process, or another Store of this one, has it open.
	ErrInUse = errors.New("is in use by another process")
	// ErrNewer: a newer version of this program wrote it.
	ErrNewer = errors.New("written by a newer version of this program")
	// ErrNotStore: the directory holds something else.
	ErrNotStore = errors.New("is not a backup store")
	// ErrCorrupt: the store's identity cannot be read.
	ErrCorrupt = errors.New("the store is damaged")
	// ErrMissing: a segment file is gone.
	ErrMissing = errors.New("a segment is missing")
)

// ErrTooEarly is the error of [Store.Sweep] for sessions that are older than what
// the store remembers.
var ErrTooEarly = errors.New("it is too early to collect")

// ErrOtherGeneration is the error of [Store.Mark] for a collection that is not the
// newest.
var ErrOtherGeneration = errors.New("it is another collection's time")

// Options are the settings of a store. The zero value is good for a real disk.
type Options struct {
	// FS is the one way to the disk. Default: vfs.Default.
	FS vfs.FS
	// SegmentSize is how long a segment grows, in bytes. Default: 256 MiB, so
	// that a full disk has some ten thousand files and compaction moves little
	// at a time. At most 2 GiB.
	SegmentSize int64
	// ReserveBytes is the free space below which puts are refused. The index
	// lives on it: it must be able to write what is already acknowledged, and
	// to compact. A store is not opened where less than a quarter of it is free.
	// Default: 64 MiB.
	ReserveBytes int64
	// IndexMemory is what the index may hold in memory, in bytes: five sixths of
	// it for what it has read, and a table of the last sixth for what it has not
	// written yet. Default: 48 MiB.
	IndexMemory int64
	// Now is the time that records are stamped with. Default: time.Now.
	Now func() time.Time
	// RebuildIndex makes the index anew from the segments, and the identity
	// too if its file is gone. It reads everything.
	RebuildIndex bool
}

const maxSegmentSize = 2 << 30

func (o *Options) setDefaults() {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.SegmentSize <= 0 {
		o.SegmentSize = 256 << 20
	}
	o.SegmentSize = min(o.SegmentSize, maxSegmentSize)
	if o.ReserveBytes <= 0 {
		o.ReserveBytes = 64 << 20
	}
	if o.IndexMemory <= 0 {
		o.IndexMemory = 48 << 20
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

// Store keeps chunks in a directory. Its methods are safe for concurrent use.
type Store struct {
	fs       vfs.FS
	dir      string
	opt      Options
	lock     io.Closer
	identity fileHeader
	codec    *codec
	index    *index
	// reindexed: the index was damaged and was made anew when the store opened.
	reindexed bool
	files     *fileCache
	writer    *writer

	puts    chan *putRequest
	turns   chan func()
	stop    chan struct{}  // closed by Close
	writing sync.WaitGroup // the writer's goroutine

	removedMu sync.Mutex
	removed   removed
	// moving is held for reading from when a read looks up a place until it has
	// read there, and for writing while a segment is removed.
	moving sync.RWMutex
	chore  chan struct{} // has room when neither a check nor a compaction is under way

	closing sync.Once
	life    sync.RWMutex // held for reading while an operation uses the files

	floor   atomic.Uint32 // the first new generation since the store was opened, 0 before that
	written uint32        // the generation in the file, from SetGeneration's turn only
	unsure  bool          // the file was damaged when the store was opened
	full    atomic.Bool
	failMu  sync.Mutex
	failure error // why puts are refused until the store is opened again
}

// Open opens the store in dir and makes it if dir is empty or not there. It
// brings the index up to date, which after a crash means to read what was
// written since the index was last flushed. An index that is damaged is made
// anew, which reads everything.
//
// Its errors are [ErrInUse], [ErrNewer], [ErrNotStore], [ErrCorrupt],
// [ErrMissing], or the disk's.
func Open(dir string, opt Options) (s *Store, err error) {
	opt.setDefaults()
	s = &Store{
		fs: opt.FS, dir: dir, opt: opt,
		puts: make(chan *putRequest), turns: make(chan func()), stop: make(chan struct{}),
		chore: make(chan struct{}, 1),
	}
	s.files = &fileCache{files: map[uint32]*cachedFile{}, open: func(n uint32) (vfs.File, error) {
		return s.openSegment(n, vfs.RandomReadsOption)
	}}
	if err := s.fs.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the store's directory: %w", err)
	}
	if s.lock, err = lockDir(s.fs, dir); err != nil {
		return nil, err
	}
	if err = s.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("open the store in %s: %w", dir, err), s.release())
	}
	s.writing.Go(s.writer.run)
	return s, nil
}

// open does what needs the lock.
func (s *Store) open() (err error) {
	if s.identity, err = openIdentity(s.fs, s.dir, &s.opt); err != nil {
		return err
	}
	s.codec = newCodec(s.identity.salt)
	if err = s.fs.MkdirAll(s.fs.PathJoin(s.dir, segmentsName), 0o700); err != nil {
		return err
	}
	for _, dir := range []string{s.dir, s.fs.PathDir(s.dir)} {
		if err = syncDir(s.fs, dir); err != nil {
			return err
		}
	}
	indexDir := s.fs.PathJoin(s.dir, indexName)
	if s.opt.RebuildIndex {
		if err = s.fs.RemoveAll(indexDir); err != nil {
			return fmt.Errorf("remove the old index: %w", err)
		}
	}
	if err = s.checkRoomToOpen(); err != nil {
		return err
	}
	if s.index, s.reindexed, err = openIndex(s.fs, indexDir, s.opt.IndexMemory, indexFailures{s.indexFailed, s.fail}); err != nil {
		return err
	}
	if err = s.openGeneration(); err != nil {
		return err
	}
	s.writer, err = s.catchUp()
	return err
}

// release gives back what open took. The index keeps its position.
func (s *Store) release() error {
	var errs []error
	if s.writer != nil {
		errs = append(errs, s.writer.close())
	}
	if s.index != nil {
		errs = append(errs, s.index.close())
	}
	return errors.Join(append(errs, s.files.close(), s.lock.Close())...)
}

// Close ends the puts that are under way, makes the index durable and gives the
// directory free. Later calls of other methods fail with [schemas.NodeClosed].
func (s *Store) Close() (err error) {
	s.closing.Do(func() {
		close(s.stop)
		s.writing.Wait()
		s.life.Lock()
		defer s.life.Unlock()
		err = s.release()
	})
	return err
}

// enter begins an operation that uses the files; leave ends it.
func (s *Store) enter() error {
	s.life.RLock()
	if err := s.stopped(); err != nil {
		s.life.RUnlock()
		return err
	}
	return nil
}

// stopped is an error once Close was called.
func (s *Store) stopped() error {
	select {
	case <-s.stop:
		return s.closedError()
	default:
		return nil
	}
}

func (s *Store) leave() { s.life.RUnlock() }

// beginChore waits until no other check or compaction is under way; endChore lets the
// next one begin.
func (s *Store) beginChore(ctx context.Context) error {
	select {
	case s.chore <- struct{}{}:
		return nil
	case <-s.stop:
		return s.closedError()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Store) endChore() { <-s.chore }

func (s *Store) closedError() error {
	return schemas.Errorf(schemas.NodeClosed, "node %s is shutting down; ask another one", s.identity.node)
}

// fail makes the store refuse puts from now on. The first cause stays: after a
// failed sync nobody knows what the disk holds, and only reading it again, at
// the next Open, tells.
func (s *Store) fail(cause error) {
	s.failMu.Lock()
	defer s.failMu.Unlock()
	if s.failure == nil {
		s.failure = cause
	}
}

// indexFailed hears of failures in Pebble's background. A full disk passes.
func (s *Store) indexFailed(cause error) {
	if vfs.IsNoSpaceError(cause) {
		s.full.Store(true)
		return
	}
	s.fail(cause)
}

func (s *Store) failed() error {
	s.failMu.Lock()
	defer s.failMu.Unlock()
	return s.failure
}

// refusal is the answer to a put if the store has failed.
func (s *Store) refusal() error {
	if cause := s.failed(); cause != nil {
		return fmt.Errorf("%w: %w", schemas.Errorf(schemas.DiskFailed,
			"the disk of node %s failed; it takes no puts until it is started again", s.identity.node), cause)
	}
	return nil
}

// NodeID is the node's id, made with the directory.
func (s *Store) NodeID() schemas.NodeID { return s.identity.node }

// Stats is what a store says of itself.
type Stats struct {
	Chunks   int64 // parts of chunks, whole ones most often, that are held and not known to be damaged
	Bytes    int64 // their content
	Corrupt  int64 // parts known to be damaged and not yet replaced
	Damaged  int64 // damaged stretches found at recovery that name no chunk
	Segments int64

	DiskFree, DiskTotal uint64 // bytes; 0 if the file system does not say

	// Reindexed: the index was damaged, or an older version's, and was made anew when the store
	// was opened.
	Reindexed bool
	Full      bool  // the last put was refused for want of space, and there still is none
	Failed    error // why puts are refused until the store is opened again, or nil
}

func (s *Store) removedCount() int64 {
	s.removedMu.Lock()
	defer s.removedMu.Unlock()
	return s.removed.count()
}

// roomAgain is how much must be free beyond the reserve for a store not to be full any
// more: some batches.
const roomAgain = 2 * maxBatchBytes

// Stats gives the counts as of now.
func (s *Store) Stats() Stats {
	state := s.index.snapshot()
	stats := Stats{
		Chunks: state.chunks, Bytes: state.bytes, Corrupt: state.corrupt, Damaged: state.damaged,
		Segments:  int64(state.position.segment) - s.removedCount(),
		Reindexed: s.reindexed, Full: s.full.Load(), Failed: s.failed(),
	}
	if usage, err := s.fs.GetDiskUsage(s.dir); err == nil {
		stats.DiskFree, stats.DiskTotal = usage.AvailBytes, usage.TotalBytes
		// Who is full is given nothing, so no put would ever find that there is room.
		if stats.Full && int64(usage.AvailBytes) >= s.opt.ReserveBytes+roomAgain {
			s.full.Store(false)
			stats.Full = false
		}
	}
	return stats
}
