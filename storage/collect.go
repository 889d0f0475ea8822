package storage

import (
	"context"
	"errors"
	"fmt"

	"servidor-backup/schemas"
	"servidor-backup/storage/internal/index"
)

// The coordinators know the versions and find the garbage; the store forgets it.
// Meanwhile a node may report a chunk as held to a client, which then uses the
// chunk for a version that does not exist yet. Generations protect such chunks
// without a clock. A collection first gives every node a number that is larger than
// all before; then every session that opens gets that number too. An entry has the
// number that was in force when its part was last put, pinned or marked. A sweep
// removes only entries whose generation is below that of the oldest open session.

// Swept is the result of a sweep.
type Swept struct {
	Looked int64 // parts that it examined
	Chunks int64 // parts that it forgot
	Bytes  int64 // of the forgotten parts' records
}

// sweepBatch is the number of parts that are forgotten, dropped or marked in one
// turn of the writer. Puts wait for some milliseconds.
const sweepBatch = 4096

// SetGeneration begins the generation g of collections, which is larger than all
// before. When it has returned, every part that is put or pinned is of this
// generation or a later one, also after a crash.
//
// A crash may undo pins and marks. Therefore a sweep is refused for sessions that
// are older than the first new generation that the store is given after it was
// opened; the generation that it was in already is not new. The same holds after the
// store missed generations in between, because parts that it reported in them were
// not pinned in them.
func (s *Store) SetGeneration(ctx context.Context, g uint32) error {
	return s.writer.turn(ctx, func() error { return s.generations.begin(g) })
}

// CatchUp brings the store into the generation g, if it is in a lower one, because a
// session of generation g relies on its answers. The collection of g began without
// this store, so the store may not be swept for sessions of g.
func (s *Store) CatchUp(ctx context.Context, g uint32) error {
	if g <= s.Generation() {
		return nil
	}
	return s.writer.turn(ctx, func() error { return s.generations.catchUp(g) })
}

// Generation returns the generation that the store is in, 0 before the first.
func (s *Store) Generation() uint32 { return s.generations.current() }

// CanSweep returns an error, [ErrTooEarly], if a sweep for sessions of the given
// generation is refused because the store does not know all that was pinned for
// them.
func (s *Store) CanSweep(before uint32) error { return s.generations.canSweep(before) }

// Sweep forgets the parts that doomed selects among those that were last put,
// pinned or marked before the given generation, which must be that of the oldest
// open session, or the store's own if there is none. It calls doomed for each such
// part, in the order of vault, id and part, as of when the sweep begins, from the
// caller's goroutine. Reads and puts go on meanwhile; a part that is put, pinned or
// marked in the meantime stays.
//
// [Store.Compact] frees the space. Whatever a crash undoes of a sweep is garbage
// that the next sweep finds again. Sweep fails with [ErrTooEarly] as CanSweep does.
func (s *Store) Sweep(ctx context.Context, before uint32, doomed func(vault schemas.VaultID, id schemas.ChunkID, part schemas.Part) bool) (Swept, error) {
	var swept Swept
	if err := s.gate.enter(); err != nil {
		return swept, err
	}
	defer s.gate.leave()
	if err := s.health.refusal(); err != nil {
		return swept, err
	}
	if err := s.CanSweep(before); err != nil {
		return swept, err
	}
	var keys []index.Key
	flush := func() error {
		if len(keys) == 0 {
			return nil
		}
		defer func() { keys = keys[:0] }()
		return s.writer.turn(ctx, func() error {
			if err := s.health.refusal(); err != nil {
				return err
			}
			n, bytes, err := s.index.Forget(keys, before)
			swept.Chunks += n
			swept.Bytes += bytes
			return err
		})
	}
	err := s.index.Each(func(k index.Key, e index.Entry) error {
		swept.Looked++
		if e.Generation >= before || !doomed(k.Vault(), k.ID(), k.Part()) {
			return errors.Join(ctx.Err(), s.gate.stopped())
		}
		if keys = append(keys, k); len(keys) < sweepBatch {
			return errors.Join(ctx.Err(), s.gate.stopped())
		}
		return flush()
	})
	return swept, errors.Join(err, flush())
}

// Mark notes that chunks are needed, in the collection of the given generation,
// which must be the one that the store is in. From then on all their parts here are
// of this generation. It fills held and fresh, which are as long as ids: whether
// some part of the chunk is held, and whether some held part was not yet marked in
// this generation. A part that is known to be damaged is not held, but it is marked,
// so that the damage stays known.
//
// A caller that descends only from fresh chunks must treat as fresh all chunks that
// it asks for again after an error or a lost answer, because it cannot know which of
// them were.
func (s *Store) Mark(ctx context.Context, generation uint32, vault schemas.VaultID, ids []schemas.ChunkID, held, fresh []bool) error {
	if len(held) != len(ids) || len(fresh) != len(ids) {
		return fmt.Errorf("asked to mark %d chunks with %d and %d answers to fill", len(ids), len(held), len(fresh))
	}
	if err := s.gate.enter(); err != nil {
		return err
	}
	defer s.gate.leave()
	clear(held)
	clear(fresh)
	var keys []index.Key // of the parts to mark
	var of []int         // of each key, the index of its id
	err := s.eachPart(vault, ids, func(i int, k index.Key, e index.Entry) {
		if !e.MarkedIn(generation) {
			keys, of = append(keys, k), append(of, i)
		} else if !e.Corrupt {
			held[i] = true
		}
	})
	if err != nil {
		return err
	}
	check := func() error {
		if g := s.Generation(); g != generation {
			return fmt.Errorf("%w: marks for generation %d, node %s is in %d", ErrOtherGeneration, generation, s.NodeID(), g)
		}
		return s.health.refusal()
	}
	for len(keys) > 0 {
		n := min(len(keys), sweepBatch)
		err := s.writer.turn(ctx, func() error {
			if err := check(); err != nil {
				return err
			}
			return s.index.Mark(keys[:n], func(n int, new bool) {
				held[of[n]] = true
				fresh[of[n]] = fresh[of[n]] || new
			})
		})
		if err != nil {
			return err
		}
		keys, of = keys[n:], of[n:]
	}
	return check()
}

// Drop forgets parts, also damaged ones and of any generation, because other nodes
// hold them. It drops them in batches of some thousand. Immediately before each
// batch, while no part is put or pinned, it calls still; if that returns false, the
// remaining parts stay.
func (s *Store) Drop(ctx context.Context, vault schemas.VaultID, parts []PartID, still func() bool) (dropped int, err error) {
	if err := s.gate.enter(); err != nil {
		return 0, err
	}
	defer s.gate.leave()
	keys := make([]index.Key, len(parts))
	for i, p := range parts {
		keys[i] = index.NewKey(vault, p.ID, p.Part)
	}
	for going := true; going && len(keys) > 0; {
		now := keys[:min(len(keys), sweepBatch)]
		keys = keys[len(now):]
		err := s.writer.turn(ctx, func() error {
			if err := s.health.refusal(); err != nil {
				return err
			}
			if going = still(); !going {
				return nil
			}
			n, err := s.index.Drop(now)
			if err == nil {
				dropped += n
			}
			return err
		})
		if err != nil {
			return dropped, err
		}
	}
	return dropped, nil
}

// AfterDrops returns when every part that an earlier Drop decided to forget has been
// forgotten: what the store reports as held after that is not dropped by an older
// decision.
func (s *Store) AfterDrops(ctx context.Context) error {
	if err := s.gate.enter(); err != nil {
		return err
	}
	defer s.gate.leave()
	return s.writer.turn(ctx, func() error { return nil })
}
