package storage_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"servidor-backup/schemas"
	"servidor-backup/storage"
	"servidor-backup/storage/storagetest"
)

// Removed segments are not missing. A missing segment is still noticed, and so is damage
// to the list that tells the two apart.
func TestRemovedIsNotMissing(t *testing.T) {
	fs := vfs.NewMem()
	s, kept := sweptStore(t, fs)
	before := s.Stats().Segments
	done, err := s.Compact(t.Context(), storage.Compaction{})
	if err != nil || done.Segments == 0 || done.Moved == 0 || done.Freed <= done.Moved {
		t.Fatalf("compacted %+v, %v", done, err)
	}
	storagetest.Holds(t, s, kept...)
	names, err := fs.List(dir + "/segments")
	if n := s.Stats().Segments; err != nil || n != int64(len(names)) || n >= before {
		t.Errorf("the store counts %d segments of %d, %v; there were %d", n, len(names), err, before)
	}
	storagetest.CloseClean(t, s)
	slices.Sort(names)
	removed := readFile(t, fs, dir+"/REMOVED")
	for i := range removed {
		bad := slices.Clone(removed)
		bad[i] ^= 4
		writeFile(t, fs, dir+"/REMOVED", bad)
		if _, err := storage.Open(dir, storage.Options{FS: fs}); !errors.Is(err, storage.ErrCorrupt) {
			t.Fatalf("with byte %d of REMOVED changed: %v", i, err)
		}
	}
	s = storagetest.Open(t, dir, storage.Options{FS: fs, RebuildIndex: true})
	storagetest.Holds(t, s, kept...)
	storagetest.CloseClean(t, s)
	missing := dir + "/segments/" + names[0]
	b := readFile(t, fs, missing)
	if err := fs.Remove(missing); err != nil {
		t.Fatal(err)
	}
	lost, err := storage.Open(dir, storage.Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	if got := lost.Lost(); len(got) != 1 || got[0].Segment != "segments/"+names[0] {
		t.Errorf("without %s the store has lost %v", names[0], got)
	}
	if err := lost.Close(); err != nil {
		t.Error(err)
	}
	writeFile(t, fs, missing, b)
	s = storagetest.Open(t, dir, storage.Options{FS: fs})
	storagetest.Holds(t, s, kept...)
}

// A crash at any moment of a compaction loses no chunk, and the next compaction goes on.
func TestCrashInCompaction(t *testing.T) {
	for seed := range uint64(4) {
		mem := vfs.NewCrashableMem()
		s, kept := sweptStore(t, mem)
		storagetest.CloseClean(t, s)
		c := newCrasher(mem, seed, 30)
		c.acked = kept
		s, err := storage.Open(dir, storage.Options{FS: c.fs(), SegmentSize: 2 << 10})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Compact(t.Context(), storage.Compaction{}); err != nil {
			t.Fatal(err)
		}
		storagetest.CloseClean(t, s)
		if len(c.pictures) == 0 {
			t.Fatal("no crash was tried")
		}
		for _, p := range c.pictures {
			for _, rebuild := range []bool{false, true} {
				s := storagetest.Open(t, dir, storage.Options{FS: p.fs, SegmentSize: 2 << 10, RebuildIndex: rebuild})
				storagetest.Holds(t, s, kept...)
				if _, err := s.Compact(t.Context(), storage.Compaction{}); err != nil {
					t.Error(err)
				}
				storagetest.Holds(t, s, kept...)
				storagetest.CloseClean(t, s)
				if t.Failed() {
					t.Fatalf("seed %d, after a crash %s, index rebuilt %v", seed, p.name, rebuild)
				}
			}
		}
	}
}

// find returns the file that holds the content of a chunk, and the content's offset.
func find(t *testing.T, fs vfs.FS, c schemas.Chunk) (name string, offset int64) {
	t.Helper()
	names, err := fs.List(dir + "/segments")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		name = dir + "/segments/" + name
		if i := bytes.Index(readFile(t, fs, name), c.Content); i >= 0 {
			return name, int64(i)
		}
	}
	t.Fatal("no segment has the chunk")
	return "", 0
}

