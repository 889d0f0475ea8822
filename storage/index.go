package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	indexVersion = 3
	stateSize    = 1 + 12 + 4*8 + 4
	segmentSize  = 2 * 8
)

// indexState is what the index says of itself.
type indexState struct {
	position location // everything before it is indexed; zero if nothing is
	counts
	generation uint32 // of collection; see [Store.Sweep]
}

// counts are sums over the index: chunks held and their content in bytes,
// chunks known to be corrupt, and damaged stretches that name no chunk.
type counts struct{ chunks, bytes, corrupt, damaged int64 }

func (c *counts) add(e *entry, sign int64) {
	if e.corrupt {
		c.corrupt += sign
		return
	}
	c.chunks += sign
	c.bytes += sign * int64(e.content)
}

func (s *indexState) encode() []byte {
	b := append(make([]byte, 0, stateSize), indexVersion)
	b = binary.LittleEndian.AppendUint32(b, s.position.segment)
	b = binary.LittleEndian.AppendUint64(b, uint64(s.position.offset))
	for _, n := range []int64{s.chunks, s.bytes, s.corrupt, s.damaged} {
		b = binary.LittleEndian.AppendUint64(b, uint64(n))
	}
	return binary.LittleEndian.AppendUint32(b, s.generation)
}

func decodeState(b []byte) (s indexState, err error) {
	if len(b) != stateSize || b[0] != indexVersion {
		return s, errIndexValue
	}
	s.position.segment = binary.LittleEndian.Uint32(b[1:])
	s.position.offset = int64(binary.LittleEndian.Uint64(b[5:]))
	for i, n := range []*int64{&s.chunks, &s.bytes, &s.corrupt, &s.damaged} {
		*n = int64(binary.LittleEndian.Uint64(b[13+8*i:]))
	}
	s.generation = binary.LittleEndian.Uint32(b[stateSize-4:])
	return s, nil
}

// usage is what the index knows of a segment: the bytes of its records that
// entries point to, and the damaged stretches in it that name no chunk.
type usage struct{ live, damaged int64 }

func (u *usage) encode() []byte {
	b := binary.LittleEndian.AppendUint64(make([]byte, 0, segmentSize), uint64(u.live))
	return binary.LittleEndian.AppendUint64(b, uint64(u.damaged))
}

func decodeUsage(b []byte) (u usage, err error) {
	if len(b) != segmentSize {
		return u, errIndexValue
	}
	return usage{int64(binary.LittleEndian.Uint64(b)), int64(binary.LittleEndian.Uint64(b[8:]))}, nil
}

func segmentKey(n uint32) []byte { return binary.BigEndian.AppendUint32([]byte{keySegment}, n) }

var errIndexValue = errors.New("the index holds a value that this program did not write")

// index finds chunks. Its methods are safe for concurrent use, except that only
// one batch may be under way.
type index struct {
	db    *pebble.DB
	stuck chan error         // holds a failure to write in the background
	known map[indexKey]known // the batch's; kept from one to the next

	mu       sync.Mutex // orders changes of state and of entries
	state    indexState
	segments map[uint32]usage // of all that are not empty
	// spoiled are the entries that were found damaged since the newest batch was begun,
	// which took them for sound.
	spoiled map[indexKey]entry
}

// openIndex opens the index in dir. One that is of another version, or damaged, as a power cut can
// leave it, is removed and begun anew, because recovery can fill it: then fresh
// is true.
func openIndex(fsys vfs.FS, dir string, memory int64, failed indexFailures) (x *index, fresh bool, err error) {
	x, err = tryIndex(fsys, dir, memory, failed)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errIndexValue) || pebble.IsCorruptionError(err) || isOtherOrder(err) {
		if err := fsys.RemoveAll(dir); err != nil {
			return nil, false, fmt.Errorf("remove the damaged index in %s: %w", dir, err)
		}
		fresh = true
		x, err = tryIndex(fsys, dir, memory, failed)
	}
	if err != nil {
		return nil, false, fmt.Errorf("open the index in %s: %w", dir, err)
	}
	return x, fresh, nil
}

// indexFailures are told, from other goroutines, of what fails in Pebble's background.
type indexFailures struct {
	passing func(error) // is tried again
	fatal   func(error) // nothing will be written any more
}

// failurePause is what Pebble, which tries again at once and for ever, waits in between.
const failurePause = 50 * time.Millisecond

func tryIndex(fsys vfs.FS, dir string, memory int64, failed indexFailures) (*index, error) {
	stuck, passing := make(chan error, 1), failed.passing
	failed.passing = func(err error) {
		passing(err)
		select {
		case stuck <- err:
		default:
		}
		time.Sleep(failurePause)
	}
	db, err := pebble.Open(dir, indexOptions(fsys, memory, failed))
	if err != nil {
		return nil, err
	}
	x := &index{db: db, stuck: stuck, known: map[indexKey]known{}, segments: map[uint32]usage{}, spoiled: map[indexKey]entry{}}
	if err := x.load(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return x, nil
}

// load reads what is kept in memory.
func (x *index) load() error {
	value, closer, err := x.db.Get([]byte{keyPosition})
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err == nil {
		x.state, err = decodeState(value)
		err = errors.Join(err, closer.Close())
	}
	if err != nil {
		return err
	}
	return x.between([]byte{keySegment}, []byte{keySegment + 1}, func(key, value []byte) error {
		u, err := decodeUsage(value)
		if err != nil || len(key) != 1+4 {
			return errIndexValue
		}
		x.segments[binary.BigEndian.Uint32(key[1:])] = u
		return nil
	})
}

func indexOptions(fsys vfs.FS, memory int64, failed indexFailures) *pebble.Options {
	o := &pebble.Options{
		FS:       fsys,
		Comparer: keyOrder,
		// The segments are the log; see the package comment.
		DisableWAL: true,
		// Fixed, so that a new version of Pebble does not by itself make a
		// directory that the program of yesterday cannot open.
		FormatMajorVersion: pebble.FormatColumnarBlocks,
		// Pebble takes the memtables, of which there are usually two, out of
		// the cache. What is left must hold the filters, 1.25 bytes for each
		// chunk, as they are on keys without the part: they answer most of what is asked. Of the other blocks the
		// page cache holds more.
		CacheSize:    memory / 6 * 5,
		MemTableSize: uint64(memory / 6),
		// A flush that waits for a slow disk must not stop the writer at once.
		MemTableStopWritesThreshold: 4,
		MaxOpenFiles:                256,
		Logger:                      indexLogger{failed.fatal},
		EventListener:               &pebble.EventListener{BackgroundError: failed.passing},
	}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		// Keys are random, and values are places: nothing to be had.
		o.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.NoCompression }
	}
	return o
}

