package storage

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/cockroachdb/pebble/v2/vfs"

	"servidor-backup/schemas"
)

// Problem is one thing that a check found wrong.
type Problem struct {
	Segment string // as a path in the store's directory; "" if it was removed
	Offset  int64  // bytes from the start of the segment
	Length  int64  // bytes; 0 if it is not known
	// Vault, ID and Part name what is to be put again; zero if the damage names
	// nothing.
	Vault schemas.VaultID
	ID    schemas.ChunkID
	Part  schemas.Part
	What  string // a sentence
}

// String is the problem in one line.
func (p Problem) String() string {
	place := fmt.Sprintf("%s at offset %d", p.Segment, p.Offset)
	if p.Segment == "" {
		place = "a removed segment"
	}
	if !p.ID.IsZero() {
		place += fmt.Sprintf(", chunk %v", p.ID)
	}
	if p.Part != schemas.Whole {
		place += fmt.Sprintf(", %v", p.Part)
	}
	return place + ": " + p.What
}

// CheckReport is what a check read and found.
type CheckReport struct {
	Segments int64
	Records  int64
	Bytes    int64 // of segments
	Dead     int64 // bytes of records whose chunk was forgotten or is elsewhere
	Problems int64
}

// Check reads the whole store back: every byte of every segment and every entry
// of the index, as they are when it begins. Reads and puts go on meanwhile. It
// calls found for each problem, from the goroutine of the caller; a chunk that
// it finds damaged is not held from then on, so the next Put replaces it.
//
// It waits for another check, or a compaction, to end.
//
// The error is not about problems: the check was cancelled, the store closed,
// or the index cannot be read.
func (s *Store) Check(ctx context.Context, found func(Problem)) (CheckReport, error) {
	if err := s.enter(); err != nil {
		return CheckReport{}, err
	}
	defer s.leave()
	if err := s.beginChore(ctx); err != nil {
		return CheckReport{}, err
	}
	defer s.endChore()
	c := &check{s: s, ctx: ctx, found: found, until: s.index.snapshot().position, told: map[indexKey]bool{}}
	for n := uint32(1); n <= c.until.segment; n++ {
		if s.wasRemoved(n) {
			continue
		}
		if err := c.segment(n); err != nil {
			return c.report, err
		}
	}
	if err := c.entries(); err != nil {
		return c.report, err
	}
	c.unclaimed()
	return c.report, nil
}

type check struct {
	s      *Store
	ctx    context.Context
	found  func(Problem)
	until  location // where the store ended when the check began
	report CheckReport

	sound int64 // records whose entry points to them and knows of no damage
	live  int64 // bytes of records that entries point to
	told  map[indexKey]bool
	holes []hole
	end   int64 // of the segment that is being read
	// news is set if damage that is known already is not told of.
	news bool
	// after is called after each record with the segment's end, unless nil.
	after func(r *record, end int64) error
}

// hole is a stretch of bytes that are no valid record. What stood there may be
// known from the index, as a damaged chunk or as a dead record.
type hole struct {
	at          location
	size, known int64
	// inner: what is behind it in the segment was read, so it is not the disk as a whole
	// that did not read.
	inner bool
}

// goOn is an error when the check is to stop.
func (c *check) goOn() error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	return c.s.stopped()
}

func (c *check) tell(p Problem) {
	c.report.Problems++
	c.found(p)
}

// tellChunk tells of a chunk's record, once.
func (c *check) tellChunk(k indexKey, e *entry, what string) {
	if c.told[k] {
		return
	}
	c.told[k] = true
	p := Problem{Offset: e.offset, Length: e.size(), Vault: k.vault(), ID: k.id(), Part: k.part(), What: what}
	if e.segment != 0 {
		p.Segment = segmentPlace(e.segment)
	}
	c.tell(p)
	if h := c.holeAt(e.location); h != nil {
		h.known += e.size()
	}
}

// holeAt is the hole in which a place is, or nil.
func (c *check) holeAt(at location) *hole {
	for i := range c.holes {
		h := &c.holes[i]
		if h.at.segment == at.segment && h.at.offset <= at.offset && at.offset < h.at.offset+h.size {
			return h
		}
	}
	return nil
}

// bad tells of a part's record that is damaged; it is not held from then on.
func (c *check) bad(k indexKey, e *entry, what string) error {
	if c.news && e.corrupt {
		return nil
	}
	c.tellChunk(k, e, what)
	return c.s.index.markCorrupt(&k, e.location)
}

// segment checks one segment's bytes.
func (c *check) segment(n uint32) error {
	c.report.Segments++
	f, err := c.s.openSegment(n, vfs.SequentialReadsOption)
	if err != nil {
		c.tell(Problem{Segment: segmentPlace(n), What: err.Error()})
		return nil
	}
	err = c.bytes(f, n)
	return errors.Join(err, f.Close())
}

