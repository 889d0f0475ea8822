package index

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"servidor-backup/storage/internal/segment"
)

// Batch gathers the entries of one commit. It reads its own writes. At most one
// batch may be under way.
type Batch struct {
	index *Index
	batch *pebble.Batch
	look  *Lookup
	known map[Key]known // the entries as the lookups or this batch left them
	delta Counts
	// segments are the changes to the usage of segments.
	segments map[uint32]Usage
	// generation is the index's when the batch began.
	generation uint32
}

type known struct {
	Entry
	ok bool
}

// keptKeys is the number of keys above which the memory of a batch's known entries
// is not kept for the next batch.
const keptKeys = 8192

// NewBatch begins a batch. It must be closed or committed.
func (x *Index) NewBatch() (*Batch, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.newBatchLocked()
}

// newBatchLocked is NewBatch for callers that hold x.mu.
func (x *Index) newBatchLocked() (*Batch, error) {
	look, err := x.NewLookup()
	if err != nil {
		return nil, err
	}
	if len(x.known) > keptKeys {
		x.known = map[Key]known{}
	}
	clear(x.known)
	clear(x.flipped)
	return &Batch{
		index: x, batch: x.db.NewBatch(), look: look, known: x.known,
		segments: map[uint32]Usage{}, generation: x.state.Generation,
	}, nil
}

// Generation returns the generation of the entries that the batch puts.
func (b *Batch) Generation() uint32 { return b.generation }

// addLive adds bytes to the live bytes of segment n.
func (b *Batch) addLive(n uint32, bytes int64) {
	if n == 0 {
		return // the record's segment was removed
	}
	u := b.segments[n]
	u.Live += bytes
	b.segments[n] = u
}

// AddDamaged adds stretches to the damaged stretches of segment n that name no chunk.
func (b *Batch) AddDamaged(n uint32, stretches int64) {
	u := b.segments[n]
	u.Damaged += stretches
	b.segments[n] = u
	b.delta.Damaged += stretches
}

// Get returns the entry of the key as this batch leaves it.
func (b *Batch) Get(k Key) (Entry, bool, error) {
	if n, hit := b.known[k]; hit {
		return n.Entry, n.ok, nil
	}
	e, ok, err := b.look.Get(&k)
	if err == nil {
		b.known[k] = known{e, ok}
	}
	return e, ok, err
}

// Put enters a record in the batch's generation, unmarked. A corrupt record never
// replaces a sound one. The record that is not used is noted as dead.
func (b *Batch) Put(k Key, e Entry) error {
	e.Generation, e.Marked = b.generation, false
	return b.PutAsIs(k, e)
}

// PutAsIs is Put for an entry that keeps its own generation and mark. A part that
// is marked in a generation stays marked in it.
func (b *Batch) PutAsIs(k Key, e Entry) error {
	old, ok, err := b.Get(k)
	if err != nil {
		return err
	}
	if ok && e.Corrupt && !old.Corrupt {
		return b.noteDead(&e)
	}
	if ok {
		e.Marked = e.Marked || old.MarkedIn(e.Generation)
		b.delta.add(&old, -1)
		b.addLive(old.Segment, -old.Size())
		if old.Location != e.Location {
			if err := b.noteDead(&old); err != nil {
				return err
			}
		}
	}
	b.delta.add(&e, +1)
	b.addLive(e.Segment, e.Size())
	b.known[k] = known{e, true}
	op := b.batch.SetDeferred(len(k), entrySize) // saves a copy of key and value
	copy(op.Key, k[:])
	e.encode(op.Value[:0])
	return op.Finish()
}

// remove removes the key's entry e and notes its record as dead.
func (b *Batch) remove(k Key, e Entry) error {
	b.delta.add(&e, -1)
	b.addLive(e.Segment, -e.Size())
	b.known[k] = known{}
	return errors.Join(b.noteDead(&e), b.batch.Delete(k[:], nil))
}

func (b *Batch) noteDead(e *Entry) error {
	if e.Location == (segment.Location{}) {
		return nil
	}
	return b.batch.Set(deadKey(e.Location), binary.LittleEndian.AppendUint64(nil, uint64(e.Size())), nil)
}

// Commit applies the batch, and says that everything before position is indexed.
// The batch is closed afterwards, also after an error.
func (b *Batch) Commit(position segment.Location) error {
	b.index.mu.Lock()
	defer b.index.mu.Unlock()
	return b.commitLocked(position)
}

// commitLocked is Commit for callers that hold the index's mu.
func (b *Batch) commitLocked(position segment.Location) error {
	x := b.index
	state := x.state
	state.Position = position
	state.Chunks += b.delta.Chunks
	state.Bytes += b.delta.Bytes
	state.Corrupt += b.delta.Corrupt
	state.Damaged += b.delta.Damaged
	for k, e := range x.flipped {
		// The batch counted the entry as it was before when it replaced it.
		if n, hit := b.known[k]; hit && n.Location != e.Location {
			state.add(&e, -1)
			e.Corrupt = !e.Corrupt
			state.add(&e, +1)
		}
	}
	err := x.commit(b.batch, state, b.segments)
	b.batch = nil
	return errors.Join(err, b.Close())
}

// Close drops a batch that was not committed. It may be called again, and after
// Commit.
func (b *Batch) Close() (err error) {
	if b.batch != nil {
		err = b.batch.Close()
		b.batch = nil
	}
	if b.look != nil {
		err = errors.Join(err, b.look.Close())
		b.look = nil
	}
	return err
}

// commit applies the batch with the state and adds changed to the usage of
// segments. The caller holds x.mu.
func (x *Index) commit(b *pebble.Batch, state State, changed map[uint32]Usage) error {
	err := b.Set([]byte{keyPosition}, state.encode(), nil)
	after := make(map[uint32]Usage, len(changed))
	for n, delta := range changed {
		u := x.segments[n]
		u.Live += delta.Live
		u.Damaged += delta.Damaged
		after[n] = u
		if u == (Usage{}) {
			err = errors.Join(err, b.Delete(usageKey(n), nil))
		} else {
			err = errors.Join(err, b.Set(usageKey(n), u.encode(), nil))
		}
	}
	if err == nil {
		err = b.Commit(pebble.NoSync)
	}
	if err = errors.Join(err, b.Close()); err != nil {
		return fmt.Errorf("write the index: %w", err)
	}
	x.state = state
	for n, u := range after {
		if u == (Usage{}) {
			delete(x.segments, n)
		} else {
			x.segments[n] = u
		}
	}
	return nil
}
