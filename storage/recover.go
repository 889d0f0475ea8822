package storage

import (
	"errors"
	"fmt"
	"math"

	"github.com/cockroachdb/pebble/v2/vfs"

	"servidor-backup/storage/internal/index"
	"servidor-backup/storage/internal/segment"
)

// recovery brings the index up to date with the segments and gives the writer the
// segment that it goes on with.
type recovery struct {
	segments *segments
	index    *index.Index
	writer   *writer
	readOnly bool
	lost     map[uint32]error // why segments cannot be used, or not wholly
}

func recoverStore(s *Store) error {
	r := &recovery{segments: s.segments, index: s.index, writer: s.writer, readOnly: s.opt.ReadOnly, lost: map[uint32]error{}}
	s.lost = r.lost
	present, err := r.segments.load(s.opt.RebuildIndex)
	if err != nil {
		return err
	}
	if err := r.dropRemoved(); err != nil {
		return err
	}
	f, err := r.examine(present)
	if err != nil {
		return err
	}
	if err := errors.Join(r.lose(f), r.regain(f)); err != nil {
		return err
	}
	return r.catchUp(f)
}

// dropRemoved makes the index forget removed segments, in case a crash interrupted a
// compaction before its last step.
func (r *recovery) dropRemoved() error {
	for _, n := range r.index.Segments() {
		if r.segments.wasRemoved(n) {
			if err := r.index.DropSegment(n); err != nil {
				return err
			}
		}
	}
	return nil
}

// catchUp indexes what the segments hold behind the index's position.
func (r *recovery) catchUp(f *found) error {
	from := r.index.State().Position
	for _, n := range f.usable {
		if n < from.Segment {
			continue
		}
		if n > from.Segment {
			from = segment.Location{Segment: n, Offset: segment.FileHeaderSize}
		}
		if n == f.top {
			return r.indexLast(from)
		}
		if err := r.indexFinished(from); err != nil {
			return err
		}
	}
	return r.beginSegment(f.top + 1) // there is no segment yet, or the newest one is lost
}

// beginSegment makes the writer begin a new segment, or one whose creation was
// interrupted.
func (r *recovery) beginSegment(n uint32) error {
	if r.readOnly {
		return nil
	}
	file, size, err := r.segments.create(n)
	if err != nil {
		return err
	}
	end := segment.Location{Segment: n, Offset: segment.FileHeaderSize}
	r.writer.use(file, end, size, true)
	return r.enter(nil, end, 0)
}

// indexFinished indexes a segment that has a successor. All of it was synced, so
// every record that does not match its checksums is damaged. If it cannot be read, it is lost,
// wholly or in part.
func (r *recovery) indexFinished(from segment.Location) error {
	t, err := r.readFinished(from)
	switch {
	case isPassing(err) || errors.Is(err, ErrNewer):
		return err
	case err != nil:
		return r.loseOne(from.Segment, err)
	}
	if t.unread != nil {
		r.lost[from.Segment] = fmt.Errorf("a part of it cannot be read: %w", t.unread)
	}
	if err := r.enter(t.records, segment.Location{Segment: from.Segment, Offset: t.size}, t.damagedHeader(from)); err != nil {
		return err
	}
	return r.index.SetLost(from.Segment, t.state())
}

// readFinished reads a segment that is not written any more.
func (r *recovery) readFinished(from segment.Location) (*tail, error) {
	f, err := r.segments.open(from.Segment, vfs.SequentialReadsOption)
	if err != nil {
		return nil, err
	}
	t, err := r.readTail(f, from, true)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read %s: %w", segmentLabel(from.Segment), err)
	}
	return t, nil
}

// indexLast indexes the segment that was being written, and makes the writer go on with it. If
// it cannot be read, or not be written, the writer goes on with the next one: bytes that the
// disk does not read now must not be taken for an end that was never written.
func (r *recovery) indexLast(from segment.Location) error {
	if r.readOnly {
		return r.readLast(from)
	}
	f, err := r.segments.openForWriting(from.Segment)
	if err != nil {
		return r.skipLast(from, err)
	}
	tail, err := r.readTail(f, from, false)
	if err != nil {
		return r.skipLast(from, errors.Join(err, f.Close()))
	}
	if err := r.resume(f, from, tail); err != nil {
		return errors.Join(fmt.Errorf("read %s: %w", segmentLabel(from.Segment), err), f.Close())
	}
	return nil
}

// readLast indexes the last segment of a store that is not written. Its torn end does not count.
func (r *recovery) readLast(from segment.Location) error {
	t, err := r.readFinished(from)
	switch {
	case isPassing(err) || errors.Is(err, ErrNewer):
		return err
	case err != nil:
		return r.loseOne(from.Segment, err)
	}
	records, end := cutTorn(t.records, from, max(t.proven(), from.Offset))
	return r.enter(records, end, 0)
}

// skipLast indexes what can be read of the segment that was being written, and makes the writer
// begin the next one.
func (r *recovery) skipLast(from segment.Location, why error) error {
	if isPassing(why) || errors.Is(why, ErrNewer) {
		return fmt.Errorf("read %s: %w", segmentLabel(from.Segment), why)
	}
	if err := r.indexFinished(from); err != nil {
		return err
	}
	return r.beginSegment(from.Segment + 1)
}