// bytes checks the file of the segment.
func (c *check) bytes(f segmentFile, n uint32) error {
	tell := func(offset, length int64, what string) {
		if !c.s.wasRemoved(n) {
			c.tell(Problem{Segment: segmentPlace(n), Offset: offset, Length: length, What: what})
		}
	}
	if err := c.s.checkSegmentHeader(f, n); err != nil {
		tell(0, fileHeaderSize, err.Error())
	}
	end := int64(math.MaxInt64)
	if n == c.until.segment {
		end = c.until.offset
	}
	scan, err := c.s.scan(f, location{n, fileHeaderSize}, end)
	if err != nil {
		tell(0, 0, err.Error())
		return nil
	}
	if n == c.until.segment && scan.end < end {
		tell(scan.end, end-scan.end, "the end of the file is gone")
	}
	scan.skipBad, c.end = true, scan.end
	for {
		if err := c.goOn(); err != nil {
			return err
		}
		r, ok, err := scan.next()
		if err != nil || !ok {
			return err
		}
		if err := c.record(&r); err != nil {
			return err
		}
		if c.after != nil {
			if err := c.after(&r, scan.end); err != nil {
				return err
			}
		}
	}
}

// record checks one record against the index.
func (c *check) record(r *record) error {
	c.report.Records++
	c.report.Bytes += r.size
	if r.state == unreadable || r.state == badBody && !r.head.isChunk() {
		return c.hole(r)
	}
	if !r.head.isChunk() {
		return nil
	}
	k := r.key()
	e, ok, err := c.s.index.get(&k)
	switch {
	case err != nil:
		return err
	case !ok:
		dead, err := c.s.index.deadBytes(r.at, location{r.at.segment, r.end()})
		if err != nil || dead > 0 || c.s.wasRemoved(r.at.segment) {
			c.report.Dead += dead
			return err
		}
		e := entryOf(r)
		c.tellChunk(k, &e, "the index does not know it; make the index anew")
	case e.location != r.at:
		c.report.Dead += r.size
		return nil
	case r.state == badBody:
		c.live += e.size()
		return c.bad(k, &e, "the bytes do not match their checksum")
	case !e.corrupt:
		c.sound++
	}
	c.live += e.size()
	return nil
}

func (c *check) hole(r *record) error {
	dead, err := c.s.index.deadBytes(r.at, location{r.at.segment, r.end()})
	c.report.Dead += dead
	c.holes = append(c.holes, hole{at: r.at, size: r.size, known: dead, inner: r.end() < c.end})
	return err
}

// entries checks that every entry points to a sound record of its chunk. Each
// sound record was counted with its entry, so if there are as many entries, all
// of them were seen; only otherwise each is followed to its place.
func (c *check) entries() error {
	var live int64
	err := c.eachEntry(func(k indexKey, e entry) error {
		if e.corrupt {
			c.tellChunk(k, &e, "it is known to be damaged and was not put again yet")
		} else {
			live++
		}
		return nil
	})
	if err != nil || live == c.sound {
		return err
	}
	return c.eachEntry(func(k indexKey, e entry) error {
		if e.corrupt {
			return nil
		}
		return c.follow(k, &e)
	})
}

// follow checks that there is a record at the entry's place.
func (c *check) follow(k indexKey, e *entry) error {
	c.s.moving.RLock()
	_, err := c.s.readEntry(&k, e, false)
	c.s.moving.RUnlock()
	switch {
	case errors.Is(err, errRecord):
		return c.bad(k, e, "there is no such record at its place")
	case err == nil || c.s.wasRemoved(e.segment):
		return nil
	}
	if h := c.holeAt(e.location); h != nil && h.inner {
		return c.bad(k, e, err.Error())
	}
	c.tellChunk(k, e, err.Error())
	return nil
}

// eachEntry calls f with the entries that were there when the check began.
func (c *check) eachEntry(f func(indexKey, entry) error) error {
	return c.s.index.each(func(k indexKey, e entry) error {
		if err := c.goOn(); err != nil {
			return err
		}
		if !e.before(c.until) {
			return nil
		}
		return f(k, e)
	})
}

// unclaimed tells of the damaged bytes that belong to no chunk the index knows.
func (c *check) unclaimed() {
	for _, h := range c.holes {
		if h.known >= h.size {
			continue
		}
		c.tell(Problem{
			Segment: segmentPlace(h.at.segment), Offset: h.at.offset, Length: h.size,
			What: "these bytes are no record, and no chunk of the index stood here",
		})
	}
}
