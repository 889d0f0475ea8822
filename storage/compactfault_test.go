package storage_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"servidor-backup/schemas"
	"servidor-backup/storage"
	"servidor-backup/storage/storagetest"
)

// hook is a function that is called before each operation on a disk, if it is set.
type hook = atomic.Pointer[func(op errorfs.Op) error]

func hooked(mem vfs.FS, h *hook) vfs.FS {
	return errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if before := h.Load(); before != nil {
			return (*before)(op)
		}
		return nil
	}))
}

// halfDead returns a store with the given number of segments, each with a chunk that is
// needed and a chunk that was forgotten, and with a last segment that has one needed
// chunk. It also returns the needed chunks.
func halfDead(t *testing.T, fs vfs.FS, segments int) (s *storage.Store, kept []schemas.Chunk) {
	s = storagetest.Open(t, dir, storage.Options{FS: fs, SegmentSize: 1000})
	m := storagetest.NewMaker(1)
	doomed := map[schemas.ChunkID]bool{}
	for range segments {
		keep, drop := m.Data(300), m.Data(300)
		storagetest.Put(t, s, keep, drop)
		kept, doomed[drop.ID] = append(kept, keep), true
	}
	last := m.Data(10)
	storagetest.Put(t, s, last)
	if err := s.SetGeneration(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sweep(t.Context(), 1, func(_ schemas.VaultID, id schemas.ChunkID, _ schemas.Part) bool { return doomed[id] }); err != nil {
		t.Fatal(err)
	}
	return s, append(kept, last)
}

// A record that is damaged after a compaction has read it, and found damaged before the
// moved record counts, is sound at its new location, and counted as sound.
func TestCompactBesideDamage(t *testing.T) {
	mem := vfs.NewMem()
	var h hook
	s, kept := halfDead(t, hooked(mem, &h), 1)
	var found atomic.Bool
	before := func(op errorfs.Op) error { // the index is synced at any time, too
		if op.Kind == errorfs.OpFileSyncData && strings.HasSuffix(op.Path, ".seg") && found.CompareAndSwap(false, true) {
			flip(t, mem, segment1, 128+152+10)
			_, err := s.Get(storagetest.Vault, kept[0].ID)
			storagetest.Code(t, err, schemas.Corrupt)
			if n := s.Stats().Corrupt; n != 1 {
				t.Errorf("%d parts are counted as damaged, want 1", n)
			}
		}
		return nil
	}
	h.Store(&before)
	done, err := s.Compact(t.Context(), storage.Compaction{})
	if err != nil || done.Segments != 1 || !found.Load() {
		t.Errorf("compacted %+v, damage found %v: %v", done, found.Load(), err)
	}
	storagetest.Holds(t, s, kept...)
	if st := s.Stats(); st.Corrupt != 0 || st.Chunks != 2 || st.Bytes != 310 {
		t.Errorf("the stats are %+v", st)
	}
}

// A segment that cannot be examined is reported and left alone; the others are compacted.
func TestCompactCannotExamine(t *testing.T) {
	var h hook
	s, kept := halfDead(t, hooked(vfs.NewMem(), &h), 3)
	before := func(op errorfs.Op) error {
		if op.Kind == errorfs.OpStat && strings.HasSuffix(op.Path, "00000002.seg") {
			return errorfs.ErrInjected
		}
		return nil
	}
	h.Store(&before)
	done, err := s.Compact(t.Context(), storage.Compaction{})
	if done.Segments != 2 || !errors.Is(err, errorfs.ErrInjected) || !strings.Contains(err.Error(), "00000002.seg") {
		t.Errorf("compacted %+v: %v", done, err)
	}
	h.Store(nil)
	storagetest.Holds(t, s, kept...)
}

// A check or a compaction that waits for another one ends with its context.
func TestChoresGiveUp(t *testing.T) {
	s, _ := halfDead(t, vfs.NewMem(), 1)
	begun, goOn := make(chan struct{}, 2), make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		_, err := s.Compact(t.Context(), storage.Compaction{Pace: func(context.Context, int64) error {
			begun <- struct{}{}
			<-goOn
			return nil
		}})
		ended <- err
	}()
	<-begun
	for name, chore := range map[string]func(ctx context.Context) error{
		"check":   func(ctx context.Context) error { _, err := s.Check(ctx, func(storage.Problem) {}); return err },
		"compact": func(ctx context.Context) error { _, err := s.Compact(ctx, storage.Compaction{}); return err },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		gaveUp := make(chan error, 1)
		go func() { gaveUp <- chore(ctx) }()
		select {
		case err := <-gaveUp:
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v", name, err)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%s does not give up", name)
		}
		cancel()
	}
	close(goOn)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
