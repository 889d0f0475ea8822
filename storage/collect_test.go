package storage_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"servidor-backup/schemas"
	"servidor-backup/storage"
	"servidor-backup/storage/storagetest"
)

// world is a store and what its users expect of it: versions that are there, and
// sessions that were told that chunks are held and count on it.
type world struct {
	t     *testing.T
	rng   *rand.Rand
	fs    *vfs.MemFS
	s     *storage.Store
	all   []schemas.Chunk // that there are, put or not
	trace []string

	generation uint32
	sessions   []*session
	versions   []uses
	swept      int64
}

type uses map[int]bool // places in all

type session struct {
	generation uint32
	uses       uses
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 3)), fs: vfs.NewCrashableMem(), generation: 1}
	maker := storagetest.NewMaker(byte(seed))
	for range 40 {
		w.all = append(w.all, maker.Data(w.rng.IntN(900)))
	}
	w.open(storage.Options{})
	return w
}

func (w *world) open(opt storage.Options) {
	opt.FS, opt.SegmentSize = w.fs, 4<<10
	var err error
	if w.s, err = storage.Open(dir, opt); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) note(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf(format, args...))
}

// some are places of a few chunks, near each other more often than not.
func (w *world) some() []int {
	var places []int
	first := w.rng.IntN(len(w.all))
	for range 1 + w.rng.IntN(6) {
		places = append(places, (first+w.rng.IntN(12))%len(w.all))
	}
	return places
}

func (w *world) chunks(places []int) (chunks []schemas.Chunk) {
	for _, i := range places {
		chunks = append(chunks, w.all[i])
	}
	return chunks
}

// step is what somebody does next. collecting means that a collection is under
// way, whose steps are collect's own.
func (w *world) step(collecting bool) {
	switch n := w.rng.IntN(20); {
	case n < 3 || len(w.sessions) == 0:
		w.sessions = append(w.sessions, &session{w.generation, uses{}})
		w.note("session opened in %d", w.generation)
	case n < 8:
		s, places := w.session(), w.some()
		storagetest.Put(w.t, w.s, w.chunks(places)...)
		s.use(places)
		w.note("put %v", places)
	case n < 12:
		s, places := w.session(), w.some()
		var ids []schemas.ChunkID
		for _, i := range places {
			ids = append(ids, w.all[i].ID)
		}
		held := make([]bool, len(ids))
		if err := w.s.Has(storagetest.Vault, ids, held); err != nil {
			w.t.Fatal(err)
		}
		for n, i := range places {
			if held[n] {
				s.use([]int{i})
			}
		}
		w.note("has %v: %v", places, held)
	case n < 14:
		i := w.rng.IntN(len(w.sessions))
		s := w.sessions[i]
		w.sessions = slices.Delete(w.sessions, i, i+1)
		if w.rng.IntN(3) > 0 {
			w.holds(s.uses)
			w.versions = append(w.versions, s.uses)
			w.note("commit of %v", slices.Sorted(maps.Keys(s.uses)))
		}
	case n < 16 && len(w.versions) > 0:
		i := w.rng.IntN(len(w.versions))
		w.versions = slices.Delete(w.versions, i, i+1)
		w.note("version %d forgotten", i)
	case n == 16 && !collecting:
		w.compact()
	case n == 17 && !collecting:
		w.restart()
	case n == 18 && !collecting:
		w.collect()
	}
}

func (w *world) session() *session { return w.sessions[w.rng.IntN(len(w.sessions))] }

func (s *session) use(places []int) {
	for _, i := range places {
		s.uses[i] = true
	}
}

// holds fails the test unless all that is counted on is there: nothing was
// deleted that should not be.
func (w *world) holds(u uses) {
	w.t.Helper()
	storagetest.Holds(w.t, w.s, w.chunks(slices.Sorted(maps.Keys(u)))...)
	if w.t.Failed() {
		for _, line := range w.trace {
			w.t.Log(line)
		}
		w.t.FailNow()
	}
}

