package coordinator

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"servidor-backup/bus"
	"servidor-backup/schemas"
)

// statusTime is how long a node may take to say how it is.
const statusTime = 2 * time.Second

// status answers backup.status.
func (c *Coordinator) status(ctx context.Context, _ *schemas.StatusRequest) (any, error) {
	newest, err := c.state.collection(ctx)
	if err != nil {
		return nil, err
	}
	rep := &schemas.StatusReply{Reply: schemas.OK, Map: c.members.nodeMap(), Collection: newest.Collection, Lost: newest.Lost, LostMore: newest.LostMore}
	ctx, cancel := context.WithTimeout(ctx, statusTime)
	defer cancel()
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range rep.Map.Nodes {
		n := &rep.Map.Nodes[i]
		if !n.State.Reachable() {
			continue
		}
		all.Go(func() {
			var of schemas.NodeStatusReply
			if bus.Request(ctx, c.nc, schemas.StatusSubject(n.ID), &schemas.StatusRequest{}, &of) != nil {
				return // the asker sees who is missing
			}
			mu.Lock()
			defer mu.Unlock()
			// What the node says of itself is not what the coordinators decided.
			card := *n
			card.Free, card.Chunks, card.Bytes, card.Damaged = of.Status.Node.Free, of.Status.Node.Chunks, of.Status.Node.Bytes, of.Status.Node.Damaged
			of.Status.Node = card
			rep.Nodes = append(rep.Nodes, of.Status)
		})
	}
	all.Wait()
	slices.SortFunc(rep.Nodes, func(a, b schemas.NodeStatus) int {
		return strings.Compare(a.Node.Name+" "+string(a.Node.ID), b.Node.Name+" "+string(b.Node.ID))
	})
	return rep, nil
}
