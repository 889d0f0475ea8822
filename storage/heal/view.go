package heal

import (
	"context"
	"slices"
	"time"

	"servidor-backup/bus"
	"servidor-backup/schemas"
	"servidor-backup/schemas/placement"
)

// mapTimeout bounds one request for the node map.
const mapTimeout = 5 * time.Second

// View is one node map and the assignment of chunks to nodes that follows from it. It does
// not change. Two views are the same if their pointers are.
type View struct {
	nodes    *schemas.NodeMap
	assigned *placement.Placement
}

// Epoch is the epoch of the map; 0 if v is nil, as before the first map.
func (v *View) Epoch() uint64 {
	if v == nil {
		return 0
	}
	return v.nodes.Epoch
}

// assignedTo appends to dst the nodes that a chunk of durability d is assigned to, in the
// order of their rank.
func (v *View) assignedTo(dst []schemas.NodeID, id schemas.ChunkID, d schemas.Durability, split bool) []schemas.NodeID {
	if split {
		return v.assigned.Place(dst, id, d.Nodes())
	}
	return v.assigned.Place(dst, id, d.Replicas())
}

// IsAssigned reports whether a chunk of vault is assigned to node, which holds the given
// part of it. A whole replica does not tell whether its chunk is to be split; but the nodes
// of a chunk that is not split are among the nodes of one that is, so a whole replica is
// judged by the former.
func (v *View) IsAssigned(node schemas.NodeID, vault schemas.VaultID, id schemas.ChunkID, part schemas.Part) bool {
	var buf [8]schemas.NodeID
	d := v.nodes.DurabilityOf(vault)
	return slices.Contains(v.assignedTo(buf[:0], id, d, part != schemas.Whole && d.K > 1), node)
}

// View is the newest view that the healer knows; nil before the first map.
//
// A node must decide by this view, and by no copy of the map that it follows by itself: that
// drops and pins belong to the same epoch rests on there being one view only.
func (h *Healer) View() *View { return h.view.Load() }

// SetMap makes m the healer's map and wakes the healer, if m is newer than the healer's map.
func (h *Healer) SetMap(m *schemas.NodeMap) {
	next := &View{nodes: m, assigned: placement.NewAssigned(m)}
	for {
		old := h.view.Load()
		if old != nil && m.Epoch <= old.nodes.Epoch {
			return
		}
		if h.view.CompareAndSwap(old, next) {
			h.writer.SetMap(m)
			h.Wake()
			return
		}
	}
}

// FetchMap asks a coordinator for the node map, unless the healer knows the map of the given
// epoch or a newer one. A coordinator that does not respond is no error: the map will be
// published, or fetched another time.
func (h *Healer) FetchMap(ctx context.Context, epoch uint64) {
	if old := h.view.Load(); old != nil && epoch <= old.nodes.Epoch {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, mapTimeout)
	defer cancel()
	var rep schemas.NodesReply
	err := bus.Request(ctx, h.nc, schemas.SubjectNodes, &schemas.NodesRequest{}, &rep)
	if err == nil && rep.Map != nil {
		h.SetMap(rep.Map)
	}
}
