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
)

// Compaction says how [Store.Compact] goes about it. The zero value is good.
type Compaction struct {
	// Dead is the share of a segment that must be dead for what lives in it to be
	// moved: below it, more bytes would be written than come back. Default 1/5.
	Dead float64
	// Pace is called before so many bytes are read, and may wait; nil is fine.
	Pace func(ctx context.Context, bytes int64) error
}

// Compacted is what a compaction did.
type Compacted struct {
	Segments int64 // that were removed
	Freed    int64 // bytes of their files
	Moved    int64 // bytes of records that were written again
}

// Compact moves what lives in segments of which much is dead to the last one and
// removes them, those with the least alive first. Reads and puts go on meanwhile.
// A damaged record is not moved: its chunk stays known as damaged.
//
// After an error, ctx's among them, what was done stays done. A segment that the
// disk does not read is left alone, and the others are not.
func (s *Store) Compact(ctx context.Context, how Compaction) (done Compacted, err error) {
	if how.Dead <= 0 {
		how.Dead = 0.2
	}
	if err := s.enter(); err != nil {
		return done, err
	}
	defer s.leave()
	if err := s.beginChore(ctx); err != nil {
		return done, err
	}
	defer s.endChore()
	victims, errs := s.victims(how.Dead)
	for _, v := range victims {
		if err := errors.Join(ctx.Err(), s.stopped(), s.refusal()); err != nil {
			return done, errors.Join(append(errs, err)...)
		}
		c := &compaction{s: s, ctx: ctx, how: how, done: &done, n: v.number}
		if err := c.run(v.size); err != nil { // it may be this segment's
			errs = append(errs, err)
		}
	}
	return done, errors.Join(errs...)
}

type victim struct {
	number     uint32
	size, live int64
}

// victims are the segments that are worth it. The last one, which is written to,
// is never among them. Of those that cannot be looked at, the errors are returned.
func (s *Store) victims(dead float64) (all []victim, errs []error) {
	for n := uint32(1); n < s.index.snapshot().position.segment; n++ {
		if s.wasRemoved(n) {
			continue
		}
		info, err := s.fs.Stat(s.segmentPath(n))
		if err != nil {
			errs = append(errs, fmt.Errorf("look at %s: %w", segmentPlace(n), err))
			continue
		}
		v := victim{n, info.Size(), s.index.usage(n).live}
		if float64(v.size-v.live) >= dead*float64(v.size) {
			all = append(all, v)
		}
	}
	slices.SortFunc(all, func(a, b victim) int { return cmp.Compare(a.live, b.live) })
	return all, errs
}

// errUnsteady keeps a segment that is not the same whenever it is read.
var errUnsteady = errors.New("the disk does not read it well: it stays")

func (s *Store) wasRemoved(n uint32) bool {
	s.removedMu.Lock()
	defer s.removedMu.Unlock()
	return s.removed.has(n)
}

// compaction empties one segment.
type compaction struct {
	s    *Store
	ctx  context.Context
	how  Compaction
	done *Compacted
	n    uint32

	moves []move
	bytes int64
}

// move is a record on its way to the end of the store.
type move struct {
	from  location
	head  recordHeader
	chunk schemas.Chunk
}

// run empties and removes the segment. The order is what keeps every chunk:
//
//  1. what lives in it is appended to the last segment and synced, and the index
//     points there, as with any put;
//  2. the index itself is on stable storage: no entry points into the segment
//     after a crash;
//  3. REMOVED, which is too, says that the segment is not missed;
//  4. nobody reads it any more, and the file is removed.
func (c *compaction) run(size int64) error {
	s := c.s
	if s.index.usage(c.n).live > 0 {
		if err := c.moveAll(); err != nil {
			return fmt.Errorf("move what lives in %s: %w", segmentPlace(c.n), err)
		}
	}
	if live := s.index.usage(c.n).live; live != 0 {
		return fmt.Errorf("%d bytes of %s are still in use", live, segmentPlace(c.n))
	}
	if err := c.flushIndex(); err != nil {
		return fmt.Errorf("flush the index: %w", err)
	}
	if err := s.refusal(); err != nil {
		return err
	}
	if err := s.remove(c.n); err != nil {
		return err
	}
	if err := s.turn(c.ctx, func() error { return s.index.dropSegment(c.n) }); err != nil {
		return err
	}
	c.done.Segments++
	c.done.Freed += size
	return nil
}

// flushIndex puts the index on stable storage. Pebble tries for ever.
func (c *compaction) flushIndex() error {
	flushed, err := c.s.index.db.AsyncFlush()
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
		case <-c.s.stop:
			return c.s.closedError()
		case <-again.C:
			if err := c.s.refusal(); err != nil {
				return err
			}
		}
	}
}

