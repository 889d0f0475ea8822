package coordinator

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"servidor-backup/bus/bustest"
	"servidor-backup/coordinator/gc"
	"servidor-backup/schemas"
)

// stuck answers in place of a node. status changes the progress of the sweep before each answer.
func (w *world) stuck(n *runningNode, c *collecting, status func(*schemas.SweepStatus)) {
	w.t.Helper()
	n.nc.Close()
	now := schemas.SweepStatus{Generation: c.generation}
	answer := func(subject string, reply func() any) {
		_, err := w.nc.Subscribe(subject, func(m *nats.Msg) {
			b, err := schemas.Marshal(reply())
			if err == nil {
				err = m.Respond(b)
			}
			if err != nil {
				w.t.Error(err)
			}
		})
		if err != nil {
			w.t.Error(err)
		}
	}
	id := n.store.NodeID()
	answer(schemas.SweepSubject(id), func() any { return &schemas.SweepReply{Reply: schemas.OK} })
	answer(schemas.StatusSubject(id), func() any {
		status(&now)
		sweep := now
		return &schemas.NodeStatusReply{Reply: schemas.OK, Status: schemas.NodeStatus{Sweep: &sweep}}
	})
	if err := w.nc.FlushTimeout(bustest.Timeout); err != nil {
		w.t.Error(err)
	}
}

// A collection does not wait for a node whose sweep makes no progress, but for one that is slow.
func TestCollectionLeavesAStuckNode(t *testing.T) {
	w := newWorld(t, 0, Options{CollectEvery: -1})
	w.durability("", "1+1")
	nodes := []*runningNode{w.node(), w.node()}
	c := w.collectWith(gc.Hooks{SweepStall: 1}, func(g *collecting, phase string) { // any time at all without progress
		if phase != "sweeping" {
			return
		}
		w.stuck(nodes[0], g, func(*schemas.SweepStatus) {})
		w.stuck(nodes[1], g, func(s *schemas.SweepStatus) {
			s.Chunks++
			s.Ended = s.Chunks == 5
		})
	})
	if c.Error != "" || !strings.Contains(c.Skipped, "goes on by itself") || strings.Contains(c.Skipped, ";") || c.Chunks != 5 {
		t.Errorf("the collection: %+v", c)
	}
}
