package storage

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"servidor-backup/schemas"
)

// A segment is not removed while a read that looked up a location in it goes on.
func TestCompactWaitsForReads(t *testing.T) {
	mem := vfs.NewMem()
	s, err := Open("store", Options{FS: mem, SegmentSize: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range 3 {
		c := schemas.Chunk{Kind: schemas.Data, Content: []byte{1}}
		binary.LittleEndian.PutUint32(c.ID[:], uint32(i+1))
		c.Sum = c.Checksum()
		if err := s.Put(t.Context(), schemas.VaultID{}, []schemas.Chunk{c}); err != nil {
			t.Fatal(err)
		}
	}
	s.segments.reading.RLock() // as a read does
	done := make(chan error, 1)
	go func() {
		_, err := s.Compact(t.Context(), Compaction{Dead: 0.1})
		done <- err
	}()
	select {
	case err := <-done:
		t.Fatalf("the compaction did not wait for the read: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	if _, err := mem.Stat(s.segments.path(1)); err != nil {
		t.Errorf("the segment was removed: %v", err)
	}
	s.segments.reading.RUnlock()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if _, err := mem.Stat(s.segments.path(1)); err == nil {
		t.Error("the segment is still there")
	}
}
