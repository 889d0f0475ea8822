package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"servidor-backup/storage/internal/segment"
)

// Index finds the records of chunks; see the package comment.
type Index struct {
	db    *pebble.DB
	stuck chan error    // of capacity 1: the last failure to write in the background
	known map[Key]known // of the current batch; its memory is used again by the next

	mu       sync.Mutex // orders changes of state and of entries
	state    State
	segments map[uint32]Usage // of all segments whose usage is not zero
	lost     map[uint32]Lost  // of all segments that were lost
	// flipped are the entries that became corrupt, or sound again, since the current batch
	// began, which took them for what they were before.
	flipped map[Key]Entry
}

// State returns the state after the last batch.
func (x *Index) State() State {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.state
}

// Usage returns the usage of segment n.
func (x *Index) Usage(n uint32) Usage {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.segments[n]
}

// Segments returns the numbers of the segments whose usage is not zero, in no order.
func (x *Index) Segments() []uint32 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Collect(maps.Keys(x.segments))
}

// Get returns the entry of one key; ok is false if there is none.
func (x *Index) Get(k *Key) (e Entry, ok bool, err error) {
	value, closer, err := x.db.Get(k[:])
	if errors.Is(err, pebble.ErrNotFound) {
		return e, false, nil
	}
	if err != nil {
		return e, false, readError(err)
	}
	e, err = decodeEntry(value)
	if err = errors.Join(err, closer.Close()); err != nil {
		return e, false, readError(err)
	}
	return e, true, nil
}

func readError(err error) error {
	return fmt.Errorf("read the index (RebuildIndex rebuilds it from the segments): %w", err)
}

// DeadBytes returns the length of the dead records in [from, to), in bytes.
func (x *Index) DeadBytes(from, to segment.Location) (n int64, err error) {
	err = x.between(deadKey(from), deadKey(to), func(_, value []byte) error {
		if len(value) != 8 {
			return readError(errValue)
		}
		n += int64(binary.LittleEndian.Uint64(value))
		return nil
	})
	return n, err
}

// Each calls visit with every entry, in the order of keys, until visit returns an
// error. It reads the index as of when it begins.
func (x *Index) Each(visit func(Key, Entry) error) error {
	return x.eachAfter([]byte{keyChunk}, visit)
}

// EachAfter is Each for the entries behind the given key.
func (x *Index) EachAfter(after *Key, visit func(Key, Entry) error) error {
	return x.eachAfter(after[:], visit)
}

func (x *Index) eachAfter(after []byte, visit func(Key, Entry) error) error {
	return x.between(append(slices.Clone(after), 0), []byte{keyChunk + 1}, func(key, value []byte) error {
		if len(key) != len(Key{}) {
			return readError(errValue)
		}
		e, err := decodeEntry(value)
		if err != nil {
			return readError(err)
		}
		return visit(Key(key), e)
	})
}

// between calls visit with every key in [from, to) and its value.
func (x *Index) between(from, to []byte, visit func(key, value []byte) error) (err error) {
	it, err := x.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return readError(err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		if err := visit(it.Key(), it.Value()); err != nil {
			return err
		}
	}
	return it.Error()
}

// StartFlush begins to write to stable storage all batches committed so far. The
// channel is closed when that is done; while writing fails, Pebble retries forever.
func (x *Index) StartFlush() (<-chan struct{}, error) { return x.db.AsyncFlush() }

// Close makes the index durable and closes it. If it cannot be made durable, it is
// closed all the same, and the next recovery finds in the segments what it lacks.
func (x *Index) Close() error {
	select {
	case <-x.stuck: // an old failure says nothing about this flush
	default:
	}
	flushed, err := x.StartFlush()
	if err == nil {
		select {
		case <-flushed:
		case err = <-x.stuck:
			err = fmt.Errorf("the index could not be written, and is brought up to date when it is opened: %w", err)
		}
	}
	return errors.Join(err, x.CloseUnflushed())
}

// CloseUnflushed closes the index and leaves it as a crash would: without the
// batches that were not flushed.
func (x *Index) CloseUnflushed() error { return x.db.Close() }
