package members

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"servidor-backup/schemas"
)

// staleError says that a card is older than the one in the bucket.
type staleError struct {
	error
	known cardOrder
}

func (e *staleError) Unwrap() error { return e.error }

func newStaleError(n *schemas.Node, known cardOrder) error {
	return &staleError{schemas.Errorf(schemas.NotNow, "node %s (%s) has sent a newer card than this one", n.Name, n.ID), known}
}

// Register answers storage.register.
func (m *Members) Register(ctx context.Context, req *schemas.RegisterRequest) (any, error) {
	if req.Protocol > schemas.ProtocolVersion {
		return nil, schemas.Explain(schemas.TooNew, "node-too-new", "the node speaks protocol {protocol}, this coordinator speaks {own}: update the coordinator", "protocol", req.Protocol, "own", schemas.ProtocolVersion)
	}
	if err := checkCard(&req.Node); err != nil {
		return nil, err
	}
	epoch, older, err := m.enter(ctx, req)
	var stale *staleError
	if errors.As(err, &stale) {
		return &schemas.RegisterReply{Reply: schemas.Fail(err), Started: stale.known.Started}, nil
	}
	if err != nil {
		return nil, err
	}
	return &schemas.RegisterReply{Reply: schemas.OK, Epoch: epoch, Heartbeat: int64(m.opt.DownAfter / 5), Older: older}, nil
}

// enter writes the card if it says anything new, and notes that the node responds. It returns
// the epoch of a map that has the node, and whether the node's folder turned out to be an older
// one. A card that is older than the one in the bucket changes nothing; the error is a
// [staleError] then.
func (m *Members) enter(ctx context.Context, req *schemas.RegisterRequest) (epoch uint64, older bool, err error) {
	n, order := req.Node, orderOf(req)
	var c card
	back := false
	revision, err := m.bucket.Edit(ctx, string(n.ID), &c, func() { c = card{} }, func() (bool, error) {
		if c.State == schemas.Removed {
			return false, schemas.Explain(schemas.NotNow, "node-was-removed", "node {node} ({id}) was removed: take it back with \"backup node undrain {id}\", or give it an empty folder", "node", n.Name, "id", n.ID)
		}
		if order.before(c.cardOrder) {
			return false, newStaleError(&n, c.cardOrder)
		}
		h, _ := m.heardOf(n.ID)
		if older = isOlder(&c, &h, req); older && c.State.Reachable() && !h.unresponsiveFor(m.opt.DownAfter, time.Now()) {
			return false, schemas.Explain(schemas.NotNow, "node-is-running", "node {node} ({id}) is running already, or was until a moment ago: this folder is a copy of its folder, or an older state of it; give it an empty folder, or stop the other one", "node", n.Name, "id", n.ID)
		}
		back = !c.State.Reachable() || c.ID == ""
		next := nextCard(&c, req, back)
		if older {
			next.Losses, next.Older = next.Losses+1, time.Now().UnixNano()
		}
		if c == next && c.Started == order.Started {
			return false, nil
		}
		c, c.cardOrder = next, order
		return true, nil
	})
	if err == nil {
		err = m.waitFor(ctx, revision)
	}
	if err != nil {
		return 0, false, fmt.Errorf("write the card of node %s: %w", n.ID, err)
	}
	if older {
		m.opt.Log.Warn("a node has come back with an older folder: what it held later is lost, and the next backups save it again",
			"node", n.ID, "name", n.Name)
		m.opt.Event(schemas.EventNodeOlder, string(n.ID), "", "storage node %s (%s) has come back with an older folder", n.Name, n.ID)
	}
	if back {
		m.opt.Event(schemas.EventNodeRegistered, string(n.ID), "", "storage node %s (%s) is %s", n.Name, n.ID, c.State)
	}
	m.noteResponse(req)
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.epoch, older, nil
}

