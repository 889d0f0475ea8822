package storage

import (
	"context"
	"errors"
	"fmt"

	"servidor-backup/schemas"
)

// What nobody needs any more is found by whoever knows the versions, and is
// forgotten here. In between, a client may have been told that a chunk is held,
// and count on it for a version that is not there yet. Generations keep the two
// apart without a clock: a collection begins by giving every node a number that
// is larger than all before, then every session that is opened is given it too;
// an entry has the number that was in force when its part was last put, said to be
// held, or marked. A sweep takes only entries that are older than the oldest session.

// Swept is what a sweep did.
type Swept struct {
	Looked int64 // parts of chunks that it looked at
	Chunks int64 // that it forgot
	Bytes  int64 // of their records
}

// sweepBatch is how many parts are forgotten, or marked, in one turn of the writer:
// puts wait for some milliseconds.
const sweepBatch = 4096

// Sweep forgets the parts that doomed names, as long as they were last put, said to be
// held or marked before the generation that is given: it must be that of the
// oldest open session, or the store's own if there is none. doomed is called for
// each such part in the order of vault, id and part, as of when the sweep
// begins, from the goroutine of the caller. Reads and puts go on meanwhile; a part that
// is put again, asked for with Has or Parts, or marked, stays.
//
// The space comes back with [Store.Compact]. Whatever a crash undoes of a sweep
// is garbage that the next one finds again. It fails with [ErrTooEarly] if the
// store cannot know what was said in that generation.
func (s *Store) Sweep(ctx context.Context, before uint32, doomed func(vault schemas.VaultID, id schemas.ChunkID, part schemas.Part) bool) (Swept, error) {
	var swept Swept
	if err := s.enter(); err != nil {
		return swept, err
	}
	defer s.leave()
	if err := s.refusal(); err != nil {
		return swept, err
	}
	if err := s.CanSweep(before); err != nil {
		return swept, err
	}
	var keys []indexKey
	flush := func() error {
		if len(keys) == 0 {
			return nil
		}
		defer func() { keys = keys[:0] }()
		return s.turn(ctx, func() error {
			if err := s.refusal(); err != nil {
				return err
			}
			return s.index.forget(keys, before, &swept)
		})
	}
	err := s.index.each(func(k indexKey, e entry) error {
		swept.Looked++
		if e.generation >= before || !doomed(k.vault(), k.id(), k.part()) {
			return errors.Join(ctx.Err(), s.stopped())
		}
		if keys = append(keys, k); len(keys) < sweepBatch {
			return errors.Join(ctx.Err(), s.stopped())
		}
		return flush()
	})
	return swept, errors.Join(err, flush())
}

// CanSweep is an error, [ErrTooEarly], if a sweep for sessions of that generation is
// refused because of what the store cannot know.
func (s *Store) CanSweep(before uint32) error {
	if floor, now := s.floor.Load(), s.Generation(); floor == 0 || before < floor || before > now {
		return fmt.Errorf("%w: sessions of generation %d, node %s was started in %d and is in %d", ErrTooEarly, before, s.identity.node, floor, now)
	}
	return nil
}

// promise makes the entries of the keys be of this generation: it is about to be
// said that their parts are held. A key that is not held any more is set false
// in held, which is as long as keys.
func (x *index) promise(keys []indexKey, held []bool) error {
	return x.rewrite(keys, func(b *indexBatch, i int, e entry, ok bool) error {
		if held[i] = ok && !e.corrupt; !held[i] || e.generation == b.generation {
			return nil
		}
		return b.put(keys[i], e)
	})
}

// forget removes the entries of keys that are older than the generation.
func (x *index) forget(keys []indexKey, before uint32, swept *Swept) error {
	return x.rewrite(keys, func(b *indexBatch, i int, e entry, ok bool) error {
		if !ok || e.generation >= before {
			return nil
		}
		swept.Chunks++
		swept.Bytes += e.size()
		return b.remove(keys[i], e)
	})
}

// Mark says that chunks are needed, in the collection whose generation is given, which
// must be the one that the store is in: all their parts here are of this generation from
// then on. held and fresh, as long as ids, are filled: some part of it is held; and some
// such part had not been marked in this generation before. Parts that are known to be
// damaged are not held, but they are marked, so that they stay known.
//
// Whoever descends from fresh chunks alone must take all for fresh that it asks for
// again: after an error, or an answer that got lost, nobody knows which of them were.
func (s *Store) Mark(ctx context.Context, generation uint32, vault schemas.VaultID, ids []schemas.ChunkID, held, fresh []bool) error {
	if len(held) != len(ids) || len(fresh) != len(ids) {
		return fmt.Errorf("asked to mark %d chunks with room for %d and %d answers", len(ids), len(held), len(fresh))
	}
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	clear(held)
	clear(fresh)
	var keys []indexKey // of parts to be marked
	var of []int        // their places in ids
	err := s.parts(vault, ids, func(i int, k indexKey, e entry) {
		if !e.markedIn(generation) {
			keys, of = append(keys, k), append(of, i)
		} else if !e.corrupt {
			held[i] = true
		}
	})
	if err != nil {
		return err
	}
	now := func() error {
		if g := s.Generation(); g != generation {
			return fmt.Errorf("%w: marks for generation %d, node %s is in %d", ErrOtherGeneration, generation, s.identity.node, g)
		}
		return s.refusal()
	}
	for len(keys) > 0 {
		n := min(len(keys), sweepBatch)
		err := s.turn(ctx, func() error {
			if err := now(); err != nil {
				return err
			}
			return s.index.mark(keys[:n], func(n int, new bool) {
				held[of[n]] = true
				fresh[of[n]] = fresh[of[n]] || new
			})
		})
		if err != nil {
			return err
		}
		keys, of = keys[n:], of[n:]
	}
	return now()
}

// mark marks the entries of the keys, and calls found for each that is held.
func (x *index) mark(keys []indexKey, found func(i int, fresh bool)) error {
	return x.rewrite(keys, func(b *indexBatch, i int, e entry, ok bool) error {
		if !ok {
			return nil
		}
		if !e.corrupt {
			found(i, !e.markedIn(b.generation))
		}
		e.generation, e.marked = b.generation, true
		return b.enter(keys[i], e)
	})
}

// rewrite calls change for the entry of each key, and commits what it does. Only
// the writer's goroutine may call it; that no record is found damaged in between
// is kept by x.mu.
func (x *index) rewrite(keys []indexKey, change func(b *indexBatch, i int, e entry, ok bool) error) (err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	b, err := x.newBatchLocked()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	for _, i := range inOrder(len(keys), func(i int) *indexKey { return &keys[i] }) {
		e, ok, err := b.get(keys[i])
		if err != nil {
			return err
		}
		if err := change(b, i, e, ok); err != nil {
			return err
		}
	}
	return b.commitLocked(x.state.position)
}
