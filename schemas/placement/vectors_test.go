package placement

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"servidor-backup/schemas"
	"servidor-backup/schemas/doctest"
)

func TestPlacementDocVectors(t *testing.T) {
	doctest.WantVectors(t, filepath.Join("..", "..", "docs", "protocol.md"), "placement", placementVectors())
}

// placementVectors cover the arithmetic step by step, weights, zones and states.
func placementVectors() string {
	var b strings.Builder
	for _, x := range []uint64{0, 1, 0x0123456789abcdef} {
		fmt.Fprintf(&b, "mix %016x = %016x\n", x, mix(x))
	}
	for _, i := range []int{0, 1, 128, 255, 256} {
		fmt.Fprintf(&b, "table %d = %d\n", i, logTable[i])
	}
	for _, u := range []uint64{0, 1, 1 << 63, 1<<64 - 1, 0x0123456789abcdef} {
		fmt.Fprintf(&b, "neglog2 %016x = %d\n", u, negLog2(u))
	}
	m := docPlacementMap()
	p := New(m)
	id := schemas.ChunkID{1, 2, 3, 4, 5, 6, 7, 8}
	for _, c := range byID(p) {
		fmt.Fprintf(&b, "node %s seed %016x draw %d\n", c.id, c.seed, c.draw(0x0807060504030201))
	}
	for n := 1; n <= 5; n++ {
		fmt.Fprintf(&b, "place 0102030405060708 %d = %v\n", n, p.Place(nil, id, n))
	}
	for i := range 4 {
		id[0] = byte(0xf0 + i)
		fmt.Fprintf(&b, "place %x 2 = %v\n", id[:8], p.Place(nil, id, 2))
	}
	b.WriteString(tieVectors())
	return b.String()
}

// tieVectors are the vectors of a chunk for which two nodes draw the same number: their
// order in the map does not matter, whatever the size of the set.
func tieVectors() string {
	var b strings.Builder
	p := New(&schemas.NodeMap{Nodes: []schemas.Node{
		{ID: "t2", Zone: "b", Weight: 1<<32 - 1, State: schemas.Up},
		{ID: "t1", Zone: "a", Weight: 1<<32 - 1, State: schemas.Up},
	}})
	id := schemas.ChunkID{6: 0xe6, 7: 0x93}
	for _, c := range byID(p) {
		fmt.Fprintf(&b, "node %s draw %d\n", c.id, c.draw(binary.LittleEndian.Uint64(id[:])))
	}
	for n := 1; n <= 2; n++ {
		fmt.Fprintf(&b, "tie %x %d = %v\n", id[:8], n, p.Place(nil, id, n))
	}
	return b.String()
}

// byID returns the candidates in the order of their ids.
func byID(p *Placement) []candidate {
	return slices.SortedFunc(slices.Values(p.nodes), func(a, b candidate) int {
		return strings.Compare(string(a.id), string(b.id))
	})
}

func docPlacementMap() *schemas.NodeMap {
	return &schemas.NodeMap{Nodes: []schemas.Node{
		{ID: "n0", Zone: "a", Weight: 1, State: schemas.Up},
		{ID: "n1", Zone: "a", Weight: 2, State: schemas.Up},
		{ID: "n2", Zone: "a", Weight: 3, State: schemas.Up},
		{ID: "n3", Zone: "b", Weight: 10, State: schemas.Up},
		{ID: "n4", Zone: "b", Weight: 10, State: schemas.Down},
	}}
}