// isOlder reports whether the folder of a node that registers lacks something that the folder of
// the node had before: a run or a part of it. c is the node's card, h what was heard of it here.
func isOlder(c *card, h *heard, req *schemas.RegisterRequest) bool {
	switch {
	case c.Run == 0 || req.Run == 0:
		return false // one of them does not say
	case req.Run != c.Run && !slices.Contains(req.Before, c.Run):
		return true
	case req.Position < c.Position:
		return true
	}
	// Within a run, messages may be handled in another order than they were sent.
	return h.run == c.Run && h.run != req.Run && req.Position < h.position
}

// nextCard is the card of a node that was c and responds with req; back says that it did not
// respond before. The order stays that of c.
func nextCard(c *card, req *schemas.RegisterRequest, back bool) card {
	n := req.Node
	next := card{Node: n, Drain: c.Drain, cardOrder: c.cardOrder, Run: req.Run, Position: c.Position,
		Losses: c.Losses, Damage: n.Damaged > 0}
	if req.Run != c.Run {
		next.Position = req.Position
	}
	if c.Damage && !next.Damage {
		next.Losses++
	}
	next.Older = c.Older
	next.State, next.Since, next.Registered = schemas.Up, c.Since, c.Registered
	if c.Drain {
		next.State = schemas.Draining
	}
	if back {
		next.Since = time.Now().UnixNano()
	}
	if c.ID == "" {
		next.Registered = next.Since
	}
	// Only heartbeats carry these. A node's trouble is in the card: placement depends on it.
	next.Free, next.Chunks, next.Bytes, next.Damaged = 0, 0, 0, 0
	return next
}

// noteResponse notes that a node has responded. It reports whether the node's card has to be
// written because of that. A card that is older than what is known is no sign of life.
func (m *Members) noteResponse(req *schemas.RegisterRequest) (write bool) {
	order := orderOf(req)
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.nodes[req.Node.ID]
	if n == nil {
		return true
	}
	if order.before(n.card.cardOrder) || order.before(n.order) {
		return false
	}
	if n.card.State == schemas.Removed {
		if !n.warned {
			n.warned = true
			m.opt.Log.Warn("a node that was removed is still running", "node", req.Node.ID, "name", req.Node.Name)
		}
		return false
	}
	now := time.Now()
	n.heard = heard{latest: req.Node, order: order, run: req.Run, position: req.Position, respondedAt: now, responded: true}
	if !n.card.State.Reachable() || n.card.Damage != (req.Node.Damaged > 0) {
		return true
	}
	// Trouble is believed at once. Its end is believed at once too, but not twice within a
	// short time: each change moves data.
	return req.Node.Trouble != n.card.Trouble && (req.Node.Trouble != "" || now.Sub(n.troubleEnded) > m.opt.DownAfter)
}

// writeTime bounds how long one heartbeat may keep the next ones waiting.
const writeTime = 5 * time.Second

// heartbeat handles a card on storage.alive: a heartbeat or a goodbye.
func (m *Members) heartbeat(run context.Context, data []byte) {
	var req schemas.RegisterRequest
	if schemas.Unmarshal(data, &req) != nil || checkCard(&req.Node) != nil {
		return // the node is told why when it registers
	}
	ctx, cancel := context.WithTimeout(run, writeTime)
	defer cancel()
	if req.Node.State == schemas.Down {
		m.leave(ctx, &req)
		return
	}
	if m.noteResponse(&req) {
		if _, _, err := m.enter(ctx, &req); err != nil && run.Err() == nil && schemas.CodeOf(err) != schemas.NotNow {
			m.opt.Log.Warn("the card of a node that responds could not be written", "node", req.Node.ID, "error", err)
		}
	}
}

// leave handles a goodbye, the last card of a node's process. It says nothing about a later
// process.
func (m *Members) leave(ctx context.Context, req *schemas.RegisterRequest) {
	order := orderOf(req)
	m.changeCard(ctx, req.Node.ID, "it said that it leaves", func(h *heard, c *card) {
		if order.before(c.cardOrder) || order.before(h.order) || c.Run != 0 && req.Run != c.Run {
			return
		}
		c.cardOrder = order // even if the node is down already: older cards must not bring it up
		c.Position = max(c.Position, req.Position)
		c.markUnreachable()
	})
}
