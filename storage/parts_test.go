package storage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"servidor-backup/schemas"
	"servidor-backup/storage"
	"servidor-backup/storage/storagetest"
)

// partsOf returns the parts of each id that the store reports as held.
func partsOf(t *testing.T, s *storage.Store, asked ...schemas.ChunkID) []string {
	t.Helper()
	parts := make([]string, len(asked))
	err := s.Parts(storagetest.Vault, asked, func(i int, p schemas.Part) error {
		parts[i] += p.String() + ";"
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return parts
}

// Each part of a chunk is held, read, counted and recovered by itself.
func TestParts(t *testing.T) {
	fs := vfs.NewMem()
	opt := storage.Options{FS: fs}
	s := storagetest.Open(t, dir, opt)
	m := storagetest.NewMaker(1)
	a, b, c := m.Data(3000), m.Data(500), m.Data(10)
	as, bs := shards(t, a), shards(t, b)
	storagetest.Put(t, s, as[2], c, as[0], as[2], bs[1], b)
	storagetest.Put(t, s, as[0])
	for _, rebuild := range []bool{false, false, true} {
		if n := s.Stats().Chunks; n != 5 {
			t.Errorf("five parts are counted as %d", n)
		}
		got := partsOf(t, s, b.ID, a.ID, m.Data(1).ID, c.ID, a.ID)
		of := "shard 0 of k=2;shard 2 of k=2;"
		if !slices.Equal(got, []string{"whole;shard 1 of k=2;", of, "", "whole;", of}) {
			t.Errorf("the parts are %q", got)
		}
		for _, want := range []schemas.Chunk{as[0], as[2], bs[1], b, c} {
			got, err := s.GetPart(storagetest.Vault, want.ID, want.Part)
			if err != nil {
				t.Fatal(err)
			}
			storagetest.Same(t, want, got)
		}
		_, err := s.GetPart(storagetest.Vault, a.ID, schemas.ShardOfSeal(2, 7, 1))
		storagetest.Code(t, err, schemas.NotHeld)
		for _, read := range []func(schemas.VaultID, schemas.ChunkID) (schemas.Chunk, error){s.Get, s.Edges} {
			_, err := read(storagetest.Vault, a.ID)
			storagetest.Code(t, err, schemas.NotHeld)
		}
		have := make([]bool, 3)
		if err := s.Has(storagetest.Vault, ids([]schemas.Chunk{a, b, c}), have); err != nil || !slices.Equal(have, []bool{false, true, true}) {
			t.Errorf("has says %v, %v", have, err)
		}
		opt.RebuildIndex = rebuild
		storagetest.CloseClean(t, s)
		s = storagetest.Open(t, dir, opt)
	}
}

// For a chunk that is not held whole, ReadAll visits all held shards, in the order of
// ids, whatever else is asked for.
func TestReadAllShards(t *testing.T) {
	fs := vfs.NewMem()
	s := storagetest.Open(t, dir, storage.Options{FS: fs})
	m := storagetest.NewMaker(1)
	var chunks []schemas.Chunk
	want := map[schemas.ChunkID][]schemas.Chunk{}
	for i := range 60 {
		c := m.Data(1 + i*5000)
		parts := shards(t, c)
		switch i % 4 {
		case 0:
			parts = []schemas.Chunk{c}
		case 1:
			storagetest.Put(t, s, parts...)
			parts = []schemas.Chunk{c} // whole and shard are held: the whole is enough
		case 2:
			parts = []schemas.Chunk{parts[2], parts[0]}
		}
		storagetest.Put(t, s, parts...)
		slices.SortFunc(parts, func(a, b schemas.Chunk) int { return int(a.Part) - int(b.Part) })
		want[c.ID] = parts
		chunks = append(chunks, c)
	}
	// Shards replace a damaged whole, and sound shards replace a damaged one.
	damage(t, fs, s, chunks[1])
	damage(t, fs, s, want[chunks[2].ID][0])
	damage(t, fs, s, chunks[4])
	for range 2 {
		storagetest.Problems(t, s)
	}
	want[chunks[1].ID] = shards(t, chunks[1])
	want[chunks[2].ID] = want[chunks[2].ID][1:]
	asked := append([]schemas.ChunkID{m.Data(1).ID}, ids(chunks)...)
	asked = append(asked, chunks[3].ID, chunks[3].ID)
	got := make([][]schemas.Chunk, len(asked))
	codes := make([]schemas.Code, len(asked))
	last := 0
	err := s.ReadAll(storagetest.Vault, asked, false, func(i int, c *storage.Found, err error) bool {
		if i < last {
			t.Errorf("id %d is visited after id %d", i, last)
		}
		last = i
		if err != nil {
			codes[i] = schemas.CodeOf(err)
			return true
		}
		if err := c.Read(make([]byte, c.Len)); err != nil {
			t.Errorf("read part %v of id %d: %v", c.Part, i, err)
		}
		got[i] = append(got[i], c.Chunk)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range asked {
		switch {
		case i == 0 && codes[i] == schemas.NotHeld, id == chunks[4].ID && codes[i] == schemas.Corrupt:
		case codes[i] != "" || len(got[i]) != len(want[id]):
			t.Errorf("id %d is visited %d times, want %d; the code is %q", i, len(got[i]), len(want[id]), codes[i])
		default:
			for n := range got[i] {
				storagetest.Same(t, want[id][n], got[i][n])
			}
		}
	}
	// Replace what is damaged, so that the check at the end is clean.
	storagetest.Put(t, s, chunks[1], shards(t, chunks[2])[0], chunks[4])
}

// A mark differs from a put and from a pin, and lasts as long as its generation.
func TestMark(t *testing.T) {
	fs := vfs.NewMem()
	s := storagetest.Open(t, dir, storage.Options{FS: fs})
	m := storagetest.NewMaker(1)
	a, b, none := m.Data(100), m.Data(200), m.Data(300)
	bs := shards(t, b)
	storagetest.Put(t, s, a, bs[0])
	generation := uint32(0)
	next := func() {
		generation++
		if err := s.SetGeneration(t.Context(), generation); err != nil {
			t.Fatal(err)
		}
	}
	mark := func(want string) {
		t.Helper()
		held, fresh := make([]bool, 3), make([]bool, 3)
		err := s.Mark(t.Context(), generation, storagetest.Vault, ids([]schemas.Chunk{a, none, b}), held, fresh)
		if got := fmt.Sprint(held, fresh); err != nil || got != want {
			t.Errorf("the marks are %v, %v; want %v", got, err, want)
		}
	}
	const first, again = "[true false true] [true false true]", "[true false true] [false false false]"
	next()
	mark(first)
	mark(again)
	next()
	mark(first)
	storagetest.Put(t, s, a, bs[0])
	storagetest.Holds(t, s, a)
	partsOf(t, s, b.ID)
	mark(again)
	storagetest.Put(t, s, bs[1]) // one more part
	mark("[true false true] [false false true]")
	mark(again)
	next()
	storagetest.Put(t, s, a) // pinned in this generation, and not marked
	partsOf(t, s, b.ID)
	mark(first)
	held := make([]bool, 1)
	for _, g := range []uint32{generation - 1, generation + 1} {
		if err := s.Mark(t.Context(), g, storagetest.Vault, ids([]schemas.Chunk{a}), held, make([]bool, 1)); !errors.Is(err, storage.ErrOtherGeneration) {
			t.Errorf("in generation %d, a mark for %d: %v", generation, g, err)
		}
	}
	// A damaged part is not held. While it is marked it stays known, and a put that
	// replaces it is marked too.
	damage(t, fs, s, a)
	_, err := s.Get(storagetest.Vault, a.ID)
	storagetest.Code(t, err, schemas.Corrupt)
	next()
	mark("[false false true] [false false true]")
	all := func(schemas.VaultID, schemas.ChunkID, schemas.Part) bool { return true }
	if swept, err := s.Sweep(t.Context(), generation, all); err != nil || swept.Chunks != 0 || s.Stats().Corrupt != 1 {
		t.Errorf("%+v was swept, %v; %+v", swept, err, s.Stats())
	}
	storagetest.Put(t, s, a)
	mark(again)
	damage(t, fs, s, a)
	_, err = s.Get(storagetest.Vault, a.ID)
	storagetest.Code(t, err, schemas.Corrupt)
	next()
	if swept, err := s.Sweep(t.Context(), generation, all); err != nil || swept.Chunks != 3 || s.Stats().Corrupt != 0 {
		t.Errorf("%+v was swept, %v; %+v", swept, err, s.Stats())
	}
}

// A part that was marked before a crash is not swept after it in the same generation,
// however often the node is told that generation, and whatever is left of the index.
func TestMarkThenCrash(t *testing.T) {
	all := func(schemas.VaultID, schemas.ChunkID, schemas.Part) bool { return true }
	damageFile := func(t *testing.T, fs vfs.FS) {
		name := dir + "/GENERATION"
		b := readFile(t, fs, name)
		b[12] ^= 1
		writeFile(t, fs, name, b)
	}
	for name, tt := range map[string]struct {
		opt   storage.Options
		spoil func(t *testing.T, fs vfs.FS)
	}{
		"as it is":         {},
		"index rebuilt":    {opt: storage.Options{RebuildIndex: true}},
		"file damaged":     {spoil: damageFile},
		"both are damaged": {opt: storage.Options{RebuildIndex: true}, spoil: damageFile},
		"index is empty":   {spoil: func(_ *testing.T, fs vfs.FS) { fs.RemoveAll(dir + "/index") }},
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewCrashableMem()
			s := storagetest.Open(t, dir, storage.Options{FS: fs})
			a := storagetest.NewMaker(1).Data(100)
			storagetest.Put(t, s, a)
			setGeneration := func(g uint32) {
				t.Helper()
				if err := s.SetGeneration(t.Context(), g); err != nil {
					t.Fatal(err)
				}
			}
			setGeneration(5)
			one := []bool{false}
			if err := s.Mark(t.Context(), 5, storagetest.Vault, []schemas.ChunkID{a.ID}, one, one); err != nil {
				t.Fatal(err)
			}
			crashed := fs.CrashClone(vfs.CrashCloneCfg{})
			storagetest.CloseClean(t, s)
			if tt.spoil != nil {
				tt.spoil(t, crashed)
			}
			tt.opt.FS = crashed
			s = storagetest.Open(t, dir, tt.opt)
			for _, told := range []bool{false, true, true} {
				if told {
					setGeneration(5)
				}
				for before := range uint32(8) {
					if swept, err := s.Sweep(t.Context(), before, all); !errors.Is(err, storage.ErrTooEarly) {
						t.Fatalf("told the generation again %v: a sweep before %d swept %d: %v", told, before, swept.Chunks, err)
					}
				}
			}
			setGeneration(6)
			if swept, err := s.Sweep(t.Context(), 6, all); err != nil || swept.Chunks != 1 {
				t.Errorf("the next collection sweeps %d: %v", swept.Chunks, err)
			}
		})
	}
}

// Each visits all parts in order, from any position on, while the store is used.
func TestEach(t *testing.T) {
	s := storagetest.Open(t, dir, storage.Options{FS: vfs.NewMem()})
	m := storagetest.NewMaker(1)
	other := schemas.SealedVault("another")
	var want []storage.Held
	add := func(vault schemas.VaultID, chunks ...schemas.Chunk) {
		if err := s.Put(t.Context(), vault, chunks); err != nil {
			t.Fatal(err)
		}
		for _, c := range chunks {
			at := storage.Cursor{Vault: vault, PartID: storage.PartID{ID: c.ID, Part: c.Part}}
			want = append(want, storage.Held{Cursor: at, Kind: c.Kind, Content: len(c.Content)})
		}
	}
	for i := range 1200 {
		add(storagetest.Vault, m.Data(i%7))
	}
	add(storagetest.Vault, append(shards(t, m.Data(600)), m.Mixed()...)...)
	add(other, m.Data(1), m.Data(2), m.Tree(1, 2, 3))
	slices.SortFunc(want, func(a, b storage.Held) int {
		for _, c := range []int{bytes.Compare(a.Vault[:], b.Vault[:]), bytes.Compare(a.ID[:], b.ID[:])} {
			if c != 0 {
				return c
			}
		}
		return int(a.Part) - int(b.Part)
	})
	each := func(after storage.Cursor, limit int) (got []storage.Held) {
		t.Helper()
		err := s.Each(t.Context(), after, func(h storage.Held) bool {
			if len(got)%500 == 0 {
				partsOf(t, s, h.ID)
			}
			got = append(got, h)
			return len(got) < limit
		})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := each(storage.Cursor{}, len(want)+1); !slices.Equal(got, want) {
		t.Errorf("%d visited parts are not the %d parts of the store", len(got), len(want))
	}
	for _, at := range []int{0, 1, 700, 1022, 1023, 1024, len(want) - 1} {
		if got := each(want[at].Cursor, 3); !slices.Equal(got, want[at+1:min(len(want), at+4)]) {
			t.Errorf("behind part %d Each visits %v", at, got)
		}
	}
	first := slices.IndexFunc(want, func(h storage.Held) bool { return h.Vault == other })
	if got := each(storage.Cursor{Vault: other}, 3); !slices.Equal(got, want[first:first+3]) {
		t.Errorf("in the other vault Each visits %v", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Each(ctx, storage.Cursor{}, func(storage.Held) bool { return true }); !errors.Is(err, context.Canceled) {
		t.Errorf("with a cancelled context Each returns %v", err)
	}
}

// An index of the previous version is rebuilt, although its keys had another order.
func TestOlderIndex(t *testing.T) {
	fs := vfs.NewMem()
	s := storagetest.Open(t, dir, storage.Options{FS: fs})
	a := storagetest.NewMaker(1).Data(100)
	storagetest.Put(t, s, a)
	storagetest.CloseClean(t, s)
	if err := fs.RemoveAll(dir + "/index"); err != nil {
		t.Fatal(err)
	}
	db, err := pebble.Open(dir+"/index", &pebble.Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Set([]byte("p"), append([]byte{2}, make([]byte, 48)...), pebble.Sync), db.Close()); err != nil {
		t.Fatal(err)
	}
	s = storagetest.Open(t, dir, storage.Options{FS: fs})
	storagetest.Holds(t, s, a)
	if !s.Stats().Reindexed {
		t.Error("the stats do not say that the index was rebuilt")
	}
}

// After AfterDrops, the store reports no part that an earlier Drop decided to forget.
func TestAfterDrops(t *testing.T) {
	s := storagetest.Open(t, "node", storage.Options{FS: vfs.NewMem()})
	chunk := storagetest.NewMaker(2).Data(100)
	storagetest.Put(t, s, chunk)
	decided, release := make(chan struct{}), make(chan struct{})
	dropped := make(chan error, 1)
	go func() {
		_, err := s.Drop(t.Context(), storagetest.Vault, []storage.PartID{{ID: chunk.ID}}, func() bool {
			close(decided)
			<-release
			return true
		})
		dropped <- err
	}()
	<-decided
	asked := make(chan string, 1)
	go func() {
		if err := s.AfterDrops(t.Context()); err != nil {
			t.Error(err)
		}
		asked <- partsOf(t, s, chunk.ID)[0]
	}()
	time.AfterFunc(10*time.Millisecond, func() { close(release) }) // later than a lookup takes
	if held := <-asked; held != "" {
		t.Errorf("%q is reported as held", held)
	}
	if err := <-dropped; err != nil {
		t.Fatal(err)
	}
}
