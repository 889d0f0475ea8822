package storage

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"servidor-backup/schemas"
	"servidor-backup/storage/internal/index"
	"servidor-backup/storage/internal/overlay"
	"servidor-backup/storage/internal/segment"
)

// Errors of [Open], for errors.Is.
var (
	// ErrInUse: another process, or another Store of this one, has the store open.
	ErrInUse = errors.New("is in use by another process")
	// ErrNewer: a newer version of this program wrote the store.
	ErrNewer = segment.ErrNewer
	// ErrReadOnly is why a store that was opened with ReadOnly refuses puts; see [Stats].
	ErrReadOnly = errors.New("the store is opened for reading only")
	// ErrNotStore: the directory holds something else.
	ErrNotStore = errors.New("is not a backup store")
	// ErrCorrupt: the store's identity, or its list of removed segments, is damaged.
	ErrCorrupt = errors.New("the store is damaged")
)

// ErrTooEarly is the error of [Store.Sweep] for a generation that must not be swept for yet,
// because the store may have missed pins of that generation.
var ErrTooEarly = errors.New("it is too early to collect")

// ErrOtherGeneration is the error of [Store.Mark] for a generation that the store is
// not in.
var ErrOtherGeneration = errors.New("the marks belong to another collection")

// Options are the settings of a store. The zero value is good for a real disk.
type Options struct {
	// FS is the store's only way to the disk. Default: vfs.Default.
	FS vfs.FS
	// SegmentSize is the length, in bytes, that a segment grows to. Default: 1/64 of the
	// disk, from 8 to 256 MiB, so that a full disk has at most some ten thousand files and
	// compaction moves little at a time. At most 2 GiB.
	SegmentSize int64
	// ReserveBytes is the free space, in bytes, below which puts are refused. The index needs
	// it to write what is acknowledged already, whoever shares the disk to forget versions,
	// and compaction to hold what is live in a segment twice. A store does not open when less
	// than a quarter of it is free, or less than 16 MiB. Default: 64 MiB and a segment.
	ReserveBytes int64
	// IndexMemory is the memory that the index may use, in bytes: five sixths of it
	// to cache what it has read, and one sixth for a table that is not written out
	// yet. Default: 48 MiB.
	IndexMemory int64
	// Now returns the time for the time stamps of records. Default: time.Now.
	Now func() time.Time
	// RebuildIndex rebuilds the index from the segments, and the identity too if
	// its file is missing. It reads the whole store.
	RebuildIndex bool
	// ReadOnly opens a store that cannot be written, or of which nothing should be changed:
	// nothing in its directory is made, changed or locked, not even after a crash. Puts,
	// sweeps and compactions are refused; see [ErrReadOnly]. Whoever opens it sees to it that
	// no process writes to the store.
	ReadOnly bool
}

const maxSegmentSize = 2 << 30

func (o *Options) setDefaults() {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	o.SegmentSize = min(o.SegmentSize, maxSegmentSize)
	if o.IndexMemory <= 0 {
		o.IndexMemory = 48 << 20
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

// setSizes sets the sizes that depend on the disk with the directory.
func (o *Options) setSizes(dir string) {
	if o.SegmentSize <= 0 {
		o.SegmentSize = 256 << 20
		if usage, err := o.FS.GetDiskUsage(dir); err == nil {
			o.SegmentSize = min(max(int64(usage.TotalBytes/64), 8<<20), o.SegmentSize)
		}
	}
	if o.ReserveBytes <= 0 {
		o.ReserveBytes = 64<<20 + o.SegmentSize
	}
}

// Store stores chunks in a directory. Its methods are safe for concurrent use.
type Store struct {
	opt  Options
	dir  *directory
	lock io.Closer

	gate        *gate
	health      *health
	segments    *segments
	index       *index.Index
	generations *generations
	reader      *reader
	writer      *writer

	run       func() (Run, error) // beginRun, once
	lost      map[uint32]error    // why segments could not be used, or not wholly, at Open
	reindexed bool                // the index was damaged and was rebuilt when the store opened
	writing   sync.WaitGroup      // the writer's goroutine
	closing   sync.Once
}

// Open opens the store in dir, and makes it if dir is empty or does not exist. It
// brings the index up to date; after a crash it reads what was written since the
// index was last flushed. It rebuilds a damaged index, which reads the whole
// store.
//
// A segment that is missing, or cannot be used, costs what was in it; see [Store.Lost].
//
// Its errors are [ErrInUse], [ErrNewer], [ErrNotStore], [ErrCorrupt], one of the code
// [schemas.DiskFull], or the disk's.
func Open(dir string, opt Options) (s *Store, err error) {
	opt.setDefaults()
	if opt.ReadOnly {
		opt.FS = overlay.New(opt.FS)
	}
	s = &Store{opt: opt, dir: &directory{fs: opt.FS, path: dir}}
	if err := opt.FS.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the store's directory: %w", err)
	}
	s.run = sync.OnceValues(s.beginRun)
	s.opt.setSizes(dir)
	if s.lock, err = s.dir.lock(); err != nil {
		return nil, err
	}
	if err = s.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("open the store in %s: %w", dir, err), s.release())
	}
	s.writing.Go(s.writer.run)
	return s, nil
}

