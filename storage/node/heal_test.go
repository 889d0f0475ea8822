package node_test

import (
	"testing"

	"servidor-backup/schemas"
	"servidor-backup/storage/node"
)

// What a node held that is gone is made anew at those that are left.
func TestANodeIsLost(t *testing.T) {
	for name, c := range map[string]struct {
		d     schemas.Durability
		nodes int
		lost  int
	}{
		"1+1": {schemas.Durability{K: 1, M: 1}, 4, 1},
		"1+2": {schemas.Durability{K: 1, M: 2}, 5, 2},
		"2+1": {schemas.Durability{K: 2, M: 1}, 5, 1},
		"4+2": {schemas.Durability{K: 4, M: 2}, 8, 2},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSystem(t, c.nodes, c.d, node.Options{})
			chunks := s.some(60)
			s.save(chunks...)
			s.atHome(chunks...)
			s.counted(60)
			for range c.lost {
				s.nodes[1].lose()
			}
			s.atHome(chunks...)
			s.counted(60)
		})
	}
}
