package storage_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"servidor-backup/schemas"
	"servidor-backup/storage"
	"servidor-backup/storage/storagetest"
)

// crashSeeds is the number of histories that TestCrash runs. Each takes some twenty
// pictures of crashes.
const crashSeeds = 6

const dir = "store"

// crasher takes pictures of the disk as a power cut or a kill would leave it, before
// operations that are chosen at random.
type crasher struct {
	mem *vfs.MemFS

	mu       sync.Mutex
	rng      *rand.Rand
	percent  int // share of the write operations before which a picture is taken
	acked    []schemas.Chunk
	pictures []picture
}

type picture struct {
	name  string
	fs    *vfs.MemFS
	acked []schemas.Chunk // chunks whose puts had been answered before
}

func newCrasher(mem *vfs.MemFS, seed uint64, percent int) *crasher {
	return &crasher{mem: mem, rng: rand.New(rand.NewPCG(seed, 1)), percent: percent}
}

func (c *crasher) fs() vfs.FS { return errorfs.Wrap(c.mem, errorfs.InjectorFunc(c.before)) }

func (c *crasher) before(op errorfs.Op) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && c.rng.IntN(100) < c.percent && len(c.pictures) < 5 {
		c.takePicture(fmt.Sprintf("before operation %d on %s", op.Kind, op.Path))
	}
	return nil
}

// takePicture takes a picture. The caller holds c.mu.
func (c *crasher) takePicture(name string) {
	kept := []int{0, 30, 70, 100}[c.rng.IntN(4)] // 100 is a kill: the disk keeps everything
	clone := c.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: kept, RNG: c.rng})
	c.pictures = append(c.pictures, picture{fmt.Sprintf("%s, %d%% kept", name, kept), clone, slices.Clone(c.acked)})
}

func (c *crasher) ack(chunks []schemas.Chunk) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.acked = append(c.acked, chunks...)
}

// history opens the store, expects the acknowledged chunks in it, and puts random ones.
func (c *crasher) history(t *testing.T, maker *storagetest.Maker, puts int) {
	s, err := storage.Open(dir, storage.Options{FS: c.fs(), SegmentSize: 16 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer storagetest.CloseClean(t, s)
	storagetest.Holds(t, s, c.acked...)
	rng := rand.New(rand.NewPCG(uint64(puts), 2))
	for range puts {
		var chunks []schemas.Chunk
		for range 1 + rng.IntN(4) {
			chunks = append(chunks, maker.Data(rng.IntN(6000)), maker.Tree(rng.IntN(5), rng.IntN(50), rng.IntN(100)))
		}
		storagetest.Put(t, s, chunks...)
		c.ack(chunks)
	}
}

// Every acknowledged chunk survives every crash, also a crash during the recovery from
// another one, and a check finds no problem.
func TestCrash(t *testing.T) {
	for seed := range uint64(crashSeeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			maker := storagetest.NewMaker(byte(seed))
			first := newCrasher(vfs.NewCrashableMem(), seed, 12)
			first.history(t, maker, 12)
			first.mu.Lock()
			first.takePicture("at the end")
			first.mu.Unlock()
			for _, p := range first.pictures {
				second := newCrasher(p.fs, seed, 10)
				second.acked = p.acked
				second.history(t, maker, 2)
				for _, q := range second.pictures {
					s := storagetest.Open(t, dir, storage.Options{FS: q.fs})
					storagetest.Holds(t, s, q.acked...)
					storagetest.CloseClean(t, s)
				}
				if t.Failed() {
					t.Fatalf("after a crash %s", p.name)
				}
			}
		})
	}
}

// unflushed returns a disk as a kill leaves it, with the chunks in one segment, each in
// a batch of its own, and with an index that knows none of them. It also returns the
// offsets at which the batches end.
func unflushed(t *testing.T, chunks ...schemas.Chunk) (fs *vfs.MemFS, ends []int64) {
	mem := vfs.NewCrashableMem()
	s := storagetest.Open(t, dir, storage.Options{FS: mem})
	clone := func() *vfs.MemFS {
		return mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(0, 0))})
	}
	for i := range chunks {
		storagetest.Put(t, s, chunks[i])
		fs = clone()
		b := readFile(t, fs, segment1)
		ends = append(ends, int64(len(b)))
		if string(b[len(b)-152:][:5]) == "SBr1\x81" {
			ends[i] -= 152 // a mark was written already
		}
	}
	return fs, ends
}

