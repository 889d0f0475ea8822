package storage

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"servidor-backup/schemas"
	"servidor-backup/storage/internal/segment"
)

// Problem is one thing that a check or a scrub found wrong.
type Problem struct {
	Segment string // as a path in the store's directory; "" if it was removed
	Offset  int64  // bytes from the start of the segment
	Length  int64  // bytes; 0 if it is not known
	// Vault, ID and Part name the part that must be put again; they are zero if the
	// damage names no part.
	Vault schemas.VaultID
	ID    schemas.ChunkID
	Part  schemas.Part
	What  string // a sentence
}

// String returns the problem in one line.
func (p Problem) String() string {
	where := fmt.Sprintf("%s at offset %d", p.Segment, p.Offset)
	if p.Segment == "" {
		where = "a removed segment"
	}
	if !p.ID.IsZero() {
		where += fmt.Sprintf(", chunk %v", p.ID)
	}
	if p.Part != schemas.Whole {
		where += fmt.Sprintf(", %v", p.Part)
	}
	return where + ": " + p.What
}

// CheckReport is the result of a check.
type CheckReport struct {
	Segments int64
	Records  int64
	Bytes    int64 // of segments
	Dead     int64 // bytes of dead records
	Problems int64
}

// Check reads the whole store: every byte of every segment and every entry of the
// index, as of when it begins. Reads and puts go on meanwhile. It calls found for
// each problem, from the caller's goroutine. A part that it finds damaged is not
// held from then on, so the next Put replaces it.
//
// Check waits until no other check or compaction is under way.
//
// Problems are no error. The error says that the check was cancelled, that the store
// was closed, or that the index cannot be read.
func (s *Store) Check(ctx context.Context, found func(Problem)) (CheckReport, error) {
	if err := s.gate.enter(); err != nil {
		return CheckReport{}, err
	}
	defer s.gate.leave()
	if err := s.gate.beginChore(ctx); err != nil {
		return CheckReport{}, err
	}
	defer s.gate.endChore()
	c := newCheck(ctx, s, found)
	err := c.run()
	return c.report, err
}

// ScrubOptions are the settings of [Store.Scrub]. The zero value is good.
type ScrubOptions struct {
	// From is the segment to begin with, as Progress gave it; 0 is the first.
	From uint32
	// Pace is called after each record with the bytes that were read, and may wait;
	// nil is fine.
	Pace func(ctx context.Context, bytes int64) error
	// Progress is called after each record with the share that is done, from 0 to 1,
	// and with the segment to go on with if the scrub ends here; nil is fine.
	Progress func(done float64, from uint32)
	// Found is called for each problem that was not known before; nil is fine.
	Found func(Problem)
}

// ScrubResult is the result of a scrub.
type ScrubResult struct {
	Records int64
	Bytes   int64 // of records
	Found   int64 // problems that were not known before
}

// Scrub reads the store, segment by segment, as of when the scrub begins. Puts,
// reads, sweeps and compactions go on meanwhile. A part that it finds damaged is not
// held from then on, so the next Put replaces it. So does a part that the disk cannot
// read, unless it can read nothing at all, because the disk may recover.
//
// The error is ctx's, or says that the store was closed or that the index cannot be
// read. What was done before an error stays done.
func (s *Store) Scrub(ctx context.Context, how ScrubOptions) (ScrubResult, error) {
	if err := s.gate.enter(); err != nil {
		return ScrubResult{}, err
	}
	defer s.gate.leave()
	c := newCheck(ctx, s, how.Found)
	if c.found == nil {
		c.found = func(Problem) {}
	}
	err := c.scrubAll(how)
	return ScrubResult{Records: c.report.Records, Bytes: c.report.Bytes, Found: c.report.Problems}, err
}

// The position of the scrub is in a file of its own, SCRUB. If it cannot be read, the
// scrub starts over.

// ScrubPosition returns what was last given to SetScrubPosition: the segment to go
// on with, and when the last whole round ended. Both are zero if nothing is known.
func (s *Store) ScrubPosition() (from uint32, ended time.Time) {
	h, err := s.dir.readHeader(scrubName, segment.ScrubMagic)
	if err != nil {
		return 0, time.Time{}
	}
	if h.Created.Unix() > 0 {
		ended = h.Created
	}
	return h.Number, ended
}

