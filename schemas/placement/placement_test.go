package placement

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"servidor-backup/schemas"
)

// placePlainly computes placement literally as docs/protocol.md describes it: all nodes are
// sorted, then chosen in rounds.
func placePlainly(m *schemas.NodeMap, id schemas.ChunkID, n int) (set []schemas.NodeID) {
	type drawn struct {
		id   schemas.NodeID
		zone string
		draw uint64
	}
	var all []drawn
	p := New(m)
	for i := range p.nodes {
		c := &p.nodes[i]
		all = append(all, drawn{c.id, m.Find(c.id).Zone, c.draw(binary.LittleEndian.Uint64(id[:]))})
	}
	slices.SortFunc(all, func(a, b drawn) int {
		return cmp.Or(cmp.Compare(a.draw, b.draw), strings.Compare(string(a.id), string(b.id)))
	})
	n = min(n, len(all))
	given, taken := map[string]int{}, map[schemas.NodeID]bool{}
	for round := 1; len(set) < n; round++ {
		for _, d := range all {
			if len(set) < n && !taken[d.id] && given[d.zone] < round {
				given[d.zone]++
				taken[d.id] = true
				set = append(set, d.id)
			}
		}
	}
	return set
}

// randomMap makes a map of up to most nodes in zones of unequal sizes. The weights are
// equal, or small, or spread over all sizes, or so large that many draws are equal.
func randomMap(r *rand.Rand, most int) *schemas.NodeMap {
	m := &schemas.NodeMap{}
	zones := 1 + r.IntN(1+r.IntN(most))
	style := r.IntN(5)
	for i := range 1 + r.IntN(most) {
		n := schemas.Node{ID: schemas.NodeID(fmt.Sprintf("n%d", r.IntN(1000)*1000+i)), State: schemas.Up}
		n.Zone = fmt.Sprintf("z%d", r.IntN(1+r.IntN(zones)))
		switch style {
		case 0:
			n.Weight = 1
		case 1:
			n.Weight = uint32(1 + r.IntN(10))
		case 2:
			n.Weight = 1 << r.IntN(32)
		case 3:
			n.Weight = uint32(1<<32 - 1 - r.IntN(2))
		case 4:
			n.Weight = r.Uint32()
		}
		m.Nodes = append(m.Nodes, n)
	}
	return m
}

func TestPlaceIsWhatSortingAllNodesGives(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 1500 {
		m := randomMap(r, 1+r.IntN(80))
		p := New(m)
		for range 6 {
			id, n := randomChunk(r), r.IntN(min(len(m.Nodes), 40)+3)
			want := placePlainly(m, id, n)
			if got := p.Place(nil, id, n); !slices.Equal(got, want) {
				t.Fatalf("%d of %d nodes in %d zones for %v:\n%v, want\n%v", n, p.Len(), p.rounds[0], id, got, want)
			}
		}
	}
}

// Pruning is most likely to be wrong for equal draws, so most draws are equal here.
func TestEqualDrawsGoByID(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	equal := 0
	for range 300 {
		m := randomMap(r, 60)
		for i := range m.Nodes {
			m.Nodes[i].Weight = 1<<32 - 1
		}
		p := New(m)
		// There are two seeds, and all nodes with the same seed draw the same number.
		for i := range p.nodes {
			p.nodes[i].seed = uint64(i % 2)
		}
		id := randomChunk(r)
		n := 1 + r.IntN(12)
		all := p.Place(nil, id, p.Len())
		got := p.Place(nil, id, n)
		if !slices.Equal(got, all[:len(got)]) || len(got) != min(n, p.Len()) {
			t.Fatalf("%v is not a prefix of %v", got, all)
		}
		last := map[string]schemas.NodeID{}
		draws := map[schemas.NodeID]uint64{}
		for i := range p.nodes {
			draws[p.nodes[i].id] = p.nodes[i].draw(binary.LittleEndian.Uint64(id[:]))
		}
		for _, node := range all {
			zone := m.Find(node).Zone
			if before := last[zone]; before != "" && draws[before] == draws[node] {
				equal++
				if before > node {
					t.Fatalf("%s comes before %s with the same draw", before, node)
				}
			}
			last[zone] = node
		}
	}
	if equal < 1000 {
		t.Errorf("only %d draws were equal", equal)
	}
}