func (w *world) compact() {
	done, err := w.s.Compact(w.t.Context(), storage.Compaction{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.note("compacted: %+v", done)
}

// restart closes the store, or leaves it as a power cut would, and opens it.
func (w *world) restart() {
	crash, rebuild := w.rng.IntN(3) > 0, w.rng.IntN(6) == 0
	fs := w.fs
	if crash {
		fs = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: w.rng.IntN(101), RNG: w.rng})
	}
	storagetest.CloseClean(w.t, w.s)
	w.fs = fs
	w.note("restart: crash %v, index made anew %v", crash, rebuild)
	w.open(storage.Options{RebuildIndex: rebuild})
}

// collect is a collection as a coordinator does it: in this order, with others
// at work between any two steps.
func (w *world) collect() {
	if err := w.s.SetGeneration(w.t.Context(), w.generation+1); err != nil {
		w.t.Fatal(err)
	}
	w.step(true)
	w.generation++
	w.step(true)
	before := w.generation
	for _, s := range w.sessions {
		before = min(before, s.generation)
	}
	w.step(true)
	marked := map[schemas.ChunkID]bool{}
	for _, v := range w.versions {
		for i := range v {
			marked[w.all[i].ID] = true
		}
	}
	w.step(true)
	w.note("sweep before %d", before)
	swept, err := w.s.Sweep(w.t.Context(), before, func(_ schemas.VaultID, id schemas.ChunkID, _ uint8) bool {
		if w.rng.IntN(4) == 0 {
			w.step(true)
		}
		return !marked[id]
	})
	if errors.Is(err, storage.ErrTooEarly) {
		w.note("%v", err)
		return
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.swept += swept.Chunks
	w.note("swept %d", swept.Chunks)
}

// histories is how many TestCollect runs.
func histories() int {
	if os.Getenv("BACKUP_LONG") != "" {
		return 1000
	}
	return 60
}

// Whatever happens in whatever order, nothing is collected that a version or a
// session counts on; and in the end everything else is, and its space is back.
func TestCollect(t *testing.T) {
	var swept int64
	for seed := range uint64(histories()) {
		w := newWorld(t, seed)
		for range 60 {
			w.step(false)
		}
		for _, s := range w.sessions {
			w.holds(s.uses)
		}
		w.sessions = nil
		needed := uses{}
		for _, v := range w.versions {
			maps.Copy(needed, v)
		}
		w.holds(needed)
		w.rng = rand.New(rand.NewPCG(seed, 4))
		w.finish(needed)
		swept += w.swept
	}
	if swept == 0 {
		t.Error("no history collected anything")
	}
}

// finish collects when nobody is at work.
func (w *world) finish(needed uses) {
	w.generation++
	if err := w.s.SetGeneration(w.t.Context(), w.generation); err != nil {
		w.t.Fatal(err)
	}
	ids := map[schemas.ChunkID]bool{}
	for i := range needed {
		ids[w.all[i].ID] = true
	}
	if _, err := w.s.Sweep(w.t.Context(), w.generation, func(_ schemas.VaultID, id schemas.ChunkID, _ uint8) bool { return !ids[id] }); err != nil {
		w.t.Fatal(err)
	}
	if n := w.s.Stats().Chunks; n != int64(len(needed)) {
		w.t.Errorf("%d chunks are left of %d", n, len(needed))
	}
	w.compact()
	w.holds(needed)
	storagetest.CloseClean(w.t, w.s)
	var live, size int64
	for i := range needed {
		live += 152 + int64(len(w.all[i].Content))
	}
	names, err := w.fs.List(dir + "/segments")
	if err != nil {
		w.t.Fatal(err)
	}
	for _, name := range names {
		size += int64(len(readFile(w.t, w.fs, dir+"/segments/"+name)))
	}
	// A fifth of each segment may be dead; the last one is not looked at, and
	// the one before may just have been moved to.
	if most := live*5/4 + int64(len(names))*128 + 2*(4<<10) + 2000; size > most {
		w.t.Errorf("%d bytes live in segments of %d", live, size)
	}
	w.open(storage.Options{})
	w.holds(needed)
	storagetest.CloseClean(w.t, w.s)
}

// A store that was opened does not know what was said before a crash.
func TestSweepTooEarly(t *testing.T) {
	fs := vfs.NewMem()
	s := storagetest.Open(t, dir, storage.Options{FS: fs})
	none := func(schemas.VaultID, schemas.ChunkID, uint8) bool { return true }
	sweep := func(before uint32, early bool) {
		t.Helper()
		_, err := s.Sweep(t.Context(), before, none)
		if errors.Is(err, storage.ErrTooEarly) != early || !early && err != nil {
			t.Errorf("a sweep before %d: %v", before, err)
		}
	}
	sweep(0, true)
	for _, g := range []uint32{3, 2, 5} {
		if err := s.SetGeneration(t.Context(), g); err != nil {
			t.Fatal(err)
		}
	}
	if g := s.Generation(); g != 5 {
		t.Errorf("the generation is %d", g)
	}
	for before, early := range map[uint32]bool{2: true, 3: false, 5: false, 6: true} {
		sweep(before, early)
	}
	storagetest.CloseClean(t, s)
	s = storagetest.Open(t, dir, storage.Options{FS: fs})
	sweep(5, true)
	if err := s.SetGeneration(t.Context(), 7); err != nil {
		t.Fatal(err)
	}
	sweep(6, true)
	sweep(7, false)
}

// swept gives a store of small segments in which every second chunk was
// forgotten, and the chunks that were not.
func swept(t *testing.T, fs vfs.FS) (s *storage.Store, kept []schemas.Chunk) {
	s = storagetest.Open(t, dir, storage.Options{FS: fs, SegmentSize: 2 << 10})
	m := storagetest.NewMaker(1)
	doomed := map[schemas.ChunkID]bool{}
	for i := range 40 {
		c := m.Data(300)
		storagetest.Put(t, s, c)
		if i%2 == 0 {
			kept = append(kept, c)
		}
		doomed[c.ID] = i%2 == 1
	}
	if err := s.SetGeneration(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	done, err := s.Sweep(t.Context(), 1, func(_ schemas.VaultID, id schemas.ChunkID, _ uint8) bool { return doomed[id] })
	if err != nil || done.Chunks != 20 || done.Looked != 40 || done.Bytes != 20*452 {
		t.Fatalf("swept %+v, %v", done, err)
	}
	return s, kept
}

// Reads, puts, sweeps, compactions and checks go on side by side.
func TestCollectConcurrently(t *testing.T) {
	s := storagetest.Open(t, t.TempDir(), storage.Options{SegmentSize: 16 << 10})
	m := storagetest.NewMaker(1)
	var keep, garbage []schemas.Chunk
	kept := map[schemas.ChunkID]bool{}
	for i := range 60 {
		keep, garbage = append(keep, m.Data(i*40)), append(garbage, m.Data(i*40))
		kept[keep[i].ID] = true
	}
	storagetest.Put(t, s, keep...)
	if err := s.SetGeneration(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var all, collecting sync.WaitGroup
	collecting.Go(func() {
		for g := uint32(2); ctx.Err() == nil; g++ {
			err := s.SetGeneration(t.Context(), g)
			if err == nil {
				_, err = s.Sweep(t.Context(), g, func(_ schemas.VaultID, id schemas.ChunkID, _ uint8) bool { return !kept[id] })
			}
			if err == nil {
				_, err = s.Compact(t.Context(), storage.Compaction{Dead: 0.05})
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	for g := range 4 {
		all.Go(func() {
			for i := range 60 {
				at := (g*13 + i*7) % 55
				if err := s.Put(t.Context(), storagetest.Vault, garbage[at:at+5]); err != nil {
					t.Error(err)
					return
				}
				storagetest.Holds(t, s, keep[at:at+5]...)
				readAll(t, s, keep[at:at+5])
			}
		})
	}
	all.Go(func() {
		for range 5 {
			storagetest.Clean(t, s)
		}
	})
	all.Wait()
	cancel()
	collecting.Wait()
	storagetest.Holds(t, s, keep...)
}

func readAll(t *testing.T, s *storage.Store, chunks []schemas.Chunk) {
	var ids []schemas.ChunkID
	for i := range chunks {
		ids = append(ids, chunks[i].ID)
	}
	err := s.ReadAll(storagetest.Vault, ids, false, func(i int, c *storage.Found, err error) bool {
		if err == nil {
			err = c.Read(make([]byte, c.Len))
		}
		if err != nil {
			t.Error(err)
		} else {
			storagetest.Same(t, chunks[i], c.Chunk)
		}
		return true
	})
	if err != nil {
		t.Error(err)
	}
}
