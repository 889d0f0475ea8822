package storage

import (
	"errors"
	"fmt"
	"maps"
	"math"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// catchUp brings the index up to date with the segments and gives the writer
// that goes on behind them.
func (s *Store) catchUp() (*writer, error) {
	segments, err := s.present()
	if err != nil {
		return nil, err
	}
	if err := s.dropRemoved(); err != nil {
		return nil, err
	}
	from := s.index.snapshot().position
	if len(segments) == 0 {
		if from.segment > 0 {
			return nil, missing(from.segment)
		}
		return s.begin(1)
	}
	last := segments[len(segments)-1]
	if from.segment > last {
		return nil, missing(last + 1)
	}
	for _, n := range segments {
		if n < from.segment {
			continue
		}
		if n > from.segment {
			from = location{n, fileHeaderSize}
		}
		if n == last {
			break
		}
		if err := s.replaySealed(from); err != nil {
			return nil, err
		}
	}
	return s.replayLast(from)
}

// dropRemoved does what a crash kept a compaction from doing last.
func (s *Store) dropRemoved() error {
	for n := range maps.Clone(s.index.segments) {
		if s.removed.has(n) {
			if err := s.index.dropSegment(n); err != nil {
				return err
			}
		}
	}
	return nil
}

// begin gives a writer on a new segment, or on one whose making was cut short.
func (s *Store) begin(n uint32) (*writer, error) {
	file, size, err := s.createSegment(n)
	if err != nil {
		return nil, err
	}
	w := &writer{s: s, file: file, end: location{n, fileHeaderSize}, size: size, marked: true}
	return w, s.reindex(nil, w.end, 0)
}

// replaySealed indexes a segment that has a successor: all of it was synced, so
// whatever does not check is rot.
func (s *Store) replaySealed(from location) error {
	f, err := s.openSegment(from.segment, vfs.SequentialReadsOption)
	if err != nil {
		return err
	}
	tail, err := s.readTail(f, from)
	if err == nil {
		err = s.reindex(tail.records, location{from.segment, tail.size}, tail.damagedHeader(from))
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("read %s: %w", segmentPlace(from.segment), err)
	}
	return nil
}

// replayLast indexes the segment that was being written and gives its writer.
func (s *Store) replayLast(from location) (w *writer, err error) {
	n := from.segment
	f, err := s.fs.OpenReadWrite(s.segmentPath(n), vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", segmentPlace(n), err)
	}
	tail, err := s.readTail(f, from)
	if err == nil {
		w, err = s.resume(f, from, tail)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read %s: %w", segmentPlace(n), err), f.Close())
	}
	return w, nil
}

// resume decides what of the last segment counts.
func (s *Store) resume(f vfs.File, from location, t *tail) (*writer, error) {
	switch {
	case t.header != nil && from.offset == fileHeaderSize && !t.anyHeader():
		// It was being made: no record was ever acknowledged in it.
		if err := f.Close(); err != nil {
			return nil, err
		}
		return s.begin(from.segment)
	case t.size < from.offset:
		// Its end is gone. Nothing may stand where the index has records.
		if err := errors.Join(s.reindex(nil, from, 1), f.Close()); err != nil {
			return nil, err
		}
		return s.begin(from.segment + 1)
	}
	proven := max(t.proven(), from.offset)
	records, end := cut(t.records, from, proven)
	if err := rewrite(f, proven, end.offset); err != nil {
		return nil, err
	}
	if err := s.reindex(records, end, t.damagedHeader(from)); err != nil {
		return nil, err
	}
	marked := len(records) == 0 || records[len(records)-1].head.kind == kindMark
	return &writer{s: s, file: f, end: end, size: t.size, marked: marked}, nil
}

// tail is what a segment holds from some place on.
type tail struct {
	header  error // what is wrong with the file header, or nil
	records []record
	size    int64 // of the file
}

func (s *Store) readTail(f vfs.File, from location) (*tail, error) {
	t := &tail{}
	t.header = s.checkSegmentHeader(f, from.segment)
	if t.header != nil && !errors.Is(t.header, errHeader) {
		return nil, t.header
	}
	scan, err := s.scan(f, from, math.MaxInt64)
	if err != nil {
		return nil, err
	}
	if t.size, err = fileSize(f); err != nil {
		return nil, err
	}
	for {
		r, ok, err := scan.next()
		if err != nil || !ok {
			return t, err
		}
		t.records = append(t.records, r)
	}
}

func (t *tail) anyHeader() bool {
	for i := range t.records {
		if t.records[i].state != unreadable {
			return true
		}
	}
	return false
}

// damagedHeader counts a damaged file header when the segment is indexed for the
// first time.
func (t *tail) damagedHeader(from location) int64 {
	if t.header != nil && from.offset == fileHeaderSize {
		return 1
	}
	return 0
}

// proven is the offset before which everything had been synced, by what the
// valid headers say.
func (t *tail) proven() (offset int64) {
	for i := range t.records {
		if r := &t.records[i]; r.state != unreadable {
			offset = max(offset, r.head.batchStart)
		}
	}
	return offset
}

// cut drops the torn end: from the first record on that does not check and was
// not proven to be synced.
func cut(records []record, from location, proven int64) ([]record, location) {
	end := from
	for i := range records {
		r := &records[i]
		if r.state != good && r.at.offset >= proven {
			return records[:i], r.at
		}
		end.offset = r.end()
	}
	return records, end
}

// rewrite makes a batch durable whose sync is not proven. Its bytes are right,
// but they may be right in memory only: after a sync that failed the kernel
// takes pages for clean that never reached the disk, and another sync would not
// write them.
func rewrite(f vfs.File, from, to int64) error {
	if from >= to {
		return nil
	}
	b := make([]byte, to-from)
	if err := readFull(f, b, from); err != nil {
		return err
	}
	_, err := f.WriteAt(b, from)
	if err == nil {
		err = f.Sync()
	}
	if vfs.IsNoSpaceError(err) {
		return nil // no sync failed, and reads must go on
	}
	return err
}

// reindex enters records, which end at the given place, and counts the damaged
// stretches among them.
func (s *Store) reindex(records []record, end location, damaged int64) error {
	for {
		part := records[:min(len(records), maxBatchChunks)]
		records = records[len(part):]
		position := end
		if len(records) > 0 {
			position = records[0].at
		}
		if err := s.reindexPart(part, position, damaged); err != nil {
			return err
		}
		if damaged = 0; len(records) == 0 {
			return nil
		}
	}
}

func (s *Store) reindexPart(records []record, end location, damaged int64) error {
	b, err := s.index.newBatch()
	if err != nil {
		return err
	}
	if damaged > 0 {
		b.damage(end.segment, damaged)
	}
	for i := range records {
		r := &records[i]
		if r.state != good && !(r.state == badBody && r.head.isChunk()) {
			b.damage(r.at.segment, 1)
		}
		if r.state == unreadable || !r.head.isChunk() {
			continue
		}
		if err := b.put(r.key(), entryOf(r)); err != nil {
			return errors.Join(err, b.close())
		}
	}
	return b.commit(end)
}
