package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"servidor-backup/schemas"
	"servidor-backup/storage/internal/index"
	"servidor-backup/storage/internal/segment"
)

// candidate is a segment that is worth compacting.
type candidate struct {
	number     uint32
	size, live int64 // bytes
}

// sealLast ends the last segment and begins the next one, if at least the share dead of it is
// dead, and so many bytes that a compaction is worth it. Otherwise a store of one segment would
// never shrink. The next segment is made first, as ever: REMOVED never names the last one.
func (w *writer) sealLast(dead float64) error {
	if err := w.health.refusal(); err != nil || w.file == nil {
		return err
	}
	n := w.end.Segment
	bytes, err := w.index.DeadBytes(segment.Location{Segment: n}, segment.Location{Segment: n + 1})
	if err != nil || bytes < w.segmentSize/leastDead || float64(bytes) < dead*float64(w.size) {
		return err
	}
	if err := w.finishSegment(); err != nil {
		return w.answer(err)
	}
	if err := w.beginSegment(); err != nil {
		return w.answer(err)
	}
	position, err := w.index.NewBatch()
	if err != nil {
		return err
	}
	return position.Commit(w.end)
}

// leastDead is the share of a whole segment, as a divisor, that must be dead in the last one
// before it is compacted: 1 MiB of 256.
const leastDead = 256

// checkSpace refuses to empty a segment whose live records do not fit on the disk beside it:
// moving only some of them would use up the reserve and free nothing.
func (c *compaction) checkSpace(live int64) error {
	if live == 0 {
		return nil
	}
	return c.s.dir.checkSpace(live+live/8, c.s.writer.moveReserve())
}

// moveReserve returns the bytes that moving records leaves free: half of the reserve, but no
// more than what the index and those who share the disk need.
func (w *writer) moveReserve() int64 { return min(w.reserve/2, 32<<20) }

// compactable returns the segments of which at least the share dead is dead, those
// with the fewest live bytes first: they need the least space. The last segment, which the
// writer appends to, is never among them, nor is one of which something is lost, because it may be readable
// again one day. errs are of segments that could not be examined.
func compactable(s *Store, dead float64) (all []candidate, errs []error) {
	for n := uint32(1); n < s.index.State().Position.Segment; n++ {
		if s.segments.wasRemoved(n) || s.index.LostState(n) != 0 {
			continue
		}
		info, err := s.dir.fs.Stat(s.segments.path(n))
		if err != nil {
			errs = append(errs, fmt.Errorf("examine %s: %w", segmentLabel(n), err))
			continue
		}
		c := candidate{n, info.Size(), s.index.Usage(n).Live}
		if float64(c.size-c.live) >= dead*float64(c.size) {
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b candidate) int { return cmp.Compare(a.live, b.live) })
	return all, errs
}

// errUnsteady keeps a segment of which two reads give different results.
var errUnsteady = errors.New("the disk does not read it reliably: the segment stays")

// compaction empties one segment.
type compaction struct {
	s    *Store
	ctx  context.Context
	how  Compaction
	done *Compacted
	n    uint32

	moves []move
	bytes int64 // of moves
}

// move is a record on its way to the end of the store.
type move struct {
	from  segment.Location
	head  segment.Header
	chunk schemas.Chunk
}

// run empties and removes the segment, whose file has size bytes. No chunk is lost
// because of this order:
//
//  1. The live records are appended to the last segment and synced, and the index
//     points there, as with any put.
//  2. The index itself is on stable storage, so that no entry points into the
//     segment after a crash.
//  3. REMOVED, also on stable storage, says that the segment is not missing.
//  4. No read uses the segment any more, and the file is removed.
func (c *compaction) run(size int64) error {
	s := c.s
	live := s.index.Usage(c.n).Live
	if err := c.checkSpace(live); err != nil {
		return fmt.Errorf("move the live records of %s: %w", segmentLabel(c.n), err)
	}
	if live > 0 {
		if err := c.moveAll(); err != nil {
			return fmt.Errorf("move the live records of %s: %w", segmentLabel(c.n), err)
		}
	}
	if live := s.index.Usage(c.n).Live; live != 0 {
		return fmt.Errorf("%d bytes of %s are still in use", live, segmentLabel(c.n))
	}
	if err := c.flushIndex(); err != nil {
		return fmt.Errorf("flush the index: %w", err)
	}
	if err := s.health.refusal(); err != nil {
		return err
	}
	if err := s.segments.remove(c.n); err != nil {
		return err
	}
	if err := s.writer.turn(c.ctx, func() error { return s.index.DropSegment(c.n) }); err != nil {
		return err
	}
	c.done.Segments++
	c.done.Freed += size
	return nil
}

