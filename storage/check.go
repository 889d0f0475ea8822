package storage

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/cockroachdb/pebble/v2/vfs"

	"servidor-backup/storage/internal/index"
	"servidor-backup/storage/internal/segment"
)

// check compares segments with the index, for Store.Check and Store.Scrub.
type check struct {
	s      *Store
	ctx    context.Context
	found  func(Problem)
	until  segment.Location // the end of the store when the check began
	report CheckReport

	unread []unread
	reads  bool // a sound record was read

	sound   int64 // records to which entries point that know of no damage
	live    int64 // bytes of live records
	emitted map[index.Key]bool
	holes   []hole
	end     int64 // of the segment that is being read

	onlyNew bool // known damage is not reported
	// after is called after each record with the segment's end, unless it is nil.
	after func(r *segment.Record, end int64) error
}

// hole is a stretch of bytes that are no valid record. The index may know what was
// there: a damaged part or a dead record.
type hole struct {
	at          segment.Location
	size, known int64
	// inner is set if bytes behind the hole in its segment were read: the disk reads
	// the segment, but not the hole.
	inner bool
}

func newCheck(ctx context.Context, s *Store, found func(Problem)) *check {
	return &check{s: s, ctx: ctx, found: found, until: s.index.State().Position, emitted: map[index.Key]bool{}}
}

// run checks the whole store.
func (c *check) run() error {
	for n := uint32(1); n <= c.until.Segment; n++ {
		if c.s.segments.wasRemoved(n) {
			continue
		}
		if err := c.segment(n); err != nil {
			return err
		}
	}
	if err := c.entries(); err != nil {
		return err
	}
	c.reportUnclaimed()
	return c.markUnread()
}

// stopped returns an error when the check must stop.
func (c *check) stopped() error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	return c.s.gate.stopped()
}

func (c *check) emit(p Problem) {
	c.report.Problems++
	c.found(p)
}

// emitPart reports a problem with a part's record, once for each part.
func (c *check) emitPart(k index.Key, e *index.Entry, what string) {
	if c.emitted[k] {
		return
	}
	c.emitted[k] = true
	p := Problem{Offset: e.Offset, Length: e.Size(), Vault: k.Vault(), ID: k.ID(), Part: k.Part(), What: what}
	if e.Segment != 0 {
		p.Segment = segmentLabel(e.Segment)
	}
	c.emit(p)
	if h := c.holeAt(e.Location); h != nil {
		h.known += e.Size()
	}
}

// holeAt returns the hole that contains the location, or nil.
func (c *check) holeAt(at segment.Location) *hole {
	for i := range c.holes {
		h := &c.holes[i]
		if h.at.Segment == at.Segment && h.at.Offset <= at.Offset && at.Offset < h.at.Offset+h.size {
			return h
		}
	}
	return nil
}

// corrupt reports that a part's record is damaged. The part is not held from then on.
func (c *check) corrupt(k index.Key, e *index.Entry, what string) error {
	if c.onlyNew && e.Corrupt {
		return nil
	}
	c.emitPart(k, e, what)
	return c.s.index.MarkCorrupt(&k, e.Location)
}

// segment checks the bytes of one segment.
func (c *check) segment(n uint32) error {
	if lost := c.s.index.LostState(n); lost&index.LostWhole != 0 {
		if lost&index.LostSettled == 0 {
			c.emit(Problem{Segment: segmentLabel(n), What: fmt.Sprintf("the segment is lost: %v", c.s.lost[n])})
		}
		return nil
	}
	c.report.Segments++
	f, err := c.s.segments.open(n, vfs.SequentialReadsOption)
	if err != nil {
		c.emit(Problem{Segment: segmentLabel(n), What: err.Error()})
		return nil
	}
	err = c.bytes(f, n)
	return errors.Join(err, f.Close())
}

// bytes checks the bytes of the segment's file.
func (c *check) bytes(f segment.File, n uint32) error {
	emit := func(offset, length int64, what string) {
		if !c.s.segments.wasRemoved(n) {
			c.emit(Problem{Segment: segmentLabel(n), Offset: offset, Length: length, What: what})
		}
	}
	if err := c.s.segments.checkHeader(f, n); err != nil {
		emit(0, segment.FileHeaderSize, err.Error())
	}
	end := int64(math.MaxInt64)
	if n == c.until.Segment {
		end = c.until.Offset
	}
	scan, err := c.s.segments.scan(f, segment.Location{Segment: n, Offset: segment.FileHeaderSize}, end)
	if err != nil {
		emit(0, 0, err.Error())
		return nil
	}
	if n == c.until.Segment && scan.End() < end {
		emit(scan.End(), end-scan.End(), "the end of the file is missing")
	}
	scan.SkipUnreadable, c.end = true, scan.End()
	for {
		if err := c.stopped(); err != nil {
			return err
		}
		r, ok, err := scan.Next()
		if err != nil || !ok {
			return err
		}
		if err := c.record(&r); err != nil {
			return err
		}
		if c.after != nil {
			if err := c.after(&r, c.end); err != nil {
				return err
			}
		}
	}
}

