package index

import (
	"errors"

	"servidor-backup/storage/internal/segment"
)

// MarkCorrupt notes that the record of the key is damaged, unless the key's record
// is no longer the one at the location.
func (x *Index) MarkCorrupt(k *Key, at segment.Location) error { return x.mark(k, at, true, false) }

// MarkVoid is MarkCorrupt for a record that can be read. MarkSound does not take it back.
func (x *Index) MarkVoid(k *Key, at segment.Location) error { return x.mark(k, at, true, true) }

// MarkSound takes back what MarkCorrupt noted, because the record could be read after all.
func (x *Index) MarkSound(k *Key, at segment.Location) error { return x.mark(k, at, false, false) }

func (x *Index) mark(k *Key, at segment.Location, corrupt, void bool) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	e, ok, err := x.Get(k)
	if err != nil || !ok || e.Corrupt == corrupt || e.Void || e.Location != at {
		return err
	}
	state := x.state
	state.add(&e, -1)
	e.Corrupt, e.Void = corrupt, void
	state.add(&e, +1)
	b := x.db.NewBatch()
	if err := b.Set(k[:], e.encode(nil), nil); err != nil {
		return errors.Join(err, b.Close())
	}
	if err := x.commit(b, state, nil); err != nil {
		return err
	}
	if _, twice := x.flipped[*k]; twice {
		delete(x.flipped, *k) // the entry is again what the batch took it for
	} else {
		x.flipped[*k] = e
	}
	return nil
}

// SetGeneration raises the generation; a lower one changes nothing.
func (x *Index) SetGeneration(g uint32) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if g <= x.state.Generation {
		return nil
	}
	state := x.state
	state.Generation = g
	return x.commit(x.db.NewBatch(), state, nil)
}

// DropSegment forgets the usage and the dead records of a segment that was removed.
func (x *Index) DropSegment(n uint32) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	u := x.segments[n]
	state := x.state
	state.Damaged -= u.Damaged
	b := x.db.NewBatch()
	from, to := segment.Location{Segment: n}, segment.Location{Segment: n + 1}
	if err := b.DeleteRange(deadKey(from), deadKey(to), nil); err != nil {
		return errors.Join(err, b.Close())
	}
	return x.commit(b, state, map[uint32]Usage{n: {Damaged: -u.Damaged}})
}

// Pin raises the entries of the keys to the current generation, so that a sweep
// leaves their parts. It sets held, which is as long as keys: whether the part is
// held, and therefore pinned.
func (x *Index) Pin(keys []Key, held []bool) error {
	return x.rewrite(keys, func(b *Batch, i int, e Entry, ok bool) error {
		if held[i] = ok && !e.Corrupt; !held[i] || e.Generation == b.generation {
			return nil
		}
		return b.Put(keys[i], e)
	})
}

// Mark marks the entries of the keys in the current generation. It calls found for
// each key whose part is held; fresh is set if the part was not yet marked in this
// generation.
func (x *Index) Mark(keys []Key, found func(i int, fresh bool)) error {
	return x.rewrite(keys, func(b *Batch, i int, e Entry, ok bool) error {
		if !ok {
			return nil
		}
		if !e.Corrupt {
			found(i, !e.MarkedIn(b.generation))
		}
		e.Generation, e.Marked = b.generation, true
		return b.PutAsIs(keys[i], e)
	})
}

// Forget removes those entries of the keys that are older than the generation
// before. It returns their number and the length of their records in bytes.
func (x *Index) Forget(keys []Key, before uint32) (n, bytes int64, err error) {
	err = x.rewrite(keys, func(b *Batch, i int, e Entry, ok bool) error {
		if !ok || e.Generation >= before {
			return nil
		}
		n++
		bytes += e.Size()
		return b.remove(keys[i], e)
	})
	return n, bytes, err
}

// Drop removes the entries of the keys, whatever their generation, and returns how
// many there were.
func (x *Index) Drop(keys []Key) (n int, err error) {
	err = x.rewrite(keys, func(b *Batch, i int, e Entry, ok bool) error {
		if !ok {
			return nil
		}
		n++
		return b.remove(keys[i], e)
	})
	return n, err
}

// Detach makes those entries of the keys whose records are in the segment corrupt
// and without a record, so that the damage stays known when the segment is removed.
func (x *Index) Detach(keys []Key, n uint32) error {
	return x.rewrite(keys, func(b *Batch, i int, e Entry, ok bool) error {
		if !ok || e.Segment != n {
			return nil
		}
		if err := b.remove(keys[i], e); err != nil {
			return err
		}
		e.Corrupt, e.Void, e.Location = true, false, segment.Location{}
		return b.PutAsIs(keys[i], e)
	})
}

// rewrite calls change with the entry of each key and commits the changes. It holds
// x.mu throughout, so that no record is marked corrupt meanwhile.
func (x *Index) rewrite(keys []Key, change func(b *Batch, i int, e Entry, ok bool) error) (err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	b, err := x.newBatchLocked()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	for _, i := range Order(len(keys), func(i int) *Key { return &keys[i] }) {
		e, ok, err := b.Get(keys[i])
		if err != nil {
			return err
		}
		if err := change(b, i, e, ok); err != nil {
			return err
		}
	}
	return b.commitLocked(x.state.Position)
}