// resume decides which records of the last segment count. The writer owns f
// afterwards, or f is closed, unless there is an error.
func (r *recovery) resume(f vfs.File, from segment.Location, t *tail) error {
	switch {
	case t.header != nil && from.Offset == segment.FileHeaderSize && !t.anyHeader():
		// The segment was being made: no record in it was ever acknowledged.
		if err := f.Close(); err != nil {
			return err
		}
		return r.beginSegment(from.Segment)
	case t.size < from.Offset:
		// The end of the segment is missing. Nothing may be written where the index
		// has records.
		if err := errors.Join(r.enter(nil, from, 1), f.Close()); err != nil {
			return err
		}
		return r.beginSegment(from.Segment + 1)
	}
	proven := max(t.proven(), from.Offset)
	records, end := cutTorn(t.records, from, proven)
	if err := rewrite(f, proven, end.Offset); err != nil {
		return err
	}
	if err := r.enter(records, end, t.damagedHeader(from)); err != nil {
		return err
	}
	marked := len(records) == 0 || records[len(records)-1].Head.Kind == segment.KindMark
	r.writer.use(f, end, t.size, marked)
	return nil
}

// tail is the content of a segment from some offset on.
type tail struct {
	header  error // what is wrong with the file header, or nil
	records []segment.Record
	size    int64 // of the file, in bytes
	unread  error // why the disk could not read all of it, or nil
}

// state returns whether a part of the segment is lost.
func (t *tail) state() index.Lost {
	if t.unread != nil {
		return index.LostPart
	}
	return 0
}

// readTail reads a segment from some offset on. With skip, bytes that the disk cannot read
// count as damaged.
func (r *recovery) readTail(f vfs.File, from segment.Location, skip bool) (*tail, error) {
	t := &tail{}
	t.header = r.segments.checkHeader(f, from.Segment)
	if t.header != nil && !errors.Is(t.header, segment.ErrHeader) {
		return nil, t.header
	}
	scan, err := r.segments.scan(f, from, math.MaxInt64)
	if err != nil {
		return nil, err
	}
	if t.size, err = fileSize(f); err != nil {
		return nil, err
	}
	scan.SkipUnreadable = skip
	for {
		record, ok, err := scan.Next()
		if t.unread = scan.Unread(); isPassing(t.unread) {
			err = t.unread
		}
		if err != nil || !ok {
			return t, err
		}
		t.records = append(t.records, record)
	}
}

// anyHeader reports whether there is a valid record header.
func (t *tail) anyHeader() bool {
	for i := range t.records {
		if t.records[i].State != segment.Unreadable {
			return true
		}
	}
	return false
}

// damagedHeader returns 1 if the file header is damaged and the segment is indexed
// for the first time, and 0 otherwise.
func (t *tail) damagedHeader(from segment.Location) int64 {
	if t.header != nil && from.Offset == segment.FileHeaderSize {
		return 1
	}
	return 0
}

// proven returns the offset before which everything had been synced, as the valid
// headers prove.
func (t *tail) proven() (offset int64) {
	for i := range t.records {
		if r := &t.records[i]; r.State != segment.Unreadable {
			offset = max(offset, r.Head.BatchStart)
		}
	}
	return offset
}

// cutTorn drops the torn end: all records from the first one on that does not match
// its checksums and is not proven to have been synced. It returns the other records
// and their end.
func cutTorn(records []segment.Record, from segment.Location, proven int64) ([]segment.Record, segment.Location) {
	end := from
	for i := range records {
		r := &records[i]
		if r.State != segment.Good && r.At.Offset >= proven {
			return records[:i], r.At
		}
		end.Offset = r.End()
	}
	return records, end
}

// rewrite makes a batch durable whose sync is not proven. Its bytes read correctly,
// but perhaps only from memory: after a failed sync the kernel treats pages as clean
// that never reached the disk, and another sync would not write them.
func rewrite(f vfs.File, from, to int64) error {
	if from >= to {
		return nil
	}
	b := make([]byte, to-from)
	if err := segment.ReadFull(f, b, from); err != nil {
		return err
	}
	_, err := f.WriteAt(b, from)
	if err == nil {
		err = f.Sync()
	}
	if vfs.IsNoSpaceError(err) {
		return nil // no sync has failed, and a full disk must still be readable
	}
	return err
}

// enter enters records, which end at the given location, into the index. It adds
// damaged to the damaged stretches that it finds among them.
func (r *recovery) enter(records []segment.Record, end segment.Location, damaged int64) error {
	for {
		batch := records[:min(len(records), maxBatchChunks)]
		records = records[len(batch):]
		position := end
		if len(records) > 0 {
			position = records[0].At
		}
		if err := r.enterBatch(batch, position, damaged); err != nil {
			return err
		}
		if damaged = 0; len(records) == 0 {
			return nil
		}
	}
}

func (r *recovery) enterBatch(records []segment.Record, end segment.Location, damaged int64) error {
	b, err := r.index.NewBatch()
	if err != nil {
		return err
	}
	if damaged > 0 {
		b.AddDamaged(end.Segment, damaged)
	}
	for i := range records {
		r := &records[i]
		if r.State != segment.Good && !(r.State == segment.BadBody && r.Head.IsChunk()) {
			b.AddDamaged(r.At.Segment, 1)
		}
		if r.State == segment.Unreadable || !r.Head.IsChunk() {
			continue
		}
		if err := b.Put(index.RecordKey(&r.Head), index.RecordEntry(r)); err != nil {
			return errors.Join(err, b.Close())
		}
	}
	return b.Commit(end)
}