// open opens everything that needs the lock.
func (s *Store) open() (err error) {
	if err = s.dir.openIdentity(&s.opt); err != nil {
		return err
	}
	node := s.dir.identity.Node
	s.gate, s.health = newGate(node), &health{node: node}
	s.segments = newSegments(s.dir, s.opt.Now)
	if err = s.opt.FS.MkdirAll(s.dir.join(segmentsName), 0o700); err != nil {
		return err
	}
	for _, dir := range []string{s.dir.path, s.opt.FS.PathDir(s.dir.path)} {
		if err = s.dir.sync(dir); err != nil {
			return err
		}
	}
	if err = s.openIndex(); err != nil {
		return err
	}
	if s.opt.ReadOnly {
		s.health.fail(ErrReadOnly)
	}
	s.generations = &generations{dir: s.dir, index: s.index}
	if err = s.generations.load(); err != nil {
		return err
	}
	s.reader = &reader{node: node, segments: s.segments, index: s.index}
	s.writer = newWriter(s)
	return recoverStore(s)
}

func (s *Store) openIndex() (err error) {
	dir := s.dir.join(indexName)
	if s.opt.RebuildIndex {
		if err = s.opt.FS.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove the old index: %w", err)
		}
	}
	if err = s.dir.checkSpaceToOpen(s.opt.ReserveBytes); err != nil {
		return err
	}
	failures := index.Failures{Transient: s.health.indexFailed, Fatal: s.health.fail}
	s.index, s.reindexed, err = index.Open(s.opt.FS, dir, s.opt.IndexMemory, failures)
	return err
}

// release closes what open opened.
func (s *Store) release() error {
	var errs []error
	if s.writer != nil {
		errs = append(errs, s.writer.close())
	}
	if s.index != nil {
		errs = append(errs, s.index.Close())
	}
	if s.segments != nil {
		errs = append(errs, s.segments.files.Close())
	}
	return errors.Join(append(errs, s.lock.Close())...)
}

// Close waits for the puts that are under way, makes the index durable and releases
// the directory. Later calls of other methods fail with [schemas.NodeClosed].
func (s *Store) Close() (err error) {
	s.closing.Do(func() {
		close(s.gate.stop)
		s.writing.Wait()
		s.gate.operations.Lock()
		defer s.gate.operations.Unlock()
		err = s.release()
	})
	return err
}

// NodeID returns the node's id, which was made with the directory.
func (s *Store) NodeID() schemas.NodeID { return s.dir.identity.Node }

// Stats are a store's counts and its condition.
type Stats struct {
	Chunks   int64 // parts of chunks that are held; most of them are whole chunks
	Bytes    int64 // of their content
	Corrupt  int64 // parts that are known to be damaged and were not replaced yet
	Damaged  int64 // damaged stretches that recovery found and that name no chunk
	Segments int64
	Lost     int64 // segments that are lost; see [Store.Lost]

	DiskFree, DiskTotal uint64 // bytes; 0 if the file system does not say

	// Reindexed is set if the index was damaged, or an older version's, and was
	// rebuilt when the store was opened.
	Reindexed bool
	Full      bool  // the last put was refused for lack of space, and there still is none
	Failed    error // why puts are refused until the store is opened again, or nil
}

// fullMargin is the space, in bytes, that must be free beyond the reserve before a
// full store counts as having space again: some batches.
const fullMargin = 2 * maxBatchBytes

// Stats returns the counts as of now.
func (s *Store) Stats() Stats {
	state := s.index.State()
	whole := int64(0) // lost segments
	for _, lost := range s.index.Lost() {
		if lost&index.LostWhole != 0 {
			whole++
		}
	}
	stats := Stats{
		Chunks: state.Chunks, Bytes: state.Bytes, Corrupt: state.Corrupt, Damaged: state.Damaged,
		Segments:  int64(state.Position.Segment) - s.segments.removedCount() - whole,
		Lost:      int64(len(s.Lost())),
		Reindexed: s.reindexed, Full: s.health.full.Load(), Failed: s.health.failed(),
	}
	if usage, err := s.opt.FS.GetDiskUsage(s.dir.path); err == nil {
		stats.DiskFree, stats.DiskTotal = usage.AvailBytes, usage.TotalBytes
		// Nobody sends puts to a full node, so no put would find out that there is
		// space again.
		if stats.Full && int64(usage.AvailBytes) >= s.opt.ReserveBytes+fullMargin {
			s.health.full.Store(false)
			stats.Full = false
		}
	}
	return stats
}

// Lost returns the segments that are lost, in the order of their numbers, as of when the store
// was opened. It leaves out those whose parts have all been put again or forgotten, which
// [Store.Compact] finds out.
func (s *Store) Lost() []LostSegment {
	states, damaged := s.index.Lost(), s.index.State().Corrupt > 0
	var all []LostSegment
	for _, n := range slices.Sorted(maps.Keys(s.lost)) {
		if state := states[n]; state&index.LostSettled == 0 && (state != 0 || damaged) {
			all = append(all, LostSegment{segmentLabel(n), s.lost[n]})
		}
	}
	return all
}
