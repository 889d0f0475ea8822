package placement

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"servidor-backup/schemas"
)

func mapOf(weights ...uint32) *schemas.NodeMap {
	m := &schemas.NodeMap{}
	for i, w := range weights {
		m.Nodes = append(m.Nodes, schemas.Node{ID: schemas.NodeID(fmt.Sprintf("n%d", i)), Weight: w, State: schemas.Up})
	}
	return m
}

func chunkAt(i int) schemas.ChunkID {
	return schemas.PlainChunkID(schemas.VaultID{}, fmt.Append(nil, i))
}

func TestPlacementFollowsWeights(t *testing.T) {
	m := mapOf(1, 2, 3, 10)
	p := New(m)
	const n = 40_000
	count := map[schemas.NodeID]float64{}
	for i := range n {
		count[p.Place(nil, chunkAt(i), 1)[0]]++
	}
	for _, node := range m.Nodes {
		want := n * float64(node.Weight) / 16
		if got := count[node.ID]; math.Abs(got-want) > 5*math.Sqrt(want) {
			t.Errorf("node %s with the weight %d has %v chunks, want about %v", node.ID, node.Weight, got, want)
		}
	}
}

func TestNewNodeMovesOnlyItsShare(t *testing.T) {
	before, after := New(mapOf(5, 5, 5, 5, 5)), New(mapOf(5, 5, 5, 5, 5, 5))
	const n = 20_000
	moved := 0
	for i := range n {
		a, b := before.Place(nil, chunkAt(i), 1)[0], after.Place(nil, chunkAt(i), 1)[0]
		if a != b {
			moved++
			if b != "n5" {
				t.Fatalf("chunk %d moved from %s to %s, though only n5 is new", i, a, b)
			}
		}
	}
	if share := float64(moved) / n; share < 0.15 || share > 0.185 {
		t.Errorf("a sixth node got %.3f of the chunks, want about 1/6", share)
	}
}

func TestPlacementSpreadsOverZones(t *testing.T) {
	m := mapOf(1, 1, 1, 1, 1, 1)
	for i := range m.Nodes {
		m.Nodes[i].Zone = string(rune('a' + i/2))
	}
	m.Nodes[5].State = schemas.Draining
	p := New(m)
	for i := range 500 {
		set := p.Place(nil, chunkAt(i), 3)
		zones, ids := map[string]bool{}, map[schemas.NodeID]bool{}
		for _, id := range set {
			zones[m.Find(id).Zone] = true
			ids[id] = true
		}
		if len(set) != 3 || len(zones) != 3 || ids["n5"] {
			t.Fatalf("chunk %d is on %v", i, set)
		}
		if one := p.Place(nil, chunkAt(i), 1); one[0] != set[0] {
			t.Fatalf("the first of three is %s, of one %s", set[0], one[0])
		}
		if all := p.Place(nil, chunkAt(i), 9); len(all) != 5 {
			t.Fatalf("a set of nine on five nodes is %v", all)
		}
	}
	if got := New(&schemas.NodeMap{}).Place(nil, schemas.ChunkID{}, 2); len(got) != 0 {
		t.Errorf("without nodes the set is %v", got)
	}
}

// Placement is a format: a change would move data.
func TestPlacementIsPinned(t *testing.T) {
	p := New(mapOf(1, 2, 3, 4, 5, 6, 7))
	var got []string
	for i := range 12 {
		got = append(got, fmt.Sprint(p.Place(nil, chunkAt(i), 2)))
	}
	const want = "[n4 n6] [n6 n3] [n6 n4] [n6 n3] [n3 n6] [n4 n3] [n1 n0] [n6 n5] [n3 n6] [n5 n6] [n5 n4] [n3 n1]"
	if s := strings.Join(got, " "); s != want {
		t.Errorf("placement is %s, want %s", s, want)
	}
}

func TestNegLog2(t *testing.T) {
	for _, u := range []uint64{1, 3, 1 << 20, 1<<63 - 1, 1 << 63, 1<<63 + 12345678901234567, 1<<64 - 1} {
		want := 64 - math.Log2(float64(u))
		if got := float64(negLog2(u)) / (1 << 48); math.Abs(got-want) > 1e-5 {
			t.Errorf("negLog2(%d) = %v, want %v", u, got, want)
		}
	}
}
