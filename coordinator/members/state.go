package members

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"servidor-backup/bus/kv"
	"servidor-backup/schemas"
)

// detectFailures marks nodes as down that have not responded for too long, and nodes as gone
// that have been down for longer than the grace period.
func (m *Members) detectFailures(run context.Context, nc *nats.Conn) {
	connected := nc.StatusChanged(nats.CONNECTED)
	defer nc.RemoveStatusListener(connected)
	tick := time.NewTicker(m.opt.DownAfter / 10)
	defer tick.Stop()
	for {
		select {
		case <-run.Done():
			return
		case <-connected:
			m.resetResponses()
		case now := <-tick.C:
			if nc.IsConnected() { // else it is this coordinator that cannot be reached
				m.detectFailuresAt(run, now)
			}
		}
	}
}

func (m *Members) detectFailuresAt(run context.Context, now time.Time) {
	grace := m.grace()
	down := func(h *heard, c *card) bool {
		return c.State.Reachable() && h.unresponsiveFor(m.opt.DownAfter, now)
	}
	gone := func(h *heard, c *card) bool {
		// The time without a response counts here, too: a coordinator that has just started, perhaps
		// with all the others, gives every node the time to be heard.
		return c.State == schemas.Down && now.Sub(time.Unix(0, c.Since)) > grace && h.unresponsiveFor(m.opt.DownAfter, now)
	}
	for id, n := range m.present() {
		switch {
		case down(&n.heard, &n.card):
			m.changeCard(run, id, "it has not responded", func(h *heard, c *card) {
				if down(h, c) {
					c.markUnreachable()
				}
			})
		case gone(&n.heard, &n.card):
			m.changeCard(run, id, fmt.Sprintf("it has not responded for %v", grace), func(h *heard, c *card) {
				if gone(h, c) {
					c.enterState(schemas.Gone)
				}
			})
		}
	}
}

// resetResponses lets all nodes count as having responded now: this coordinator could not
// hear them.
func (m *Members) resetResponses() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, n := range m.nodes {
		n.respondedAt = time.Now()
	}
}

// present returns copies of all nodes that were not removed.
func (m *Members) present() map[schemas.NodeID]member {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make(map[schemas.NodeID]member, len(m.nodes))
	for id, n := range m.nodes {
		if n.card.State != schemas.Removed {
			all[id] = *n
		}
	}
	return all
}

// heardOf returns a copy of what this coordinator has heard of a node. known is false for a
// node that the watch has not brought.
func (m *Members) heardOf(id schemas.NodeID) (h heard, known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := m.nodes[id]; n != nil {
		return n.heard, true
	}
	return heard{}, false
}

// changeCard applies change to a node's card in the bucket, unless the node was removed, and
// publishes the state that the node enters. change is called again, with what is known by
// then, whenever another coordinator has written the card meanwhile.
func (m *Members) changeCard(ctx context.Context, id schemas.NodeID, why string, change func(*heard, *card)) {
	var c card
	changed, entered := false, false
	revision, err := m.bucket.Edit(ctx, string(id), &c, func() { c = card{} }, func() (bool, error) {
		before := c
		if h, known := m.heardOf(id); known && c.ID != "" && c.State != schemas.Removed {
			change(&h, &c)
		}
		changed, entered = c != before, c.State != before.State
		return changed, nil
	})
	if err == nil && changed {
		err = m.waitFor(ctx, revision)
	}
	if err != nil && !errors.Is(err, kv.ErrNotFound) && ctx.Err() == nil {
		m.opt.Log.Warn("a node's state could not be written", "node", id, "error", err)
	}
	if entered && err == nil {
		kind := schemas.EventNodeDown
		if c.State == schemas.Gone {
			kind = schemas.EventNodeGone
		}
		m.opt.Event(kind, string(id), "", "storage node %s (%s) is %s: %s", c.Name, id, c.State, why)
	}
}

// SetState answers backup.node.state: an administrator drains a node, removes it, or takes either
// back.
func (m *Members) SetState(ctx context.Context, req *schemas.NodeStateRequest) (any, error) {
	if req.State != schemas.Draining && req.State != schemas.Up && req.State != schemas.Removed {
		return nil, schemas.Errorf(schemas.BadRequest, "a node cannot be made %q: draining, up and removed are possible", req.State)
	}
	id, err := m.resolve(req.Node, req.State == schemas.Up)
	if err != nil {
		return nil, err
	}
	var c card
	changed := false
	revision, err := m.bucket.Edit(ctx, string(id), &c, func() { c = card{} }, func() (bool, error) {
		before := c
		h, known := m.heardOf(id)
		if !known || c.ID == "" {
			return false, schemas.Explain(schemas.UnknownNode, "no-such-node", "no storage node is called \"{node}\"", "node", req.Node)
		}
		switch req.State {
		case schemas.Draining:
			c.drain()
		case schemas.Up:
			c.takeBack()
		default:
			if err := c.remove(&h, req.Force); err != nil {
				return false, err
			}
		}
		changed = c != before
		return changed, nil
	})
	if err == nil {
		err = m.waitFor(ctx, revision)
	}
	if err != nil {
		return nil, err
	}
	if changed {
		m.opt.Event(schemas.EventNodeState, string(id), "", "storage node %s (%s) is %s: an administrator set it", c.Name, id, c.State)
	}
	return &schemas.NodeStateReply{Reply: schemas.OK, Map: m.Map()}, nil
}

// resolve finds a node by its id or its name. removed says whether a removed node may be
// found, too.
func (m *Members) resolve(name string, removed bool) (schemas.NodeID, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found []string
	for id, n := range m.nodes {
		if n.card.State == schemas.Removed && !removed {
			continue
		}
		if string(id) == name {
			return id, nil
		}
		if n.card.Name == name {
			found = append(found, string(id))
		}
	}
	switch len(found) {
	case 1:
		return schemas.NodeID(found[0]), nil
	case 0:
		return "", schemas.Explain(schemas.UnknownNode, "no-such-node", "no storage node is called \"{node}\"", "node", name)
	}
	return "", schemas.Explain(schemas.BadRequest, "several-nodes", "{count} storage nodes are called \"{node}\": name one by its id ({ids})", "count", len(found), "node", name, "ids", strings.Join(found, ", "))
}
