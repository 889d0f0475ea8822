package segment

import (
	"math/rand/v2"
	"testing"
)

// REMOVED decodes to the numbers that were added, in as few ranges as possible.
func TestRemoved(t *testing.T) {
	identity := FileHeader{Node: "abcdefgh23456723", Salt: [32]byte{1}}
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 5))
		var r Removed
		want := map[uint32]bool{}
		for range rng.IntN(60) {
			n := 1 + uint32(rng.IntN(64))
			r, want[n] = r.With(n), true
		}
		back, err := DecodeRemoved(r.Encode(identity), identity)
		if err != nil {
			t.Fatalf("%v decodes with %v", r, err)
		}
		for n := range uint32(70) {
			if back.Has(n) != want[n] {
				t.Fatalf("%v has %d: %v", back, n, !want[n])
			}
		}
		for i := range back {
			if i > 0 && back[i-1].last+1 >= back[i].first {
				t.Fatalf("%v has ranges that touch", back)
			}
		}
		if int(back.Count()) != len(want) {
			t.Fatalf("%v counts %d of %d", back, back.Count(), len(want))
		}
	}
	other := identity
	other.Salt[0]++
	if _, err := DecodeRemoved(Removed{{1, 2}}.Encode(identity), other); err == nil {
		t.Error("the list of another store decodes")
	}
}
