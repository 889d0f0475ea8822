package schemas

import (
	"errors"
	"slices"
	"testing"
)

// What a node says to hold of several ids is what the asker reads.
func TestHaveParts(t *testing.T) {
	type held struct {
		i int
		p Part
	}
	some := []held{{1, ShardOf(2, Sum{1}, 1)}, {1, ShardOf(4, Sum{0xff, 0, 0, 9}, 0)}, {4, Whole}, {4, ShardOf(2, Sum{}, 0)}, {9, Whole}}
	have := func(n int, parts bool, some []held) (rep *HaveReply, seen []held) {
		t.Helper()
		rep, err := HaveOf(n, parts, func(visit func(int, Part) error) (err error) {
			for _, h := range some {
				err = errors.Join(err, visit(h.i, h.p))
			}
			return err
		})
		if err == nil {
			err = rep.Each(n, func(i int, p Part) { seen = append(seen, held{i, p}) })
		}
		if err != nil {
			t.Fatal(err)
		}
		return rep, seen
	}
	for _, n := range []int{10, 12, 16, 17} {
		rep, seen := have(n, true, some)
		if !slices.Equal(seen, some) || len(rep.Parts) != n+3*8 {
			t.Errorf("of %d: %v, want %v, in %d bytes", n, seen, some, len(rep.Parts))
		}
		rep.Parts = rep.Parts[:len(rep.Parts)-1]
		if rep.Each(n, func(int, Part) {}) == nil {
			t.Error("truncated parts were read")
		}
	}
	if rep, seen := have(10, false, some); rep.Parts != nil || !slices.Equal(seen, []held{{4, Whole}, {9, Whole}}) {
		t.Errorf("of whole ones: %v and % x", seen, rep.Parts)
	}
	if _, seen := have(3, true, nil); len(seen) != 0 {
		t.Errorf("of nothing: %v", seen)
	}
	// More than can be counted are left out, and what follows is still read.
	var many []held
	for i := range 300 {
		many = append(many, held{0, ShardOf(200, Sum{byte(i / 200)}, i%200)})
	}
	many = append(many, held{1, Whole})
	if _, seen := have(2, true, many); !slices.Equal(seen, append(slices.Clone(many[:255]), many[300])) {
		t.Errorf("of many %d are told", len(seen))
	}
	// An error ends it.
	wrong := errors.New("wrong")
	if _, err := HaveOf(1, true, func(func(int, Part) error) error { return wrong }); !errors.Is(err, wrong) {
		t.Errorf("the error is %v", err)
	}
}
