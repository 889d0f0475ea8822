package storage_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"servidor-backup/schemas"
	"servidor-backup/storage"
	"servidor-backup/storage/storagetest"
)

// A store that was opened does not know what was pinned before a crash, so it may be
// swept only for generations that began since.
func TestSweepTooEarly(t *testing.T) {
	fs := vfs.NewMem()
	s := storagetest.Open(t, dir, storage.Options{FS: fs})
	none := func(schemas.VaultID, schemas.ChunkID, schemas.Part) bool { return true }
	sweep := func(before uint32, early bool) {
		t.Helper()
		_, err := s.Sweep(t.Context(), before, none)
		if errors.Is(err, storage.ErrTooEarly) != early || !early && err != nil {
			t.Errorf("a sweep before %d: %v", before, err)
		}
		if can := s.CanSweep(before); errors.Is(can, storage.ErrTooEarly) != early {
			t.Errorf("CanSweep before %d: %v", before, can)
		}
	}
	sweep(0, true)
	for _, g := range []uint32{3, 2, 4, 5} {
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
	// The store was not told of 8, so it pinned nothing in that generation.
	if err := s.SetGeneration(t.Context(), 9); err != nil {
		t.Fatal(err)
	}
	sweep(8, true)
	sweep(9, false)
	// A store that has caught up did not take part in the collection from its beginning.
	for _, g := range []uint32{10, 9} {
		if err := s.CatchUp(t.Context(), g); err != nil || s.Generation() != 10 {
			t.Errorf("the generation is %d, %v", s.Generation(), err)
		}
	}
	sweep(10, true)
	for _, g := range []uint32{10, 11} {
		if err := s.SetGeneration(t.Context(), g); err != nil {
			t.Fatal(err)
		}
		sweep(10, true)
	}
	sweep(11, false)
}

// Look does not pin the parts that it visits.
func TestLookDoesNotPin(t *testing.T) {
	s := storagetest.Open(t, dir, storage.Options{FS: vfs.NewMem()})
	m := storagetest.NewMaker(1)
	looked, asked := m.Data(100), m.Data(100)
	storagetest.Put(t, s, looked, asked)
	if err := s.SetGeneration(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	all := func(schemas.VaultID, schemas.ChunkID, schemas.Part) bool { return true }
	ids := []schemas.ChunkID{asked.ID, looked.ID}
	found := 0
	look := func(int, schemas.Part) error { found++; return nil }
	if err := errors.Join(s.Look(storagetest.Vault, ids, look), s.Parts(storagetest.Vault, ids[:1], look)); err != nil || found != 3 {
		t.Fatalf("%d parts were found, %v", found, err)
	}
	if done, err := s.Sweep(t.Context(), 1, all); err != nil || done.Chunks != 1 {
		t.Fatalf("swept %+v, %v", done, err)
	}
	storagetest.Holds(t, s, asked)
}

// sweptStore returns a store of small segments in which a sweep forgot every second
// chunk, and the chunks that are left.
func sweptStore(t *testing.T, fs vfs.FS) (s *storage.Store, kept []schemas.Chunk) {
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
	done, err := s.Sweep(t.Context(), 1, func(_ schemas.VaultID, id schemas.ChunkID, _ schemas.Part) bool { return doomed[id] })
	if err != nil || done.Chunks != 20 || done.Looked != 40 || done.Bytes != 20*452 {
		t.Fatalf("swept %+v, %v", done, err)
	}
	return s, kept
}

// Reads, puts, sweeps, compactions, checks and scrubs may go on at the same time.
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
				_, err = s.Sweep(t.Context(), g, func(_ schemas.VaultID, id schemas.ChunkID, _ schemas.Part) bool { return !kept[id] })
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
	all.Go(func() {
		for range 20 {
			if found, _ := scrub(t, s, 0); len(found) > 0 {
				t.Errorf("the scrub found %v", found)
			}
		}
	})
	all.Wait()
	cancel()
	collecting.Wait()
	storagetest.Holds(t, s, keep...)
}

func readAll(t *testing.T, s *storage.Store, chunks []schemas.Chunk) {
	err := s.ReadAll(storagetest.Vault, ids(chunks), false, func(i int, c *storage.Found, err error) bool {
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
