package node_test

import (
	"testing"
	"time"

	"servidor-backup/bus/bustest"
	"servidor-backup/schemas"
	"servidor-backup/schemas/placement"
	"servidor-backup/storage/node"
	"servidor-backup/storage/storagetest"
)

// What is not at home because a node does not answer is looked at again by itself, each
// time after twice as long, and is brought home when the node does, although nothing was
// said to have happened.
func TestUnsettledIsLookedAtAgain(t *testing.T) {
	const settle = 20 * time.Millisecond
	s := newSystem(t, 2, schemas.Durability{K: 1}, node.Options{Survey: time.Hour, Settle: settle})
	here, home := s.nodes[0], s.nodes[1]
	stray := s.Data(100)
	for p := placement.New(s.nodeMap()); p.Place(nil, stray.ID, 1)[0] != home.id; {
		stray = s.Data(100)
	}
	home.rest() // while the map says that it is up
	storagetest.Put(t, here.store, stray)
	s.policy(schemas.Durability{K: 1}) // a newer map, which is the last that it hears

	var ends []int64
	bustest.Eventually(t, "the stray is looked at again and again", func() bool {
		if now := here.status().Survey; now.Misplaced == 1 && (len(ends) == 0 || now.Ended != ends[len(ends)-1]) {
			ends = append(ends, now.Ended)
		}
		return len(ends) == 6
	})
	// The first may have been asked for by the map.
	for i := 2; i < len(ends); i++ {
		if gap := time.Duration(ends[i] - ends[i-1]); gap < settle<<(i-2) {
			t.Errorf("look %d comes %v after the one before", i, gap)
		}
	}
	home.serve()
	bustest.Eventually(t, "the stray goes home", func() bool {
		return home.store.Stats().Chunks == 1 && here.store.Stats().Chunks == 0
	})
	storagetest.Holds(t, home.store, stray)
}