func (c *compaction) moveAll() error {
	f, err := c.s.openSegment(c.n, vfs.SequentialReadsOption)
	if err != nil {
		return err
	}
	if err = errors.Join(c.read(f), f.Close()); err != nil {
		return err
	}
	if c.s.index.usage(c.n).live == 0 {
		return nil
	}
	// What is left is damaged, unless it is the disk that did not read just now.
	var lost []indexKey
	err = c.s.index.each(func(k indexKey, e entry) error {
		if e.segment == c.n {
			if _, err := c.s.readEntry(&k, &e, true); !errors.Is(err, errRecord) {
				return errors.Join(errUnsteady, err)
			}
			lost = append(lost, k)
		}
		return errors.Join(c.ctx.Err(), c.s.stopped())
	})
	if err != nil {
		return err
	}
	return c.s.turn(c.ctx, func() error { return c.s.index.lose(lost, c.n) })
}

// read moves the segment's sound records.
func (c *compaction) read(f vfs.File) error {
	scan, err := c.s.scan(f, location{c.n, fileHeaderSize}, math.MaxInt64)
	if err != nil {
		return err
	}
	scan.skipBad = true
	for {
		if err := errors.Join(c.ctx.Err(), c.s.stopped()); err != nil {
			return err
		}
		r, ok, err := scan.next()
		if err != nil {
			return err
		}
		if !ok {
			return c.flush()
		}
		if c.how.Pace != nil {
			if err := c.how.Pace(c.ctx, r.size); err != nil {
				return err
			}
		}
		if r.state != good || !r.head.isChunk() {
			continue
		}
		k := r.key()
		e, held, err := c.s.index.get(&k)
		if err != nil {
			return err
		}
		if !held || e.location != r.at {
			continue // what was taken for damaged once, and is not, goes too
		}
		body, err := scan.window(r.at.offset, int(r.size))
		if err != nil {
			return err
		}
		chunk := chunkOf(&r.head, slices.Clone(body[recordHeaderSize:]))
		c.moves = append(c.moves, move{r.at, r.head, chunk})
		if c.bytes += r.size; c.bytes >= maxPartBytes || len(c.moves) == maxBatchChunks {
			if err := c.flush(); err != nil {
				return err
			}
		}
	}
}

// flush has the writer append what was gathered.
func (c *compaction) flush() error {
	if len(c.moves) == 0 {
		return nil
	}
	moves := c.moves
	c.moves, c.bytes = nil, 0
	return c.s.turn(c.ctx, func() error {
		moved, err := c.s.writer.move(moves)
		if err != nil {
			return c.s.writer.refused(err)
		}
		c.done.Moved += moved
		return nil
	})
}

// move appends the records that are still where they were, and gives their bytes.
func (w *writer) move(moves []move) (bytes int64, err error) {
	if err := w.s.refusal(); err != nil {
		return 0, err
	}
	entries, err := w.s.index.newBatch()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, entries.close()) }()
	var jobs []job
	for i := range moves {
		m := &moves[i]
		j := job{key: partKey(m.head.vault, m.head.id, m.head.part()), head: m.head, chunk: &m.chunk}
		e, held, err := entries.get(j.key)
		if err != nil {
			return 0, err
		}
		if !held || e.location != m.from {
			continue
		}
		j.generation = e.generation
		jobs = append(jobs, j)
		bytes += e.size()
	}
	if len(jobs) == 0 {
		return 0, nil
	}
	// Half of the reserve may be used, so that a full disk can be emptied.
	return bytes, w.put(jobs, entries, w.s.opt.ReserveBytes/2)
}

// lose makes the keys whose records are in the segment, which is about to be
// removed, known as damaged and nowhere.
func (x *index) lose(keys []indexKey, segment uint32) error {
	return x.rewrite(keys, func(b *indexBatch, i int, e entry, ok bool) error {
		if !ok || e.segment != segment {
			return nil
		}
		if err := b.remove(keys[i], e); err != nil {
			return err
		}
		e.corrupt, e.location = true, location{}
		return b.enter(keys[i], e)
	})
}

// dropSegment forgets what is known of a segment that was removed.
func (x *index) dropSegment(n uint32) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	u := x.segments[n]
	state := x.state
	state.damaged -= u.damaged
	b := x.db.NewBatch()
	if err := b.DeleteRange(deadKey(location{n, 0}), deadKey(location{n + 1, 0}), nil); err != nil {
		return errors.Join(err, b.Close())
	}
	return x.commit(b, state, map[uint32]usage{n: {damaged: -u.damaged}})
}

// remove takes an empty segment off the disk.
func (s *Store) remove(n uint32) error {
	s.removedMu.Lock()
	gone := s.removed.with(n)
	s.removedMu.Unlock()
	if err := s.writeRemoved(gone); err != nil {
		return err
	}
	s.removedMu.Lock()
	s.removed = gone
	s.removedMu.Unlock()
	// A read that found its place in the index before is waited for.
	s.moving.Lock()
	defer s.moving.Unlock()
	err := errors.Join(s.files.forget(n), s.fs.Remove(s.segmentPath(n)))
	if err == nil {
		err = syncDir(s.fs, s.fs.PathJoin(s.dir, segmentsName))
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", segmentPlace(n), err)
	}
	return nil
}
