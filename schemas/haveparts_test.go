package schemas

import (
	"errors"
	"slices"
	"testing"
)

// HaveReply.Each visits the parts that HaveOf was given.
func TestHaveReplyReportsAllParts(t *testing.T) {
	type held struct {
		i int
		p Part
	}
	some := []held{{1, ShardOf(2, Sum{1}, 1)}, {1, ShardOf(4, Sum{0xff, 0, 0, 9}, 0)}, {4, Whole}, {4, ShardOf(2, Sum{}, 0)}, {9, Whole}}
	roundTrip := func(n int, parts bool, all []held) (rep *HaveReply, seen []held) {
		t.Helper()
		rep, err := HaveOf(n, parts, func(visit func(int, Part) error) (err error) {
			for _, h := range all {
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
		rep, seen := roundTrip(n, true, some)
		if !slices.Equal(seen, some) || len(rep.Parts) != n+3*8 {
			t.Errorf("with %d ids the parts are %v, want %v, in %d bytes", n, seen, some, len(rep.Parts))
		}
		rep.Parts = rep.Parts[:len(rep.Parts)-1]
		if rep.Each(n, func(int, Part) {}) == nil {
			t.Error("truncated parts were accepted")
		}
	}
	if rep, seen := roundTrip(10, false, some); rep.Parts != nil || !slices.Equal(seen, []held{{4, Whole}, {9, Whole}}) {
		t.Errorf("without shards the parts are %v and % x", seen, rep.Parts)
	}
	if _, seen := roundTrip(3, true, nil); len(seen) != 0 {
		t.Errorf("an answer without parts reports %v", seen)
	}
	// Shards beyond 255 are left out, and the following ids are still read.
	var many []held
	for i := range 300 {
		many = append(many, held{0, ShardOf(200, Sum{byte(i / 200)}, i%200)})
	}
	many = append(many, held{1, Whole})
	if _, seen := roundTrip(2, true, many); !slices.Equal(seen, append(slices.Clone(many[:255]), many[300])) {
		t.Errorf("of more than 255 shards, %d parts are reported", len(seen))
	}
	// HaveOf returns the error of each.
	wrong := errors.New("wrong")
	if _, err := HaveOf(1, true, func(func(int, Part) error) error { return wrong }); !errors.Is(err, wrong) {
		t.Errorf("the error is %v, want %v", err, wrong)
	}
}
