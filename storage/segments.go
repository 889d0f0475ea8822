package storage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"servidor-backup/schemas"
	"servidor-backup/storage/internal/filecache"
	"servidor-backup/storage/internal/segment"
)

// segments are the segment files of a store, and the list of those that were
// removed.
type segments struct {
	dir   *directory
	now   func() time.Time
	codec *segment.Codec
	files *filecache.Cache

	mu      sync.Mutex
	removed segment.Removed
	// reading is held for reading from the moment a read looks up a location until it
	// has read there, and for writing while a segment is removed.
	reading sync.RWMutex
}

func newSegments(dir *directory, now func() time.Time) *segments {
	s := &segments{dir: dir, now: now, codec: segment.NewCodec(dir.identity.Salt)}
	s.files = filecache.New(func(n uint32) (vfs.File, error) {
		return s.open(n, vfs.RandomReadsOption)
	})
	return s
}

func (s *segments) path(n uint32) string { return s.dir.join(segmentsName, segment.FileName(n)) }

// segmentLabel is the segment's path in the store's directory, for messages.
func segmentLabel(n uint32) string { return segmentsName + "/" + segment.FileName(n) }

// create makes a segment, or rewrites the header of a segment whose creation was
// interrupted. When it returns, the file exists after a power cut. size is the
// file's length, which exceeds the header if leftovers follow.
func (s *segments) create(n uint32) (f vfs.File, size int64, err error) {
	if s.wasRemoved(n) {
		return nil, 0, fmt.Errorf("make %s: %s names it", segmentLabel(n), removedName)
	}
	f, err = s.dir.fs.OpenReadWrite(s.path(n), vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, 0, fmt.Errorf("make %s: %w", segmentLabel(n), err)
	}
	h := s.dir.identity
	h.Magic, h.Number, h.Created = segment.SegmentMagic, n, s.now()
	_, err = f.WriteAt(h.Encode(), 0)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = s.dir.sync(s.dir.join(segmentsName))
	}
	if err == nil {
		size, err = fileSize(f)
	}
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("make %s: %w", segmentLabel(n), err), f.Close())
	}
	return f, size, nil
}

// open opens a segment for reading.
func (s *segments) open(n uint32, access vfs.OpenOption) (vfs.File, error) {
	f, err := s.dir.fs.Open(s.path(n), access)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", segmentLabel(n), err)
	}
	return f, nil
}

// openForWriting opens a segment for reading and writing.
func (s *segments) openForWriting(n uint32) (vfs.File, error) {
	f, err := s.dir.fs.OpenReadWrite(s.path(n), vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", segmentLabel(n), err)
	}
	return f, nil
}

// scan returns a scanner of the file's records from at on, up to the offset end or
// to the file's end, whichever comes first.
func (s *segments) scan(f segment.File, at segment.Location, end int64) (*segment.Scanner, error) {
	return segment.NewScanner(s.codec, f, at, end)
}

// checkHeader reads a segment's file header. Its error wraps [segment.ErrHeader] or
// [ErrNewer], or comes from the disk.
func (s *segments) checkHeader(f segment.File, n uint32) error {
	b := make([]byte, segment.FileHeaderSize)
	if size, err := fileSize(f); err != nil || size < segment.FileHeaderSize {
		return errors.Join(err, segment.ErrHeader)
	}
	if err := segment.ReadFull(f, b, 0); err != nil {
		return err
	}
	h, err := segment.DecodeFileHeader(b, segment.SegmentMagic)
	if err != nil {
		return err
	}
	if h.Number != n || h.Node != s.dir.identity.Node || h.Salt != s.dir.identity.Salt {
		return fmt.Errorf("%w: it is segment %d of node %s", segment.ErrHeader, h.Number, h.Node)
	}
	return nil
}

func fileSize(f segment.File) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// readAt fills b from the location on. Its error is [segment.ErrRecord] if the
// segment ends before b is full.
func (s *segments) readAt(b []byte, at segment.Location) error {
	f, err := s.files.Acquire(at.Segment)
	if err == nil {
		err = errors.Join(segment.ReadFull(f, b, at.Offset), s.files.Release(f))
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.ErrUnexpectedEOF):
		return segment.ErrRecord
	}
	return schemas.Explain(schemas.DiskFailed, "disk-not-read",
		"node {node} cannot read {file} at offset {offset}; check its disk",
		"node", s.dir.identity.Node, "file", segmentLabel(at.Segment), "offset", at.Offset).Because(err)
}

