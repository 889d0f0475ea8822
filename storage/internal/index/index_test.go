package index

import (
	"errors"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"servidor-backup/schemas"
	"servidor-backup/storage/internal/segment"
)

var vault = schemas.SealedVault("index")

func key(id byte, part schemas.Part) Key { return NewKey(vault, schemas.ChunkID{id}, part) }

// entryAt is the entry of a sound record of 152+100 bytes.
func entryAt(n uint32, offset int64) Entry {
	return Entry{Location: segment.Location{Segment: n, Offset: offset}, Content: 100, Kind: schemas.Data}
}

func open(t *testing.T, fs vfs.FS) (x *Index, fresh bool) {
	t.Helper()
	fail := func(err error) { t.Errorf("Pebble failed: %v", err) }
	x, fresh, err := Open(fs, "index", 6<<20, Failures{Transient: fail, Fatal: fail})
	if err != nil {
		t.Fatal(err)
	}
	return x, fresh
}

// put commits one entry.
func put(t *testing.T, x *Index, k Key, e Entry) {
	t.Helper()
	b, err := x.NewBatch()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(b.Put(k, e), b.Commit(segment.Location{Segment: 9, Offset: 1})); err != nil {
		t.Fatal(err)
	}
}

// A batch counts parts, live bytes and dead records, and survives Close.
func TestBatchCounts(t *testing.T) {
	fs := vfs.NewMem()
	x, fresh := open(t, fs)
	if fresh {
		t.Error("an index that did not exist counts as damaged")
	}
	a, b := key(1, schemas.Whole), key(2, schemas.ShardOfSeal(2, 7, 1))
	put(t, x, a, entryAt(1, 128))
	put(t, x, b, entryAt(1, 1000))
	put(t, x, a, entryAt(2, 128)) // replaces the first record
	bad := entryAt(2, 1000)
	bad.Corrupt = true
	put(t, x, b, bad) // does not replace a sound record
	for range 2 {
		if s := x.State(); s.Counts != (Counts{Chunks: 2, Bytes: 200}) || s.Position != (segment.Location{Segment: 9, Offset: 1}) {
			t.Errorf("the state is %+v", s)
		}
		for n, want := range map[uint32]int64{1: 252, 2: 252, 3: 0} {
			dead, err := x.DeadBytes(segment.Location{Segment: n}, segment.Location{Segment: n + 1})
			if live := x.Usage(n).Live; live != want || dead != want || err != nil {
				t.Errorf("segment %d has %d live and %d dead bytes, want %d: %v", n, live, dead, want, err)
			}
		}
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
		x, _ = open(t, fs)
	}
	if err := x.DropSegment(1); err != nil {
		t.Fatal(err)
	}
	if dead, err := x.DeadBytes(segment.Location{}, segment.Location{Segment: 9}); dead != 252 || err != nil {
		t.Errorf("after DropSegment %d bytes are dead: %v", dead, err)
	}
	if err := x.Close(); err != nil {
		t.Error(err)
	}
}

// Pinned and marked parts are not forgotten, damaged and detached ones stay known.
func TestChanges(t *testing.T) {
	x, _ := open(t, vfs.NewMem())
	keys := []Key{key(1, schemas.Whole), key(2, schemas.Whole), key(3, schemas.Whole), key(4, schemas.Whole)}
	for i, k := range keys[:3] {
		put(t, x, k, entryAt(uint32(i+1), 128))
	}
	if err := x.SetGeneration(5); err != nil {
		t.Fatal(err)
	}
	held := make([]bool, 2)
	if err := x.Pin([]Key{keys[0], keys[3]}, held); err != nil || !slices.Equal(held, []bool{true, false}) {
		t.Errorf("pinned %v, %v", held, err)
	}
	for _, want := range []bool{true, false} {
		err := x.Mark([]Key{keys[1]}, func(_ int, fresh bool) {
			if fresh != want {
				t.Errorf("the mark is fresh: %v, want %v", fresh, want)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if n, bytes, err := x.Forget(keys, 5); n != 1 || bytes != 252 || err != nil {
		t.Errorf("forgot %d parts of %d bytes, %v", n, bytes, err)
	}
	if err := x.MarkCorrupt(&keys[0], segment.Location{Segment: 7}); err != nil || x.State().Corrupt != 0 {
		t.Errorf("a record at another location is corrupt: %+v, %v", x.State(), err)
	}
	if err := x.Detach(keys, 1); err != nil {
		t.Fatal(err)
	}
	e, ok, err := x.Get(&keys[0])
	if err != nil || !ok || !e.Corrupt || e.Location != (segment.Location{}) || x.Usage(1) != (Usage{}) {
		t.Errorf("the detached entry is %+v, %v, %v", e, ok, err)
	}
	if s := x.State(); s.Counts != (Counts{Chunks: 1, Bytes: 100, Corrupt: 1}) {
		t.Errorf("the state is %+v", s)
	}
	if n, err := x.Drop(keys); n != 2 || err != nil || x.State().Counts != (Counts{}) {
		t.Errorf("dropped %d, %v: %+v", n, err, x.State())
	}
	if err := x.Close(); err != nil {
		t.Error(err)
	}
}

// An index of an older version, whose keys had another order, is replaced by an empty one.
func TestOpenReplacesOlderIndex(t *testing.T) {
	fs := vfs.NewMem()
	db, err := pebble.Open("index", &pebble.Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Set([]byte("p"), make([]byte, 49), pebble.Sync), db.Close()); err != nil {
		t.Fatal(err)
	}
	x, fresh := open(t, fs)
	if !fresh || x.State() != (State{}) {
		t.Errorf("the index is fresh: %v, with %+v", fresh, x.State())
	}
	if err := x.Close(); err != nil {
		t.Error(err)
	}
}
