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

// forget answers backup.forget: it forgets versions, or takes that back.
func (c *Coordinator) forget(ctx context.Context, req *schemas.ForgetRequest) (any, error) {
	record, number, err := c.parseKnown(ctx, req.Nickname, req.ID)
	if err != nil {
		return nil, err
	}
	changed, err := c.catalog.Forget(ctx, req.Nickname, record, number, req.Undo)
	rep := &schemas.ForgetReply{Reply: schemas.OK}
	did := "forgot"
	if req.Undo {
		did = "took back"
	}
	for i := range changed {
		id := changed[i].ID
		rep.Versions = append(rep.Versions, id)
		c.event(schemas.EventVersionForgotten, id, req.Nickname, "%s %s %s", req.Nickname, did, id)
	}
	return rep, err
}

// doubt answers backup.doubt.
func (c *Coordinator) doubt(ctx context.Context, req *schemas.DoubtRequest) (any, error) {
	record, number, err := c.parseKnown(ctx, req.Nickname, req.ID)
	if err != nil {
		return nil, err
	}
	return &schemas.DoubtReply{Reply: schemas.OK}, c.catalog.Doubt(ctx, req.Nickname, record, number)
}

// policy answers backup.policy. The policies of a lost catalogue are not known.
func (c *Coordinator) policy(ctx context.Context, req *schemas.PolicyRequest) (any, error) {
	if err := c.copies.checkCatalogue(ctx); err != nil {
		return nil, err
	}
	return c.members.SetPolicy(ctx, req)
}

// nicknames answers backup.nicknames.
func (c *Coordinator) nicknames(ctx context.Context, req *schemas.NicknamesRequest) (any, error) {
	if err := c.copies.checkCatalogue(ctx); err != nil {
		return nil, err
	}
	all, err := c.catalog.Nicknames(ctx, req.After)
	if err != nil {
		return nil, err
	}
	rep := &schemas.NicknamesReply{Reply: schemas.OK, Nicknames: []string{}}
	for i, space := 0, listSpace; i < len(all); i++ {
		if space -= len(all[i]) + 8; space < 0 {
			rep.Next = all[i-1]
			break
		}
		rep.Nicknames = append(rep.Nicknames, all[i])
	}
	return rep, nil
}

// rebuild answers backup.rebuild.
func (c *Coordinator) rebuild(ctx context.Context, _ *schemas.RebuildRequest) (any, error) {
	rep, err := c.catalog.Rebuild(ctx)
	if err != nil {
		return nil, err
	}
	c.copies.reset()
	c.event(schemas.EventCatalogueRebuilt, c.id, "", "the catalogue was rebuilt from the storage nodes: %d values", rep.Keys)
	return rep, nil
}

// statusTime is how long a node may take to answer with its status.
const statusTime = 2 * time.Second

// status answers backup.status.
func (c *Coordinator) status(ctx context.Context, _ *schemas.StatusRequest) (any, error) {
	if err := c.copies.checkCatalogue(ctx); err != nil {
		return nil, err
	}
	newest, err := c.catalog.Collection(ctx)
	if err != nil {
		return nil, err
	}
	rep := &schemas.StatusReply{Reply: schemas.OK, Map: c.members.Map(), Collection: newest.Collection, Lost: newest.Lost, LostMore: newest.LostMore}
	ctx, cancel := context.WithTimeout(ctx, statusTime)
	defer cancel()
	var others sync.WaitGroup
	others.Go(func() { rep.Coordinators = c.coordinators(ctx) })
	others.Go(func() { rep.Servers = c.servers(ctx) })
	rep.Nodes = c.nodeStatuses(ctx, rep.Map)
	others.Wait()
	return rep, nil
}

// coordinators are those that answer. It is empty if they cannot be asked: the rest of the
// status is worth having without.
func (c *Coordinator) coordinators(ctx context.Context) (all []schemas.CoordinatorStatus) {
	instances, err := bus.Instances(ctx, c.nc, serviceName)
	if err != nil {
		return nil
	}
	for _, i := range instances {
		all = append(all, schemas.CoordinatorStatus{ID: i.ID, Version: i.Build})
	}
	return all
}

// servers are the NATS servers that hold the catalogue; none if they are not known.
func (c *Coordinator) servers(ctx context.Context) (all []schemas.ServerStatus) {
	servers, err := c.buckets.catalogue.Servers(ctx)
	if err != nil {
		return nil
	}
	for _, s := range servers {
		all = append(all, schemas.ServerStatus(s))
	}
	return all
}

// nodeStatuses asks all reachable nodes for their status. The result is sorted by name, and
// lacks the nodes that do not answer.
func (c *Coordinator) nodeStatuses(ctx context.Context, nodes *schemas.NodeMap) (all []schemas.NodeStatus) {
	var mu sync.Mutex
	var asking sync.WaitGroup
	for i := range nodes.Nodes {
		n := &nodes.Nodes[i]
		if !n.State.Reachable() {
			continue
		}
		asking.Go(func() {
			var rep schemas.NodeStatusReply
			if bus.Request(ctx, c.nc, schemas.StatusSubject(n.ID), &schemas.StatusRequest{}, &rep) != nil {
				return
			}
			// The node knows its counts; its state is what the coordinators have decided.
			card, said := *n, &rep.Status.Node
			card.Free, card.Chunks, card.Bytes, card.Damaged = said.Free, said.Chunks, said.Bytes, said.Damaged
			rep.Status.Node = card
			mu.Lock()
			defer mu.Unlock()
			all = append(all, rep.Status)
		})
	}
	asking.Wait()
	slices.SortFunc(all, func(a, b schemas.NodeStatus) int {
		return strings.Compare(a.Node.Name+" "+string(a.Node.ID), b.Node.Name+" "+string(b.Node.ID))
	})
	return all
}