// SetScrubPosition stores how far the scrub has come.
func (s *Store) SetScrubPosition(from uint32, ended time.Time) error {
	if err := s.gate.enter(); err != nil {
		return err
	}
	defer s.gate.leave()
	if ended.IsZero() {
		ended = time.Unix(0, 0)
	}
	return s.dir.writeHeader(scrubName, segment.ScrubMagic, from, ended)
}

// Run is one use of a store by a node, from its start to its end. Each run names the runs before
// it, so a folder that was brought back from an older copy does not know the latest of them.
type Run struct {
	ID     uint64   // random; 0 if the store has never begun a run
	Before []uint64 // the runs before it, the oldest first; at most the last 16
}

// BeginRun begins the run of this store, once: later calls return the same. When it returns without
// an error, the run is on stable storage. After an error, which is the disk's, the run is the last
// one again, and the store serves all the same.
func (s *Store) BeginRun() (Run, error) { return s.run() }

func (s *Store) beginRun() (Run, error) {
	if err := s.gate.enter(); err != nil {
		return Run{}, err
	}
	defer s.gate.leave()
	all, err := s.dir.readRuns()
	if err == nil {
		var id [8]byte
		rand.Read(id[:])
		next := append(all, max(1, binary.LittleEndian.Uint64(id[:])))
		next = next[max(0, len(next)-segment.MaxRuns):]
		if err = s.dir.replace(runsName, segment.EncodeRuns(next, s.dir.identity)); err == nil {
			all = next
		}
	}
	var run Run
	if last := len(all) - 1; last >= 0 {
		run = Run{ID: all[last], Before: all[:last:last]}
	}
	return run, err
}

// Position is how far the store has been written: it grows with every commit, and never falls,
// unless what was on stable storage is not there any more.
func (s *Store) Position() uint64 {
	at := s.index.State().Position
	return uint64(at.Segment)<<32 | uint64(at.Offset)
}

// Compaction are the settings of [Store.Compact]. The zero value is good.
type Compaction struct {
	// Dead is the share of a segment that must be dead before its live records are
	// moved: below it, more bytes would be written than freed. Default: 1/5.
	Dead float64
	// Pace is called with the bytes that are read next, and may wait; nil is fine.
	Pace func(ctx context.Context, bytes int64) error
}

// Compacted is the result of a compaction.
type Compacted struct {
	Segments int64 // removed segments
	Freed    int64 // bytes of their files
	Moved    int64 // bytes of records that were written again
}

// Compact moves the live records of segments of which much is dead to the last
// segment and removes the emptied segments, beginning with those with the fewest
// live bytes. If much of the last segment is dead, it begins another one first. Reads and puts go
// on meanwhile. A damaged record is not moved; its
// part stays known as damaged.
//
// What was done before an error, also ctx's, stays done. A segment that the disk
// cannot read is left alone; the others are compacted all the same.
func (s *Store) Compact(ctx context.Context, how Compaction) (done Compacted, err error) {
	if how.Dead <= 0 {
		how.Dead = 0.2
	}
	if err := s.gate.enter(); err != nil {
		return done, err
	}
	defer s.gate.leave()
	if err := s.gate.beginChore(ctx); err != nil {
		return done, err
	}
	defer s.gate.endChore()
	sealed := s.writer.turn(ctx, func() error { return s.writer.sealLast(how.Dead) })
	candidates, errs := compactable(s, how.Dead)
	errs = append(errs, sealed)
	for _, v := range candidates {
		if err := errors.Join(ctx.Err(), s.gate.stopped(), s.health.refusal()); err != nil {
			return done, errors.Join(append(errs, err)...)
		}
		c := &compaction{s: s, ctx: ctx, how: how, done: &done, n: v.number}
		if err := c.run(v.size); err != nil { // the error may concern this segment alone
			errs = append(errs, err)
		}
	}
	errs = append(errs, s.writer.turn(ctx, s.writer.settleLosses))
	return done, errors.Join(errs...)
}