// indexLogger keeps Pebble quiet and alive: what Pebble would log is returned
// or reported as well, and a failure that it calls fatal stops puts, not the
// process.
type indexLogger struct{ fatal func(error) }

func (indexLogger) Infof(string, ...any)  {}
func (indexLogger) Errorf(string, ...any) {}
func (l indexLogger) Fatalf(format string, args ...any) {
	l.fatal(fmt.Errorf("the index: "+format, args...))
}

// snapshot is the state as of the last batch.
func (x *index) snapshot() indexState {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.state
}

// get is the entry of one key.
func (x *index) get(k *indexKey) (e entry, ok bool, err error) {
	value, closer, err := x.db.Get(k[:])
	if errors.Is(err, pebble.ErrNotFound) {
		return e, false, nil
	}
	if err != nil {
		return e, false, indexError(err)
	}
	e, err = decodeEntry(value)
	if err = errors.Join(err, closer.Close()); err != nil {
		return e, false, indexError(err)
	}
	return e, true, nil
}

func indexError(err error) error {
	return fmt.Errorf("read the index (it can be made anew from the segments: RebuildIndex): %w", err)
}

// markCorrupt notes that the record of the key is damaged, unless the key has
// another record by now.
func (x *index) markCorrupt(k *indexKey, at location) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	e, ok, err := x.get(k)
	if err != nil || !ok || e.corrupt || e.location != at {
		return err
	}
	state := x.state
	state.add(&e, -1)
	e.corrupt = true
	state.add(&e, +1)
	b := x.db.NewBatch()
	if err := b.Set(k[:], e.encode(nil), nil); err != nil {
		return errors.Join(err, b.Close())
	}
	if err := x.commit(b, state, nil); err != nil {
		return err
	}
	x.spoiled[*k] = e
	return nil
}

// commit applies the batch with the state, and adds changed to what is known of
// segments. x.mu is held.
func (x *index) commit(b *pebble.Batch, state indexState, changed map[uint32]usage) error {
	err := b.Set([]byte{keyPosition}, state.encode(), nil)
	after := make(map[uint32]usage, len(changed))
	for n, delta := range changed {
		u := x.segments[n]
		u.live += delta.live
		u.damaged += delta.damaged
		after[n] = u
		if u == (usage{}) {
			err = errors.Join(err, b.Delete(segmentKey(n), nil))
		} else {
			err = errors.Join(err, b.Set(segmentKey(n), u.encode(), nil))
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
		if u == (usage{}) {
			delete(x.segments, n)
		} else {
			x.segments[n] = u
		}
	}
	return nil
}

// usage is what is known of a segment.
func (x *index) usage(segment uint32) usage {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.segments[segment]
}

// deadBytes is the length of the records in [from, to) that are known to be
// dead.
func (x *index) deadBytes(from, to location) (n int64, err error) {
	err = x.between(deadKey(from), deadKey(to), func(_, value []byte) error {
		if len(value) != 8 {
			return indexError(errIndexValue)
		}
		n += int64(binary.LittleEndian.Uint64(value))
		return nil
	})
	return n, err
}

func deadKey(at location) []byte {
	b := binary.BigEndian.AppendUint32([]byte{keyDead}, at.segment)
	return binary.BigEndian.AppendUint64(b, uint64(at.offset))
}

// each calls f with every entry, in the order of keys, until f returns an error.
// It sees the index as it is when it begins.
func (x *index) each(f func(indexKey, entry) error) error {
	return x.eachAfter([]byte{keyChunk}, f)
}

// eachAfter is each for the entries whose keys come behind the given one.
func (x *index) eachAfter(key []byte, f func(indexKey, entry) error) error {
	return x.between(append(slices.Clone(key), 0), []byte{keyChunk + 1}, func(key, value []byte) error {
		if len(key) != len(indexKey{}) {
			return indexError(errIndexValue)
		}
		e, err := decodeEntry(value)
		if err != nil {
			return indexError(err)
		}
		return f(indexKey(key), e)
	})
}

// between calls f with every key in [from, to), and its value.
func (x *index) between(from, to []byte, f func(key, value []byte) error) (err error) {
	it, err := x.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return indexError(err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		if err := f(it.Key(), it.Value()); err != nil {
			return err
		}
	}
	return it.Error()
}

// close makes the index durable and closes it. If that fails the next one to open it finds
// in the segments what it lacks.
func (x *index) close() error {
	select {
	case <-x.stuck: // long ago, it may be
	default:
	}
	flushed, err := x.db.AsyncFlush()
	if err == nil {
		select {
		case <-flushed:
		case err = <-x.stuck:
			err = fmt.Errorf("the index could not be written, and is brought up to date when it is opened: %w", err)
		}
	}
	return errors.Join(err, x.db.Close())
}
