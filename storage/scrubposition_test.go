package storage_test

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"servidor-backup/storage"
	"servidor-backup/storage/storagetest"
)

// The position of the scrub survives a restart, and is zero when its file is damaged.
func TestScrubPosition(t *testing.T) {
	fs := vfs.NewMem()
	s := storagetest.Open(t, dir, storage.Options{FS: fs})
	expect := func(from uint32, ended time.Time) {
		t.Helper()
		if f, e := s.ScrubPosition(); f != from || !e.Equal(ended) {
			t.Errorf("the position is %d, %v; want %d, %v", f, e, from, ended)
		}
	}
	expect(0, time.Time{})
	for _, ended := range []time.Time{{}, time.Unix(1_700_000_000, 0)} {
		if err := s.SetScrubPosition(7, ended); err != nil {
			t.Fatal(err)
		}
		storagetest.CloseClean(t, s)
		s = storagetest.Open(t, dir, storage.Options{FS: fs})
		expect(7, ended)
	}
	f, err := fs.OpenReadWrite(dir+"/SCRUB", "damage")
	if err == nil {
		_, err = f.WriteAt([]byte{1}, 9)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	expect(0, time.Time{})
}