// wasRemoved reports whether a compaction removed the segment.
func (s *segments) wasRemoved(n uint32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.removed.Has(n)
}

func (s *segments) removedCount() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.removed.Count()
}

// remove deletes the file of a segment in which nothing is live. REMOVED names the
// segment before, so that it is not missed after a crash.
func (s *segments) remove(n uint32) error {
	s.mu.Lock()
	all := s.removed.With(n)
	s.mu.Unlock()
	if err := s.writeRemoved(all); err != nil {
		return err
	}
	s.mu.Lock()
	s.removed = all
	s.mu.Unlock()
	// Wait for reads that looked up a location in the segment before.
	s.reading.Lock()
	defer s.reading.Unlock()
	err := errors.Join(s.files.Forget(n), s.dir.fs.Remove(s.path(n)))
	if err == nil {
		err = s.dir.sync(s.dir.join(segmentsName))
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", segmentLabel(n), err)
	}
	return nil
}

// load reads REMOVED and returns the numbers of the segments that there are, ascending. It
// finishes removals that a crash interrupted. With rebuild it rebuilds a damaged REMOVED from
// the segments that there are.
func (s *segments) load(rebuild bool) ([]uint32, error) {
	all, err := segment.List(s.dir.fs, s.dir.join(segmentsName))
	if err != nil {
		return nil, err
	}
	list, err := s.readRemoved()
	if errors.Is(err, segment.ErrHeader) && rebuild {
		list = segment.NumbersBetween(all)
		err = s.writeRemoved(list)
	}
	if err != nil {
		return nil, err
	}
	s.removed = list
	for _, n := range all {
		if list.Has(n) {
			// If it cannot be removed, it is in nobody's way; the next start tries again.
			_ = s.dir.fs.Remove(s.path(n))
		}
	}
	return slices.DeleteFunc(all, list.Has), nil
}

// afterRemoved returns the number after the last one that REMOVED names, or 0. A segment is
// removed only long after its successor was made, so there was a segment of that number.
func (s *segments) afterRemoved() uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.removed) == 0 {
		return 0
	}
	return s.removed.Last() + 1
}

// readRemoved reads REMOVED, if there is one.
func (s *segments) readRemoved() (segment.Removed, error) {
	f, err := s.dir.fs.Open(s.dir.join(removedName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	size, err := fileSize(f)
	var b []byte
	if err == nil {
		b, err = io.ReadAll(io.NewSectionReader(f, 0, size))
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read %s: %w", removedName, err)
	}
	r, err := segment.DecodeRemoved(b, s.dir.identity)
	if errors.Is(err, segment.ErrHeader) {
		err = fmt.Errorf("%w: %s, which tells removed segments from missing ones: %w; open with RebuildIndex to go on with the segments that there are", ErrCorrupt, removedName, err)
	}
	return r, err
}

// writeRemoved writes REMOVED, whole or not at all. The numbers in it are never
// used again.
func (s *segments) writeRemoved(r segment.Removed) error {
	if err := s.dir.replace(removedName, r.Encode(s.dir.identity)); err != nil {
		return fmt.Errorf("write %s: %w", removedName, err)
	}
	return nil
}

// sharedSegment reads a segment that may be removed between two reads.
type sharedSegment struct {
	segments *segments
	number   uint32
}

func (f sharedSegment) ReadAt(b []byte, offset int64) (n int, err error) {
	err = f.use(func(file vfs.File) error {
		n, err = file.ReadAt(b, offset)
		return err
	})
	return n, err
}

func (f sharedSegment) Stat() (info vfs.FileInfo, err error) {
	err = f.use(func(file vfs.File) error {
		info, err = file.Stat()
		return err
	})
	return info, err
}

func (f sharedSegment) use(do func(vfs.File) error) error {
	s := f.segments
	s.reading.RLock()
	defer s.reading.RUnlock()
	file, err := s.files.Acquire(f.number)
	if err != nil {
		return err
	}
	return errors.Join(do(file), s.files.Release(file))
}
