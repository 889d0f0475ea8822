package node

import (
	"context"
	"time"

	"servidor-backup/bus"
	"servidor-backup/schemas"
	"servidor-backup/schemas/placement"
)

// view is the map that a node follows, and what it says of where chunks are at home.
type view struct {
	m     *schemas.NodeMap
	homes *placement.Placement
}

func (v *view) epoch() uint64 {
	if v == nil {
		return 0
	}
	return v.m.Epoch
}

// follow takes m over if it is newer than what the node knows.
func (n *Node) follow(m *schemas.NodeMap) {
	next := &view{m: m, homes: placement.NewAssigned(m)}
	for {
		old := n.view.Load()
		if old != nil && m.Epoch <= old.m.Epoch {
			return
		}
		if n.view.CompareAndSwap(old, next) {
			n.keeper.sender.SetMap(m)
			n.keeper.soon()
			return
		}
	}
}

// askMap asks for the map, if the node does not know that of the epoch.
func (n *Node) askMap(ctx context.Context, epoch uint64) {
	if old := n.view.Load(); old != nil && epoch <= old.m.Epoch {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var rep schemas.NodesReply
	err := bus.Request(ctx, n.nc, schemas.SubjectNodes, &schemas.NodesRequest{}, &rep)
	if err == nil && rep.Map != nil {
		n.follow(rep.Map)
	}
}

// set appends to dst the home set of a chunk, in its order.
func (v *view) set(dst []schemas.NodeID, id schemas.ChunkID, d schemas.Durability, split bool) []schemas.NodeID {
	if split {
		return v.homes.Place(dst, id, d.Nodes())
	}
	return v.homes.Place(dst, id, d.Replicas())
}