const segment1 = dir + "/segments/00000001.seg"

func readFile(t *testing.T, fs vfs.FS, name string) []byte {
	t.Helper()
	f, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeFile(t *testing.T, fs vfs.FS, name string, b []byte) {
	t.Helper()
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(slices.Clone(b)); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}

// A batch that is cut off at any byte counts as never written.
func TestTornTail(t *testing.T) {
	m := storagetest.NewMaker(1)
	a, b, small := m.Data(100), m.Tree(1, 1, 300), m.Data(20)
	fs, ends := unflushed(t, a, b)
	whole := readFile(t, fs, segment1)
	for cut := ends[1] - 152 - 64 - 300; cut < ends[1]; cut += 9 {
		writeFile(t, fs, segment1, whole[:cut])
		if err := fs.RemoveAll(dir + "/index"); err != nil {
			t.Fatal(err)
		}
		s := storagetest.Open(t, dir, storage.Options{FS: fs})
		storagetest.Holds(t, s, a)
		_, err := s.Get(storagetest.Vault, b.ID)
		storagetest.Code(t, err, schemas.NotHeld)
		storagetest.Put(t, s, small) // shorter than the leftovers of b
		storagetest.CloseClean(t, s)
		s = storagetest.Open(t, dir, storage.Options{FS: fs, RebuildIndex: true})
		storagetest.Holds(t, s, a, small)
		storagetest.Put(t, s, b)
		storagetest.Holds(t, s, a, small, b)
		storagetest.CloseClean(t, s)
		if t.Failed() {
			t.Fatalf("cut at %d", cut)
		}
	}
}

// Damaged bytes do not count as a torn end if a record behind them proves that they had
// been synced.
func TestDamageIsNotTorn(t *testing.T) {
	m := storagetest.NewMaker(1)
	a, b, c := m.Data(100), m.Data(200), m.Data(300)
	fs, ends := unflushed(t, a, b, c)
	whole := readFile(t, fs, segment1)
	for _, tt := range []struct {
		name             string
		offset           int64
		corrupt, damaged int64
	}{
		{"content", ends[1] - 1, 1, 0},
		{"header", ends[1] - 200 - 152 + 40, 0, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			damaged := slices.Clone(whole)
			damaged[tt.offset] ^= 0x10
			writeFile(t, fs, segment1, damaged)
			s, err := storage.Open(dir, storage.Options{FS: fs, RebuildIndex: true})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			storagetest.Holds(t, s, a, c)
			if st := s.Stats(); st.Chunks != 2 || st.Corrupt != tt.corrupt || st.Damaged != tt.damaged {
				t.Errorf("the stats are %+v", st)
			}
			if got := storagetest.Problems(t, s); len(got) != 1 || got[0].Segment != "segments/00000001.seg" {
				t.Errorf("the check found %v", got)
			}
			storagetest.Put(t, s, b)
			storagetest.Holds(t, s, a, b, c)
		})
	}
}

// A segment whose creation was interrupted is made again.
func TestHalfMadeSegment(t *testing.T) {
	m := storagetest.NewMaker(1)
	a, b := m.Data(100), m.Data(200)
	for _, size := range []int{0, 1, 127, 128, 1000} {
		fs, _ := unflushed(t, a)
		writeFile(t, fs, dir+"/segments/00000002.seg", make([]byte, size))
		s := storagetest.Open(t, dir, storage.Options{FS: fs})
		storagetest.Put(t, s, b)
		storagetest.Holds(t, s, a, b)
		if n := s.Stats().Segments; n != 2 {
			t.Errorf("%d segments, want 2", n)
		}
		storagetest.CloseClean(t, s)
	}
}