// flushIndex waits until the index is on stable storage. Pebble retries forever, so
// flushIndex gives up when the store has failed.
func (c *compaction) flushIndex() error {
	flushed, err := c.s.index.StartFlush()
	if err != nil {
		return err
	}
	again := time.NewTicker(time.Second)
	defer again.Stop()
	for {
		select {
		case <-flushed:
			return nil
		case <-c.ctx.Done():
			return c.ctx.Err()
		case <-c.s.gate.stop:
			return c.s.gate.closedError()
		case <-again.C:
			if err := c.s.health.refusal(); err != nil {
				return err
			}
		}
	}
}

// moveAll moves the live records of the segment.
func (c *compaction) moveAll() error {
	f, err := c.s.segments.open(c.n, vfs.SequentialReadsOption)
	if err != nil {
		return err
	}
	if err = errors.Join(c.read(f), f.Close()); err != nil {
		return err
	}
	if c.s.index.Usage(c.n).Live == 0 {
		return nil
	}
	return c.detachDamaged()
}

// detachDamaged handles the entries that still point into the segment when all sound
// records are moved: their records are damaged, unless the disk did not read them
// this time.
func (c *compaction) detachDamaged() error {
	var damaged []index.Key
	err := c.s.index.Each(func(k index.Key, e index.Entry) error {
		if e.Segment == c.n {
			if _, err := c.s.reader.readEntry(&k, &e, true); !errors.Is(err, segment.ErrRecord) {
				return errors.Join(errUnsteady, err)
			}
			damaged = append(damaged, k)
		}
		return errors.Join(c.ctx.Err(), c.s.gate.stopped())
	})
	if err != nil {
		return err
	}
	return c.s.writer.turn(c.ctx, func() error { return c.s.index.Detach(damaged, c.n) })
}

// read moves the segment's sound and live records.
func (c *compaction) read(f vfs.File) error {
	scan, err := c.s.segments.scan(f, segment.Location{Segment: c.n, Offset: segment.FileHeaderSize}, math.MaxInt64)
	if err != nil {
		return err
	}
	scan.SkipUnreadable = true
	for {
		if err := errors.Join(c.ctx.Err(), c.s.gate.stopped()); err != nil {
			return err
		}
		r, ok, err := scan.Next()
		if err != nil {
			return err
		}
		if !ok {
			return c.flush()
		}
		if c.how.Pace != nil {
			if err := c.how.Pace(c.ctx, r.Size); err != nil {
				return err
			}
		}
		if r.State != segment.Good || !r.Head.IsChunk() {
			continue
		}
		if err := c.add(scan, &r); err != nil {
			return err
		}
	}
}

// add moves a sound record if it is live, together with others. A record that is
// live, sound and yet known as damaged is moved too: a void one stays void.
func (c *compaction) add(scan *segment.Scanner, r *segment.Record) error {
	k := index.RecordKey(&r.Head)
	e, held, err := c.s.index.Get(&k)
	if err != nil {
		return err
	}
	if !held || e.Location != r.At {
		return nil
	}
	body, err := scan.Bytes(r.At.Offset, int(r.Size))
	if err != nil {
		return err
	}
	chunk := r.Head.Chunk(slices.Clone(body[segment.HeaderSize:]))
	c.moves = append(c.moves, move{r.At, r.Head, chunk})
	if c.bytes += r.Size; c.bytes >= maxRequestBytes || len(c.moves) == maxBatchChunks {
		return c.flush()
	}
	return nil
}

// flush makes the writer append the collected records.
func (c *compaction) flush() error {
	if len(c.moves) == 0 {
		return nil
	}
	moves := c.moves
	c.moves, c.bytes = nil, 0
	return c.s.writer.turn(c.ctx, func() error {
		moved, err := c.s.writer.move(moves)
		if err != nil {
			return c.s.writer.answer(err)
		}
		c.done.Moved += moved
		return nil
	})
}

// move appends those records that are still live at their old location, and returns
// their length in bytes.
func (w *writer) move(moves []move) (bytes int64, err error) {
	if err := w.health.refusal(); err != nil {
		return 0, err
	}
	entries, err := w.index.NewBatch()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, entries.Close()) }()
	var writes []chunkWrite
	for i := range moves {
		m := &moves[i]
		cw := chunkWrite{key: index.RecordKey(&m.head), head: m.head, chunk: &m.chunk}
		e, held, err := entries.Get(cw.key)
		if err != nil {
			return 0, err
		}
		if !held || e.Location != m.from {
			continue
		}
		cw.generation, cw.void = e.Generation, e.Void
		writes = append(writes, cw)
		bytes += e.Size()
	}
	if len(writes) == 0 {
		return 0, nil
	}
	// A compaction may use a part of the reserve, so that it can empty a full disk.
	return bytes, w.put(writes, entries, w.moveReserve())
}
