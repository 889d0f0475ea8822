package storage_test

import (
	"errors"
	"slices"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"servidor-backup/storage"
	"servidor-backup/storage/storagetest"
)

// Each run of a store names the runs before it, also after a power cut at any moment after it
// began. A store whose folder cannot be written goes on as the run before.
func TestRunsNameTheRunsBefore(t *testing.T) {
	fs := vfs.NewCrashableMem()
	var all []uint64
	for range 20 {
		s := storagetest.Open(t, dir, storage.Options{FS: fs})
		run, err := s.BeginRun()
		if err != nil {
			t.Fatal(err)
		}
		if run.ID == 0 || slices.Contains(all, run.ID) || !slices.Equal(run.Before, all[max(0, len(all)-16):]) {
			t.Fatalf("after the runs %x there is the run %+v", all, run)
		}
		all = append(all, run.ID)
		left := fs.CrashClone(vfs.CrashCloneCfg{})
		storagetest.CloseClean(t, s)
		fs = left
	}
	failing := errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpCreate && op.Path == dir+"/RUNS.new" {
			return syscall.EROFS
		}
		return nil
	}))
	s := storagetest.Open(t, dir, storage.Options{FS: failing})
	if run, err := s.BeginRun(); !errors.Is(err, syscall.EROFS) || run.ID != all[len(all)-1] || len(run.Before) != 16 {
		t.Errorf("on a disk that cannot be written the run is %+v, %v", run, err)
	}
}

// The position grows with each put, and is the same after a restart and after the index was
// rebuilt.
func TestPositionGrows(t *testing.T) {
	fs, m := vfs.NewMem(), storagetest.NewMaker(3)
	s := storagetest.Open(t, dir, storage.Options{FS: fs, SegmentSize: 100_000})
	last := s.Position()
	for range 10 {
		storagetest.Put(t, s, m.Data(30_000))
		if now := s.Position(); now <= last {
			t.Fatalf("after %x the position is %x", last, now)
		}
		last = s.Position()
	}
	for _, opt := range []storage.Options{{FS: fs}, {FS: fs, RebuildIndex: true}} {
		storagetest.CloseClean(t, s)
		s = storagetest.Open(t, dir, opt)
		if now := s.Position(); now < last {
			t.Errorf("after a restart the position is %x, it was %x", now, last)
		}
	}
}