// The set for a smaller n is a prefix of the set for a larger one. docs/healing.md relies on
// it: replicas and shards of a chunk share their first nodes, and more parity moves nothing.
func TestSmallerSetIsAPrefixOfALargerOne(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 300 {
		m := randomMap(r, 60)
		p := New(m)
		id := randomChunk(r)
		all := p.Place(nil, id, len(m.Nodes))
		if len(all) != len(m.Nodes) {
			t.Fatalf("%d of %d nodes", len(all), len(m.Nodes))
		}
		for n := range all {
			if got := p.Place(nil, id, n); !slices.Equal(got, all[:n]) {
				t.Fatalf("the set of %d is %v, the set of all is %v", n, got, all)
			}
		}
	}
}

// The order of the nodes in the map does not matter.
func TestPlaceDoesNotDependOnTheOrderOfTheMap(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 200 {
		m := randomMap(r, 40)
		id := randomChunk(r)
		want := New(m).Place(nil, id, 6)
		r.Shuffle(len(m.Nodes), func(i, j int) { m.Nodes[i], m.Nodes[j] = m.Nodes[j], m.Nodes[i] })
		if got := New(m).Place(nil, id, 6); !slices.Equal(got, want) {
			t.Fatalf("the set is %v in another order of the map, %v before", got, want)
		}
	}
}

func TestPlaceDoesNotAllocate(t *testing.T) {
	p := New(wideMap(1000, 10))
	set := make([]schemas.NodeID, 0, 20)
	i := uint64(0)
	if n := testing.AllocsPerRun(100, func() {
		i++
		var id schemas.ChunkID
		binary.LittleEndian.PutUint64(id[:], i)
		for _, n := range []int{1, 2, 6, 20} {
			set = p.Place(set[:0], id, n)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Pruning by the bound is right because a draw is never below it.
func TestDrawIsNotBelowItsBound(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	for range 200_000 {
		u := r.Uint64()
		switch r.IntN(3) {
		case 0:
			u |= ^uint64(0) << r.IntN(64) // where winners are
		case 1:
			u >>= r.IntN(64)
		}
		c := newCandidate(&schemas.Node{Weight: uint32(r.Uint64() >> (32 + r.IntN(32)))}, 0)
		if least, _ := bits.Mul64(^u, c.rate); least > c.drawFrom(u) {
			t.Fatalf("%x with 2^32/weight = %d draws %d, the bound is %d", u, c.inverse, c.drawFrom(u), least)
		}
	}
}

func randomChunk(r *rand.Rand) (id schemas.ChunkID) {
	for i := 0; i < len(id); i += 8 {
		binary.LittleEndian.PutUint64(id[i:], r.Uint64())
	}
	return id
}

// wideMap makes a map of nodes with unequal weights, spread over zones.
func wideMap(nodes, zones int) *schemas.NodeMap {
	m := &schemas.NodeMap{}
	for i := range nodes {
		m.Nodes = append(m.Nodes, schemas.Node{
			ID:     schemas.NodeID(fmt.Sprintf("n%d", i)),
			Zone:   fmt.Sprint(i % zones),
			Weight: uint32(4000 + i%7*1000),
			State:  schemas.Up,
		})
	}
	return m
}

func BenchmarkPlace(b *testing.B) {
	for _, nodes := range []int{3, 10, 100, 1000, 10_000} {
		for _, zones := range []int{1, 3, nodes} {
			if zones == nodes && nodes == 3 {
				continue
			}
			p := New(wideMap(nodes, zones))
			for _, n := range []int{1, 2, 3, 6} {
				b.Run(fmt.Sprintf("nodes=%d/zones=%d/n=%d", nodes, zones, n), func(b *testing.B) {
					b.ReportAllocs()
					r := rand.New(rand.NewPCG(9, 10))
					ids := make([]schemas.ChunkID, 1024)
					for i := range ids {
						ids[i] = randomChunk(r)
					}
					set := make([]schemas.NodeID, 0, 20)
					for i := 0; b.Loop(); i++ {
						set = p.Place(set[:0], ids[i%len(ids)], n)
					}
				})
			}
		}
	}
}
