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
// an entry has the number that was in force when its chunk was last put or said
// to be held. A sweep takes only entries that are older than the oldest session.

// SetGeneration begins the generation g of collections, which is larger than all
// before. From when it returns, whatever is put, or said to be held, is of at least
// this generation.
//
// What was said before a crash may be forgotten. So sweeps are refused for
// sessions that are older than the first new generation which a store is given
// after it was opened.
func (s *Store) SetGeneration(ctx context.Context, g uint32) error {
	return s.turn(ctx, func() error {
		old := s.index.snapshot().generation
		if err := s.index.setGeneration(g); err != nil {
			return err
		}
		if s.floor.Load() == 0 {
			s.floor.Store(max(g, old+1)) // of the old one, not all may be known
		}
		return nil
	})
}

// Generation is the one that the store is in, 0 before the first.
func (s *Store) Generation() uint32 { return s.index.snapshot().generation }

// Swept is what a sweep did.
type Swept struct {
	Looked int64 // chunks that it looked at
	Chunks int64 // that it forgot
	Bytes  int64 // of their records
}

// sweepBatch is how many chunks are forgotten in one turn of the writer: puts
// wait for some milliseconds.
const sweepBatch = 4096

// Sweep forgets the chunks that doomed names, as long as they were last put, or
// said to be held, before the generation that is given: it must be that of the
// oldest open session, or the store's own if there is none. doomed is called for
// each such chunk in the order of vault, id and shard, as of when the sweep
// begins, from the goroutine of the caller. Reads and puts go on meanwhile; a chunk that
// is put again, or asked for with Has, stays.
//
// The space comes back with [Store.Compact]. Whatever a crash undoes of a sweep
// is garbage that the next one finds again. It fails with [ErrTooEarly] if the
// store cannot know what was said in that generation.
func (s *Store) Sweep(ctx context.Context, before uint32, doomed func(vault schemas.VaultID, id schemas.ChunkID, shard uint8) bool) (Swept, error) {
	var swept Swept
	if err := s.enter(); err != nil {
		return swept, err
	}
	defer s.leave()
	if err := s.refusal(); err != nil {
		return swept, err
	}
	if floor, now := s.floor.Load(), s.Generation(); floor == 0 || before < floor || before > now {
		return swept, fmt.Errorf("%w: sessions of generation %d, node %s was started in %d and is in %d", ErrTooEarly, before, s.identity.node, floor, now)
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
		if e.generation >= before || !doomed(k.vault(), k.id(), k.shard()) {
			return errors.Join(ctx.Err(), s.stopped())
		}
		if keys = append(keys, k); len(keys) < sweepBatch {
			return errors.Join(ctx.Err(), s.stopped())
		}
		return flush()
	})
	return swept, errors.Join(err, flush())
}

// setGeneration raises the generation.
func (x *index) setGeneration(g uint32) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if g <= x.state.generation {
		return nil
	}
	state := x.state
	state.generation = g
	return x.commit(x.db.NewBatch(), state, nil)
}

// promise makes the entries of the keys be of this generation: it is about to be
// said that their chunks are held. A key that is not held any more is set false
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
