package coordinator

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

// clock looks for nodes that are silent, and for those that have been for so long
// that they are not expected back.
func (m *members) clock(run context.Context, nc *nats.Conn) {
	connected := nc.StatusChanged(nats.CONNECTED)
	defer nc.RemoveStatusListener(connected)
	tick := time.NewTicker(m.opt.Silence / 10)
	defer tick.Stop()
	for {
		select {
		case <-run.Done():
			return
		case <-connected:
			m.forgive()
		case now := <-tick.C:
			if !nc.IsConnected() {
				continue // it is this coordinator that hears nothing
			}
			silent := func(n *member) bool { return now.Sub(n.heard) > m.opt.Silence }
			for _, id := range m.which(func(n *member) bool { return n.card.State.Reachable() && silent(n) }) {
				m.move(run, id, "it has been silent", lost(silent))
			}
			grace := m.grace()
			over := func(n *member, c *card) schemas.State {
				// A coordinator that has just come up, perhaps with all the others,
				// gives every node the time to be heard.
				if c.State == schemas.Down && now.Sub(time.Unix(0, c.Since)) > grace && silent(n) {
					return schemas.Gone
				}
				return ""
			}
			for _, id := range m.which(func(n *member) bool { return over(n, &n.card) != "" }) {
				m.move(run, id, fmt.Sprintf("it has been silent for %v", grace), over)
			}
		}
	}
}

// forgive starts the nodes' time anew: they could not be heard.
func (m *members) forgive() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, n := range m.nodes {
		n.heard = time.Now()
	}
}

func (m *members) which(is func(*member) bool) (ids []schemas.NodeID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, n := range m.nodes {
		if n.card.State != schemas.Removed && is(n) {
			ids = append(ids, id)
		}
	}
	return ids
}

// lost is the state of a node that is not there any more, as long as still holds.
// Nobody waits for one that is draining: what it has is needed elsewhere anyway.
func lost(still func(*member) bool) func(*member, *card) schemas.State {
	return func(n *member, c *card) schemas.State {
		switch {
		case !c.State.Reachable() || !still(n):
			return ""
		case c.Drain:
			return schemas.Gone
		}
		return schemas.Down
	}
}

// move writes the state that to names for a node ("" for none), if another coordinator
// has not, and tells of it.
func (m *members) move(ctx context.Context, id schemas.NodeID, why string, to func(*member, *card) schemas.State) {
	var c card
	changed := false
	revision, err := m.kv.Edit(ctx, string(id), &c, func() { c = card{} }, func() (bool, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		n, next := m.nodes[id], schemas.State("")
		if n != nil && c.ID != "" && c.State != schemas.Removed {
			next = to(n, &c)
		}
		if changed = next != "" && next != c.State; changed {
			c.enterState(next)
		}
		return changed, nil
	})
	if err == nil && changed {
		err = m.reach(ctx, revision)
	}
	if err != nil && !errors.Is(err, kv.ErrNotFound) && ctx.Err() == nil {
		m.opt.Log.Warn("a node's state could not be written", "node", id, "error", err)
	}
	if changed && err == nil {
		kind := schemas.EventNodeDown
		if c.State == schemas.Gone {
			kind = schemas.EventNodeGone
		}
		m.event(kind, string(id), "", "storage node %s (%s) is %s: %s", c.Name, id, c.State, why)
	}
}

// enterState changes the state. A node that is gone has been away since it was down.
func (c *card) enterState(s schemas.State) {
	if c.State != schemas.Down || s != schemas.Gone {
		c.Since = time.Now().UnixNano()
	}
	c.State = s
}

// nodeState answers backup.node.state.
func (m *members) nodeState(ctx context.Context, req *schemas.NodeStateRequest) (any, error) {
	if req.State != schemas.Draining && req.State != schemas.Up && req.State != schemas.Removed {
		return nil, schemas.Errorf(schemas.BadRequest, "a node cannot be made %q: draining, up and removed are possible", req.State)
	}
	id, err := m.resolve(req.Node, req.State == schemas.Up)
	if err != nil {
		return nil, err
	}
	var c card
	changed := false
	revision, err := m.kv.Edit(ctx, string(id), &c, func() { c = card{} }, func() (bool, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		before := c
		if n := m.nodes[id]; n == nil || c.ID == "" {
			return false, schemas.Errorf(schemas.UnknownNode, "no storage node is called %q", req.Node)
		} else if err := c.order(req.State, n, req.Force); err != nil {
			return false, err
		}
		changed = c != before
		return changed, nil
	})
	if err == nil {
		err = m.reach(ctx, revision)
	}
	if err != nil {
		return nil, err
	}
	if changed {
		m.event(schemas.EventNodeState, string(id), "", "storage node %s (%s) is %s: an operator wants it", c.Name, id, c.State)
	}
	return &schemas.NodeStateReply{Reply: schemas.OK, Map: m.nodeMap()}, nil
}

// order does with a card what an operator wants of the node.
func (c *card) order(want schemas.State, n *member, force bool) error {
	switch {
	case want == schemas.Draining:
		c.Drain = true
		switch c.State {
		case schemas.Up:
			c.enterState(schemas.Draining)
		case schemas.Down:
			c.enterState(schemas.Gone)
		}
	case want == schemas.Up:
		c.Drain, c.Empty = false, false
		switch c.State {
		case schemas.Draining:
			c.enterState(schemas.Up)
		case schemas.Removed: // it is up when it is heard
			c.enterState(schemas.Down)
			n.ignored = false
		}
	case c.State == schemas.Removed:
	default:
		empty := n.spoke && n.live.Chunks == 0
		switch {
		case empty || force || c.State == schemas.Gone:
		case n.spoke:
			return schemas.Errorf(schemas.NotNow, "storage node %s is %s and holds %d chunks: drain it first, or wait until it is gone", c.Name, c.State, n.live.Chunks)
		default:
			return schemas.Errorf(schemas.NotNow, "storage node %s is %s, and nobody knows what it holds: start it, or wait until it is gone", c.Name, c.State)
		}
		c.Drain, c.Empty = false, empty
		c.enterState(schemas.Removed)
	}
	return nil
}

// resolve finds the node of that id or name. One that was removed is found only if it
// is asked for.
func (m *members) resolve(name string, removed bool) (schemas.NodeID, error) {
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
		return "", schemas.Errorf(schemas.UnknownNode, "no storage node is called %q", name)
	}
	return "", schemas.Errorf(schemas.BadRequest, "%d storage nodes are called %q: name one by its id (%s)", len(found), name, strings.Join(found, ", "))
}
