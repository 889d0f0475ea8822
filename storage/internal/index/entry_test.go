package index

import (
	"errors"
	"testing"

	"servidor-backup/schemas"
	"servidor-backup/storage/internal/segment"
)

// The index's values decode to what was encoded, and no other length decodes.
func TestValues(t *testing.T) {
	e := Entry{
		Location: segment.Location{Segment: 1 << 30, Offset: 1 << 40}, Content: 1_000_000, Edges: 16384,
		Kind: schemas.Tree, Corrupt: true, Generation: 1 << 31, Marked: true,
	}
	if got, err := decodeEntry(e.encode(nil)); err != nil || got != e {
		t.Errorf("the entry decodes as %+v, %v", got, err)
	}
	s := State{segment.Location{Segment: 3, Offset: 4}, Counts{5, 6, 7, 8}, 9}
	if got, err := decodeState(s.encode()); err != nil || got != s {
		t.Errorf("the state decodes as %+v, %v", got, err)
	}
	u := Usage{10, 11}
	if got, err := decodeUsage(u.encode()); err != nil || got != u {
		t.Errorf("the usage decodes as %+v, %v", got, err)
	}
	for n := range 30 {
		if _, err := decodeEntry(make([]byte, n)); n != entrySize && !errors.Is(err, errValue) {
			t.Errorf("an entry of %d bytes decodes with %v", n, err)
		}
		if _, err := decodeState(make([]byte, n)); !errors.Is(err, errValue) {
			t.Errorf("a state of %d bytes decodes with %v", n, err)
		}
		if _, err := decodeUsage(make([]byte, n)); n != usageSize && !errors.Is(err, errValue) {
			t.Errorf("a usage of %d bytes decodes with %v", n, err)
		}
	}
}

// Parts of one chunk have keys of one prefix, and a key gives back what it names.
func TestKey(t *testing.T) {
	vault, id := schemas.SealedVault("a"), schemas.ChunkID{1, 2}
	whole, shard := NewKey(vault, id, schemas.Whole), NewKey(vault, id, schemas.ShardOfSeal(2, 7, 1))
	if whole.Vault() != vault || whole.ID() != id || whole.Part() != schemas.Whole {
		t.Errorf("the key of the whole names %v", &whole)
	}
	if shard.Part() != schemas.ShardOfSeal(2, 7, 1) || keyOrder.Split(shard[:]) != chunkPrefix ||
		[chunkPrefix]byte(whole[:]) != [chunkPrefix]byte(shard[:]) {
		t.Errorf("the key of the shard names %v", &shard)
	}
}
