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
}

type known struct {
	entry
	ok bool
}

func (x *index) newBatch() (*indexBatch, error) {
	look, err := x.newLookup()
	if err != nil {
		return nil, err
	}
	if len(x.known) > maxBatchChunks {
		x.known = map[indexKey]known{} // not for ever as large as it was once
	}
	clear(x.known)
	return &indexBatch{index: x, batch: x.db.NewBatch(), look: look, known: x.known}, nil
}

// knows reports whether get was asked for the key before.
func (b *indexBatch) knows(k indexKey) bool {
	_, hit := b.known[k]
	return hit
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

// put enters a record. A damaged one never takes the place of a sound one; the
// record that is not used is noted as dead.
func (b *indexBatch) put(k indexKey, e entry) error {
	old, ok, err := b.get(k)
	if err != nil {
		return err
	}
	if ok && e.corrupt && !old.corrupt {
		return b.bury(&e)
	}
	if ok {
		b.delta.add(&old, -1)
		if old.location != e.location {
			if err := b.bury(&old); err != nil {
				return err
			}
		}
	}
	b.delta.add(&e, +1)
	b.known[k] = known{e, true}
	op := b.batch.SetDeferred(len(k), entrySize) // spares a copy of both
	copy(op.Key, k[:])
	e.encode(op.Value[:0])
	return op.Finish()
}

func (b *indexBatch) bury(e *entry) error {
	return b.batch.Set(deadKey(e.location), binary.LittleEndian.AppendUint64(nil, uint64(e.size())), nil)
}

// commit applies the batch; everything before position is then indexed. The
// batch is used up, whether it went well or not.
func (b *indexBatch) commit(position location) error {
	x := b.index
	x.mu.Lock()
	defer x.mu.Unlock()
	state := x.state
	state.position = position
	state.chunks += b.delta.chunks
	state.bytes += b.delta.bytes
	state.corrupt += b.delta.corrupt
	state.damaged += b.delta.damaged
	err := x.commit(b.batch, state)
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
