package heal_test

import (
	"testing"
	"time"

	"servidor-backup/bus/bustest"
	"servidor-backup/schemas"
	"servidor-backup/schemas/placement"
	"servidor-backup/storage/node"
	"servidor-backup/storage/nodetest"
	"servidor-backup/storage/storagetest"
)

// A part that is misplaced because the assigned node does not respond is observed again, each
// time after twice as long. It is moved once the node responds, although no event tells of
// that.
func TestUnsettledChunksAreObservedAgain(t *testing.T) {
	const settle = 20 * time.Millisecond
	s := nodetest.New(t, 2, schemas.Durability{K: 1}, node.Options{Survey: time.Hour, Settle: settle})
	here, assigned := s.Nodes[0], s.Nodes[1]
	misplaced := s.Data(100)
	for p := placement.New(s.NodeMap()); p.Place(nil, misplaced.ID, 1)[0] != assigned.ID; {
		misplaced = s.Data(100)
	}
	assigned.Pause() // while the map says that it is up
	storagetest.Put(t, here.Store, misplaced)
	s.SetDurability(schemas.Durability{K: 1}) // a newer map, the last one to be published

	var ends []int64
	bustest.Eventually(t, "the misplaced part is observed again and again", func() bool {
		if now := here.Status().Survey; now.Misplaced == 1 && (len(ends) == 0 || now.Ended != ends[len(ends)-1]) {
			ends = append(ends, now.Ended)
		}
		return len(ends) == 6
	})
	// The first survey may be due to the map.
	for i := 2; i < len(ends); i++ {
		if pause := time.Duration(ends[i] - ends[i-1]); pause < settle<<(i-2) {
			t.Errorf("survey %d comes %v after the one before", i, pause)
		}
	}
	assigned.Serve()
	bustest.Eventually(t, "the part is moved", func() bool {
		return assigned.Store.Stats().Chunks == 1 && here.Store.Stats().Chunks == 0
	})
	storagetest.Holds(t, assigned.Store, misplaced)
}