// record compares one record with the index.
func (c *check) record(r *segment.Record) error {
	c.report.Records++
	c.report.Bytes += r.Size
	if r.State == segment.Unreadable || r.State == segment.BadBody && !r.Head.IsChunk() {
		return c.addHole(r)
	}
	c.reads = true
	if !r.Head.IsChunk() {
		return nil
	}
	k := index.RecordKey(&r.Head)
	e, ok, err := c.s.index.Get(&k)
	switch {
	case err != nil:
		return err
	case !ok:
		dead, err := c.deadBytes(r)
		if err != nil || dead > 0 || c.s.segments.wasRemoved(r.At.Segment) {
			c.report.Dead += dead
			return err
		}
		e := index.RecordEntry(r)
		c.emitPart(k, &e, "the index does not know it; rebuild the index")
	case e.Location != r.At:
		c.report.Dead += r.Size
		return nil
	case r.State == segment.BadBody:
		c.live += e.Size()
		return c.corrupt(k, &e, "the bytes do not match their checksum")
	case !e.Corrupt:
		c.sound++
	case e.Void: // the bytes are those that were put
	default: // the disk did not read it before
		if err := c.s.index.MarkSound(&k, e.Location); err != nil {
			return err
		}
		c.sound++
	}
	c.live += e.Size()
	return nil
}

func (c *check) addHole(r *segment.Record) error {
	dead, err := c.deadBytes(r)
	c.report.Dead += dead
	c.holes = append(c.holes, hole{at: r.At, size: r.Size, known: dead, inner: r.End() < c.end})
	return err
}

// deadBytes returns the length of the dead records within the record's bytes.
func (c *check) deadBytes(r *segment.Record) (int64, error) {
	return c.s.index.DeadBytes(r.At, segment.Location{Segment: r.At.Segment, Offset: r.End()})
}

// entries checks that every entry points to a sound record of its part. Each sound
// record was counted together with its entry. If there are as many entries, all of
// them were seen; otherwise each entry is followed to its location.
func (c *check) entries() error {
	var live int64
	err := c.eachEntry(func(k index.Key, e index.Entry) error {
		switch {
		case e.Void:
			c.emitPart(k, &e, "a client has found that it does not open, and it was not put again yet")
		case e.Corrupt:
			c.emitPart(k, &e, "it is known to be damaged and was not put again yet")
		default:
			live++
		}
		return nil
	})
	if err != nil || live == c.sound {
		return err
	}
	return c.eachEntry(func(k index.Key, e index.Entry) error {
		if e.Corrupt {
			return nil
		}
		return c.follow(k, &e)
	})
}

// follow checks that there is a record at the entry's location.
func (c *check) follow(k index.Key, e *index.Entry) error {
	c.s.segments.reading.RLock()
	_, err := c.s.reader.readEntry(&k, e, false)
	c.s.segments.reading.RUnlock()
	switch {
	case errors.Is(err, segment.ErrRecord):
		return c.corrupt(k, e, "its record is not at its location")
	case err == nil || c.s.segments.wasRemoved(e.Segment):
		return nil
	}
	if h := c.holeAt(e.Location); h != nil && h.inner {
		return c.corrupt(k, e, err.Error())
	}
	c.emitPart(k, e, err.Error())
	if !isPassing(err) {
		c.unread = append(c.unread, unread{k, e.Location})
	}
	return nil
}

// unread is a part that the disk did not read, nor anything behind it in its segment.
type unread struct {
	key index.Key
	at  segment.Location
}

// markUnread makes the parts damaged that the disk did not read, if it read other records. A
// disk that reads nothing at all says nothing about them: it may recover.
func (c *check) markUnread() error {
	if !c.reads {
		return nil
	}
	for _, u := range c.unread {
		if err := c.s.index.MarkCorrupt(&u.key, u.at); err != nil {
			return err
		}
	}
	return nil
}

// eachEntry calls visit with the entries of records that were written before the
// check began.
func (c *check) eachEntry(visit func(index.Key, index.Entry) error) error {
	return c.s.index.Each(func(k index.Key, e index.Entry) error {
		if err := c.stopped(); err != nil {
			return err
		}
		if !e.Before(c.until) {
			return nil
		}
		return visit(k, e)
	})
}

// reportUnclaimed reports the damaged bytes that belong to no part the index knows.
func (c *check) reportUnclaimed() {
	for _, h := range c.holes {
		if h.known >= h.size {
			continue
		}
		c.emit(Problem{
			Segment: segmentLabel(h.at.Segment), Offset: h.at.Offset, Length: h.size,
			What: "these bytes are no record, and the index knows no chunk here",
		})
	}
}

// scrubAll checks segment after segment, from how.From on.
func (c *check) scrubAll(how ScrubOptions) error {
	c.onlyNew = true
	for n := max(how.From, 1); n <= c.until.Segment; n++ {
		c.after = func(r *segment.Record, end int64) error {
			if how.Progress != nil {
				how.Progress((float64(n-1)+float64(r.End())/float64(end))/float64(c.until.Segment), n)
			}
			if how.Pace != nil {
				return how.Pace(c.ctx, r.Size)
			}
			return nil
		}
		if err := c.scrub(n); err != nil {
			return err
		}
	}
	return c.markUnread()
}

// scrub checks one segment. If it finds fewer bytes of live records than the index
// counted before, some entries point to locations without a record. Then it follows
// every entry that still points into the segment.
func (c *check) scrub(n uint32) error {
	if c.s.segments.wasRemoved(n) || c.s.index.LostState(n)&index.LostWhole != 0 {
		return nil
	}
	before := c.s.index.Usage(n).Live
	c.live, c.holes = 0, nil
	if err := c.bytes(sharedSegment{c.s.segments, n}, n); err != nil || c.live >= before {
		return err
	}
	return c.eachEntry(func(k index.Key, e index.Entry) error {
		if e.Segment != n || e.Corrupt {
			return nil
		}
		return c.follow(k, &e)
	})
}
