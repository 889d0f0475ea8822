package storage

import (
	"encoding/binary"
	"errors"

	"github.com/cockroachdb/pebble/v2"
)

// indexBatch gathers the entries of one commit. It reads its own writes.
type indexBatch struct {
	index *index
	batch *pebble.Batch
	look  *lookup
	known map[indexKey]known // what the lookups said, and what was put since
	delta counts
	// segments are the changes to what is known of segments.
	segments map[uint32]usage
	// generation is that of the entries which are put.
	generation uint32
}

type known struct {
	entry
	ok bool
}

func (x *index) newBatch() (*indexBatch, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.newBatchLocked()
}

// newBatchLocked is newBatch when x.mu is held.
func (x *index) newBatchLocked() (*indexBatch, error) {
	look, err := x.newLookup()
	if err != nil {
		return nil, err
	}
	if len(x.known) > maxBatchChunks {
		x.known = map[indexKey]known{} // not for ever as large as it was once
	}
	clear(x.known)
	clear(x.spoiled)
	return &indexBatch{
		index: x, batch: x.db.NewBatch(), look: look, known: x.known,
		segments: map[uint32]usage{}, generation: x.state.generation,
	}, nil
}

// live adds bytes to the records of the segment that entries point to.
func (b *indexBatch) live(segment uint32, bytes int64) {
	if segment == 0 {
		return // the record is gone
	}
	u := b.segments[segment]
	u.live += bytes
	b.segments[segment] = u
}

// damage adds damaged stretches that name no chunk.
func (b *indexBatch) damage(segment uint32, stretches int64) {
	u := b.segments[segment]
	u.damaged += stretches
	b.segments[segment] = u
	b.delta.damaged += stretches
}

// get is the entry of the key, as this batch leaves it.
func (b *indexBatch) get(k indexKey) (entry, bool, error) {
	if n, hit := b.known[k]; hit {
		return n.entry, n.ok, nil
	}
	e, ok, err := b.look.get(&k)
	if err == nil {
		b.known[k] = known{e, ok}
	}
	return e, ok, err
}

// put enters a record, as of this generation. A damaged one never takes the
// place of a sound one; the record that is not used is noted as dead.
func (b *indexBatch) put(k indexKey, e entry) error {
	e.generation, e.marked = b.generation, false
	return b.enter(k, e)
}

// enter is put for an entry that keeps its generation. In one generation, what is
// marked stays marked.
func (b *indexBatch) enter(k indexKey, e entry) error {
	old, ok, err := b.get(k)
	if err != nil {
		return err
	}
	if ok && e.corrupt && !old.corrupt {
		return b.bury(&e)
	}
	if ok {
		e.marked = e.marked || old.markedIn(e.generation)
		b.delta.add(&old, -1)
		b.live(old.segment, -old.size())
		if old.location != e.location {
			if err := b.bury(&old); err != nil {
				return err
			}
		}
	}
	b.delta.add(&e, +1)
	b.live(e.segment, e.size())
	b.known[k] = known{e, true}
	op := b.batch.SetDeferred(len(k), entrySize) // spares a copy of both
	copy(op.Key, k[:])
	e.encode(op.Value[:0])
	return op.Finish()
}

// remove takes the key's entry e out and notes its record as dead.
func (b *indexBatch) remove(k indexKey, e entry) error {
	b.delta.add(&e, -1)
	b.live(e.segment, -e.size())
	b.known[k] = known{}
	return errors.Join(b.bury(&e), b.batch.Delete(k[:], nil))
}

func (b *indexBatch) bury(e *entry) error {
	if e.location == (location{}) {
		return nil
	}
	return b.batch.Set(deadKey(e.location), binary.LittleEndian.AppendUint64(nil, uint64(e.size())), nil)
}

// commit applies the batch; everything before position is then indexed. The
// batch is used up, whether it went well or not.
func (b *indexBatch) commit(position location) error {
	b.index.mu.Lock()
	defer b.index.mu.Unlock()
	return b.commitLocked(position)
}

// commitLocked is commit when the index's mu is held.
func (b *indexBatch) commitLocked(position location) error {
	x := b.index
	state := x.state
	state.position = position
	state.chunks += b.delta.chunks
	state.bytes += b.delta.bytes
	state.corrupt += b.delta.corrupt
	state.damaged += b.delta.damaged
	for k, e := range x.spoiled {
		// One that has another record by now was taken away as a sound one.
		if n, hit := b.known[k]; hit && n.location != e.location {
			state.add(&e, -1)
			e.corrupt = false
			state.add(&e, +1)
		}
	}
	err := x.commit(b.batch, state, b.segments)
	b.batch = nil
	return errors.Join(err, b.close())
}

// close drops what was not committed. It may be called again.
func (b *indexBatch) close() (err error) {
	if b.batch != nil {
		err = b.batch.Close()
		b.batch = nil
	}
	if b.look != nil {
		err = errors.Join(err, b.look.close())
		b.look = nil
	}
	return err
}
