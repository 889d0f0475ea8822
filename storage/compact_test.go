package storage

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"servidor-backup/schemas"
	"servidor-backup/storage/internal/segment"
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

// REMOVED decodes to the numbers that were added, in as few ranges as possible.
func TestRemoved(t *testing.T) {
	identity := segment.FileHeader{Node: "abcdefgh23456723", Salt: [32]byte{1}}
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 5))
		var r removed
		want := map[uint32]bool{}
		for range rng.IntN(60) {
			n := 1 + uint32(rng.IntN(64))
			r, want[n] = r.with(n), true
		}
		back, err := decodeRemoved(r.encode(identity), identity)
		if err != nil {
			t.Fatalf("%v decodes with %v", r, err)
		}
		for n := range uint32(70) {
			if back.has(n) != want[n] {
				t.Fatalf("%v has %d: %v", back, n, !want[n])
			}
		}
		for i := range back {
			if i > 0 && back[i-1].last+1 >= back[i].first {
				t.Fatalf("%v has ranges that touch", back)
			}
		}
		if int(back.count()) != len(want) {
			t.Fatalf("%v counts %d of %d", back, back.count(), len(want))
		}
	}
	other := identity
	other.Salt[0]++
	if _, err := decodeRemoved(removed{{1, 2}}.encode(identity), other); err == nil {
		t.Error("the list of another store decodes")
	}
}
