package storage

import (
	"errors"
	"testing"

	"servidor-backup/schemas"
)

// What the index keeps comes back, and nothing else is read.
func TestIndexValues(t *testing.T) {
	e := entry{location: location{1 << 30, 1 << 40}, content: 1_000_000, edges: 16384, kind: schemas.Tree, corrupt: true, generation: 1 << 31, marked: true}
	if got, err := decodeEntry(e.encode(nil)); err != nil || got != e {
		t.Errorf("the entry reads as %+v, %v", got, err)
	}
	s := indexState{location{3, 4}, counts{5, 6, 7, 8}, 9}
	if got, err := decodeState(s.encode()); err != nil || got != s {
		t.Errorf("the state reads as %+v, %v", got, err)
	}
	u := usage{10, 11}
	if got, err := decodeUsage(u.encode()); err != nil || got != u {
		t.Errorf("the usage reads as %+v, %v", got, err)
	}
	for n := range 30 {
		if _, err := decodeEntry(make([]byte, n)); n != entrySize && !errors.Is(err, errIndexValue) {
			t.Errorf("an entry of %d bytes reads with %v", n, err)
		}
		if _, err := decodeState(make([]byte, n)); !errors.Is(err, errIndexValue) {
			t.Errorf("a state of %d bytes reads with %v", n, err)
		}
		if _, err := decodeUsage(make([]byte, n)); n != segmentSize && !errors.Is(err, errIndexValue) {
			t.Errorf("a usage of %d bytes reads with %v", n, err)
		}
	}
}