// A damaged record is not moved, and its damage stays known.
func TestCompactDamaged(t *testing.T) {
	fs := vfs.NewMem()
	s, kept := sweptStore(t, fs)
	for i, off := range []int64{5, -152 + 60} { // damage in a content and in a header
		name, at := find(t, fs, kept[i*5])
		flip(t, fs, name, at+off)
	}
	done, err := s.Compact(t.Context(), storage.Compaction{})
	if err != nil || done.Segments < 2 {
		t.Fatalf("compacted %+v, %v", done, err)
	}
	if st := s.Stats(); st.Corrupt != 2 || st.Chunks != int64(len(kept)-2) {
		t.Errorf("the stats are %+v", st)
	}
	var damaged []schemas.Chunk
	for _, c := range kept {
		if _, err := s.Get(storagetest.Vault, c.ID); err != nil {
			storagetest.Code(t, err, schemas.Corrupt)
			damaged = append(damaged, c)
		}
	}
	if len(damaged) != 2 {
		t.Fatalf("%d chunks are damaged, want 2", len(damaged))
	}
	problems := storagetest.Problems(t, s)
	for _, p := range problems {
		if p.Segment != "" || p.ID != damaged[0].ID && p.ID != damaged[1].ID {
			t.Errorf("the check found %v", p)
		}
	}
	storagetest.Put(t, s, damaged...)
	storagetest.Holds(t, s, kept...)
	if st := s.Stats(); len(problems) != 2 || st.Corrupt != 0 || st.Chunks != int64(len(kept)) {
		t.Errorf("%d problems, then the stats are %+v", len(problems), st)
	}
}

// A number in REMOVED is not used again, because a segment with that number would be
// removed at the next start.
func TestRemovedNumbersAreNotUsedAgain(t *testing.T) {
	fs := vfs.NewMem()
	s, _ := sweptStore(t, fs)
	if _, err := s.Compact(t.Context(), storage.Compaction{}); err != nil {
		t.Fatal(err)
	}
	storagetest.CloseClean(t, s)
	for _, name := range []string{"segments", "index"} {
		if err := fs.RemoveAll(dir + "/" + name); err != nil {
			t.Fatal(err)
		}
	}
	s, err := storage.Open(dir, storage.Options{FS: fs, RebuildIndex: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	m := storagetest.NewMaker(2)
	c := m.Data(100)
	storagetest.Put(t, s, c)
	name, _ := find(t, fs, c)
	if lost := s.Lost(); len(lost) != 1 || dir+"/"+lost[0].Segment >= name {
		t.Errorf("without any segment the store has lost %v and writes to %s", lost, name)
	}
}

// A disk that cannot be read for a while costs no segment.
func TestCompactUnreadable(t *testing.T) {
	mem := vfs.NewMem()
	s, kept := sweptStore(t, mem)
	storagetest.CloseClean(t, s)
	fs, broken := faulty(mem, errorfs.OpFileReadAt, errors.New("no answer from the disk"))
	s = storagetest.Open(t, dir, storage.Options{FS: fs, SegmentSize: 2 << 10})
	if err := s.SetGeneration(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	broken.On()
	done, err := s.Compact(t.Context(), storage.Compaction{})
	if err == nil || done.Moved != 0 || done.Segments > 1 { // the last one is wholly dead
		t.Errorf("compacted %+v, %v", done, err)
	}
	broken.Off()
	storagetest.Holds(t, s, kept...)
	if done, err := s.Compact(t.Context(), storage.Compaction{}); err != nil || done.Segments == 0 {
		t.Errorf("then compacted %+v, %v", done, err)
	}
	storagetest.Holds(t, s, kept...)
}
