package storage_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"servidor-backup/schemas"
	"servidor-backup/schemas/erasure"
	"servidor-backup/storage"
	"servidor-backup/storage/storagetest"
)

// world is a store and what its users expect of it: the parts that versions use, and
// the parts that the store reported as held to sessions that rely on it.
type world struct {
	t     *testing.T
	rng   *rand.Rand
	fs    *vfs.MemFS
	s     *storage.Store
	all   []schemas.Chunk // all parts, put or not
	trace []string

	generation uint32
	sessions   []*session
	versions   []uses
	marked     uses // in the store's generation; a crash may have undone marks
	swept      int64
	dropped    int
	restarted  bool // since the collection began
}

type uses map[int]bool // indexes of world.all

type session struct {
	generation uint32
	uses       uses
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 3)), fs: vfs.NewCrashableMem(), generation: 1, marked: uses{}}
	maker := storagetest.NewMaker(byte(seed))
	for i := range 34 {
		c := maker.Data(1 + w.rng.IntN(900))
		w.all = append(w.all, c)
		if i%6 == 0 {
			w.all = append(w.all, shards(t, c)...)
		}
	}
	w.open(storage.Options{})
	return w
}

// shards returns the shards of the chunk under 2+1.
func shards(t *testing.T, c schemas.Chunk) []schemas.Chunk {
	t.Helper()
	all, _, err := erasure.Split(schemas.Durability{K: 2, M: 1}, &c, nil)
	if err != nil {
		t.Fatal(err)
	}
	return all
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

// fail logs the trace and ends the test.
func (w *world) fail(format string, args ...any) {
	w.t.Helper()
	for _, line := range w.trace {
		w.t.Log(line)
	}
	w.t.Fatalf(format, args...)
}

// randomParts returns the indexes of a few parts, most of them near each other.
func (w *world) randomParts() []int {
	var indexes []int
	first := w.rng.IntN(len(w.all))
	for range 1 + w.rng.IntN(6) {
		indexes = append(indexes, (first+w.rng.IntN(12))%len(w.all))
	}
	return indexes
}

func (w *world) chunks(indexes []int) (chunks []schemas.Chunk) {
	for _, i := range indexes {
		chunks = append(chunks, w.all[i])
	}
	return chunks
}

func ids(chunks []schemas.Chunk) (ids []schemas.ChunkID) {
	for i := range chunks {
		ids = append(ids, chunks[i].ID)
	}
	return ids
}

// indexOf returns the index of the part in all.
func (w *world) indexOf(id schemas.ChunkID, p schemas.Part) int {
	return slices.IndexFunc(w.all, func(c schemas.Chunk) bool { return c.ID == id && c.Part == p })
}

// step does one random step. If collecting is set, a collection is under way, and step
// neither compacts nor restarts nor collects.
func (w *world) step(collecting bool) {
	switch n := w.rng.IntN(22); {
	case n < 3 || len(w.sessions) == 0:
		w.sessions = append(w.sessions, &session{w.generation, uses{}})
		w.note("session opened in %d", w.generation)
	case n < 8:
		s, indexes := w.session(), w.randomParts()
		storagetest.Put(w.t, w.s, w.chunks(indexes)...)
		s.use(indexes)
		w.note("put %v", indexes)
	case n < 10:
		w.has()
	case n < 12:
		w.parts()
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
	case n < 18:
		w.drop()
	case n == 18 && !collecting:
		w.compact()
	case n == 19 && !collecting:
		w.restart()
	case n == 20 && !collecting:
		w.collect()
	}
}

func (w *world) session() *session { return w.sessions[w.rng.IntN(len(w.sessions))] }

func (s *session) use(indexes []int) {
	for _, i := range indexes {
		s.uses[i] = true
	}
}

// has asks for whole chunks; a session uses those that are held.
func (w *world) has() {
	s, indexes := w.session(), w.randomParts()
	asked := ids(w.chunks(indexes))
	held := make([]bool, len(asked))
	if err := w.s.Has(storagetest.Vault, asked, held); err != nil {
		w.t.Fatal(err)
	}
	for n := range asked {
		if held[n] {
			s.use([]int{w.indexOf(asked[n], schemas.Whole)})
		}
	}
	w.note("has %v: %v", indexes, held)
}

// parts asks for parts; a session uses those that are held.
func (w *world) parts() {
	s, indexes := w.session(), w.randomParts()
	asked := ids(w.chunks(indexes))
	last := -1
	err := w.s.Parts(storagetest.Vault, asked, func(i int, p schemas.Part) error {
		if i < last {
			w.t.Errorf("id %d is visited after id %d", i, last)
		}
		last = i
		s.use([]int{w.indexOf(asked[i], p)})
		w.note("part %v of %v", p, indexes[i])
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// drop drops parts that nobody uses; other parts are protected by still.
func (w *world) drop() {
	indexes := w.randomParts()
	free := !slices.ContainsFunc(indexes, w.used)
	var parts []storage.PartID
	for _, c := range w.chunks(indexes) {
		parts = append(parts, storage.PartID{ID: c.ID, Part: c.Part})
	}
	n, err := w.s.Drop(w.t.Context(), storagetest.Vault, parts, func() bool { return free })
	if err != nil || !free && n > 0 {
		w.fail("%d of %v were dropped: %v", n, indexes, err)
	}
	w.dropped += n
	w.note("drop of %v: %d", indexes, n)
}

func (w *world) used(i int) bool {
	for _, s := range w.sessions {
		if s.uses[i] {
			return true
		}
	}
	return slices.ContainsFunc(w.versions, func(v uses) bool { return v[i] })
}

// holds fails the test unless all used parts are held. It does not ask with Has, which
// would pin them.
func (w *world) holds(u uses) {
	w.t.Helper()
	for _, i := range slices.Sorted(maps.Keys(u)) {
		c := w.all[i]
		got, err := w.s.GetPart(storagetest.Vault, c.ID, c.Part)
		if err != nil {
			w.fail("part %d: %v", i, err)
		}
		storagetest.Same(w.t, c, got)
	}
}

func (w *world) compact() {
	done, err := w.s.Compact(w.t.Context(), storage.Compaction{})
	if err != nil {
		w.t.Fatal(err)
	}
	w.note("compacted: %+v", done)
}

// restart closes the store, or leaves it as a power cut would, and opens it again.
func (w *world) restart() {
	crash, rebuild := w.rng.IntN(3) > 0, w.rng.IntN(6) == 0
	fs := w.fs
	if crash {
		fs = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: w.rng.IntN(101), RNG: w.rng})
	}
	storagetest.CloseClean(w.t, w.s)
	w.fs = fs
	w.note("restart: crash %v, index rebuilt %v", crash, rebuild)
	w.open(storage.Options{RebuildIndex: rebuild})
	w.restarted = true
}

// collect runs a collection as a coordinator does, in this order. Between any two steps
// there are steps of others and sometimes a restart.
func (w *world) collect() {
	w.setGeneration(w.generation + 1)
	w.restarted = false
	w.between()
	w.generation++
	w.between()
	before := w.generation
	for _, s := range w.sessions {
		before = min(before, s.generation)
	}
	w.between()
	needed := uses{}
	for _, v := range w.versions {
		maps.Copy(needed, v)
	}
	w.between()
	w.mark(needed)
	w.between()
	w.note("sweep before %d", before)
	swept, err := w.s.Sweep(w.t.Context(), before, func(schemas.VaultID, schemas.ChunkID, schemas.Part) bool {
		if w.rng.IntN(4) == 0 {
			w.step(true)
		}
		return true
	})
	if errors.Is(err, storage.ErrTooEarly) {
		w.note("%v", err)
		return
	}
	if err != nil || w.restarted {
		w.fail("a sweep of a store (restarted: %v): %v", w.restarted, err)
	}
	w.swept += swept.Chunks
	w.note("swept %d", swept.Chunks)
}

func (w *world) setGeneration(g uint32) {
	if err := w.s.SetGeneration(w.t.Context(), g); err != nil {
		w.t.Fatal(err)
	}
	if g > w.generation {
		w.marked = uses{}
	}
	w.note("generation %d", g)
}

// between does what may happen between two steps of a collection. After a restart the
// node may be told its generation again.
func (w *world) between() {
	w.step(true)
	if w.rng.IntN(25) > 0 {
		return
	}
	w.restart()
	if w.rng.IntN(2) == 0 {
		w.setGeneration(w.s.Generation())
	}
}

// mark marks the chunks of the needed parts, in random order and some of them twice.
func (w *world) mark(needed uses) {
	indexes := slices.Sorted(maps.Keys(needed))
	w.rng.Shuffle(len(indexes), func(i, j int) { indexes[i], indexes[j] = indexes[j], indexes[i] })
	for batch := range slices.Chunk(indexes, 5) {
		asked := ids(w.chunks(batch))
		held, fresh := make([]bool, len(asked)), make([]bool, len(asked))
		if err := w.s.Mark(w.t.Context(), w.s.Generation()-1, storagetest.Vault, asked, held, fresh); !errors.Is(err, storage.ErrOtherGeneration) {
			w.fail("marks for another generation: %v", err)
		}
		before := w.heldParts(asked)
		if err := w.s.Mark(w.t.Context(), w.s.Generation(), storagetest.Vault, asked, held, fresh); err != nil {
			w.t.Fatal(err)
		}
		w.note("marked %v: held %v, fresh %v", batch, held, fresh)
		for n := range asked {
			if held[n] != (len(before[n]) > 0) || w.used(batch[n]) && !held[n] {
				w.fail("part %d (used: %v) is held: %v", batch[n], w.used(batch[n]), held[n])
			}
			new := slices.ContainsFunc(before[n], func(i int) bool { return !w.marked[i] })
			if new && !fresh[n] && !slices.Contains(asked[:n], asked[n]) && !slices.Contains(asked[n+1:], asked[n]) {
				w.fail("part %d is marked for the first time and not fresh", batch[n])
			}
		}
		for n := range asked {
			for _, i := range before[n] {
				w.marked[i] = true
			}
		}
		w.between()
	}
}

// heldParts returns the indexes of the held parts of each id. It does not ask with
// Parts, which would pin them.
func (w *world) heldParts(ids []schemas.ChunkID) [][]int {
	held := make([][]int, len(ids))
	err := w.s.Each(w.t.Context(), storage.Cursor{}, func(h storage.Held) bool {
		for i := range ids {
			if ids[i] == h.ID {
				held[i] = append(held[i], w.indexOf(h.ID, h.Part))
			}
		}
		return true
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return held
}

// histories returns the number of histories that TestCollect runs.
func histories() int {
	if os.Getenv("BACKUP_LONG") != "" {
		return 1000
	}
	return 60
}

// In random histories nothing is collected that a version or a session uses. In the end
// everything else is collected and its space is freed.
func TestCollect(t *testing.T) {
	var swept int64
	dropped := 0
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
		dropped += w.dropped
	}
	if swept == 0 || dropped == 0 {
		t.Errorf("all histories together collected %d and dropped %d", swept, dropped)
	}
}

// finish collects while nobody uses the store.
func (w *world) finish(needed uses) {
	w.setGeneration(w.generation + 1)
	w.generation++
	needed = w.family(needed)
	chunks := w.chunks(slices.Sorted(maps.Keys(needed)))
	held, fresh := make([]bool, len(chunks)), make([]bool, len(chunks))
	if err := w.s.Mark(w.t.Context(), w.generation, storagetest.Vault, ids(chunks), held, fresh); err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.s.Sweep(w.t.Context(), w.generation, func(schemas.VaultID, schemas.ChunkID, schemas.Part) bool { return true }); err != nil {
		w.t.Fatal(err)
	}
	if n := w.s.Stats().Chunks; n != int64(len(needed)) {
		w.fail("%d parts are left of %d", n, len(needed))
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
	// A fifth of each segment may be dead. The last segment is not compacted, and live
	// records may just have been moved to the one before.
	if most := live*5/4 + int64(len(names))*128 + 2*(4<<10) + 2000; size > most {
		w.t.Errorf("%d bytes live in segments of %d", live, size)
	}
	w.open(storage.Options{})
	w.holds(needed)
	storagetest.CloseClean(w.t, w.s)
}

// family returns all held parts of the chunks that the given parts belong to; marking
// one of them keeps all.
func (w *world) family(indexes uses) uses {
	all := uses{}
	for i := range indexes {
		for _, j := range w.heldParts([]schemas.ChunkID{w.all[i].ID})[0] {
			all[j] = true
		}
	}
	return all
}
