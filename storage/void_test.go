package storage_test

import (
	"bytes"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"servidor-backup/schemas"
	"servidor-backup/storage"
	"servidor-backup/storage/storagetest"
)

// A void part is not held, whatever happens to its record: it is read, checked, scrubbed, moved, and
// the store is opened again. Its bytes can be read all the time. A put replaces it for good.
func TestVoidPartsStayVoidUntilTheyArePut(t *testing.T) {
	fs := vfs.NewMem()
	m := storagetest.NewMaker(1)
	a, b, c := m.Data(3000), m.Tree(2, 3, 4000), m.Data(5000)
	open := func(opt storage.Options) *storage.Store {
		opt.FS, opt.SegmentSize = fs, 1
		s, err := storage.Open(dir, opt)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open(storage.Options{})
	storagetest.Put(t, s, c, a)
	storagetest.Put(t, s, b)
	void := func(chunk schemas.Chunk, sum schemas.Sum) bool {
		t.Helper()
		is, err := s.Void(t.Context(), storagetest.Vault, storage.PartID{ID: chunk.ID, Part: chunk.Part}, sum)
		if err != nil {
			t.Error(err)
		}
		return is
	}
	if void(b, a.Sum) || void(m.Data(1), a.Sum) {
		t.Error("a part with another checksum, or none, is void")
	}
	storagetest.Holds(t, s, a, b, c)
	for _, chunk := range []schemas.Chunk{b, b, a} {
		if !void(chunk, chunk.Sum) {
			t.Errorf("chunk %s is not void", chunk.ID.Short())
		}
	}
	wantVoid := func(when string) {
		t.Helper()
		have := []bool{true, true, false}
		ids := []schemas.ChunkID{a.ID, b.ID, c.ID}
		if err := s.Has(storagetest.Vault, ids, have); err != nil || have[0] || have[1] || !have[2] {
			t.Errorf("%s: has says %v, %v", when, have, err)
		}
		if st := s.Stats(); st.Corrupt != 2 || st.Chunks != 1 {
			t.Errorf("%s: the stats are %+v", when, st)
		}
		for _, want := range []schemas.Chunk{a, b} {
			got, err := s.Get(storagetest.Vault, want.ID)
			if err != nil {
				t.Errorf("%s: %v", when, err)
				continue
			}
			storagetest.Same(t, want, got)
		}
		err := s.ReadAll(storagetest.Vault, ids[:1], false, func(_ int, f *storage.Found, err error) bool {
			content := make([]byte, f.Len)
			if err != nil || f.Read(content) != nil || !bytes.Equal(content, a.Content) {
				t.Errorf("%s: it is read as %d bytes, %v", when, f.Len, err)
			}
			return true
		})
		if err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
	wantVoid("at first")
	wantVoid("after it was read")
	if p := storagetest.Problems(t, s); len(p) != 2 || p[0].ID != a.ID && p[0].ID != b.ID {
		t.Errorf("the check finds %v", p)
	}
	wantVoid("after a check")
	if r, err := s.Scrub(t.Context(), storage.ScrubOptions{}); err != nil || r.Found != 0 {
		t.Errorf("the scrub: %+v, %v", r, err)
	}
	wantVoid("after a scrub")
	// The first segment has a void part beside one that is forgotten, and is emptied.
	if _, err := s.Drop(t.Context(), storagetest.Vault, []storage.PartID{{ID: c.ID}}, func() bool { return true }); err != nil {
		t.Fatal(err)
	}
	if done, err := s.Compact(t.Context(), storage.Compaction{Dead: 0.1}); err != nil || done.Moved == 0 {
		t.Errorf("the compaction: %+v, %v", done, err)
	}
	storagetest.Put(t, s, c)
	wantVoid("after a compaction")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(storage.Options{})
	wantVoid("after it was opened again")

	resealed := b
	resealed.Content = bytes.Repeat([]byte{7}, 4000)
	resealed.Sum = resealed.Checksum()
	storagetest.Put(t, s, a, resealed)
	storagetest.Holds(t, s, a, resealed, c)
	if st := s.Stats(); st.Corrupt != 0 || st.Chunks != 3 {
		t.Errorf("after the put the stats are %+v", st)
	}
	storagetest.CloseClean(t, s)
	s = open(storage.Options{RebuildIndex: true})
	storagetest.Holds(t, s, a, resealed, c)
	storagetest.CloseClean(t, s)
}
