package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"servidor-backup/bus"
	"servidor-backup/schemas"
)

// members knows the nodes. Cards and states are in a bucket, written under CAS
// by whichever coordinator notices a change, and read by all through a watch;
// what changes every few seconds (free space, counts, signs of life) is heard
// from the nodes directly and not written down.
type members struct {
	kv    *bus.Bucket
	opt   Options
	event func(kind, subject, owner, text string, args ...any)
	ready chan struct{} // closed when the watch has seen all cards

	mu    sync.Mutex
	epoch uint64
	nodes map[schemas.NodeID]*member
}

type member struct {
	card  schemas.Node // as in the bucket
	live  schemas.Node // as last heard
	heard time.Time
}

func newMembers(kv *bus.Bucket, opt Options, event func(kind, subject, owner, text string, args ...any)) *members {
	return &members{kv: kv, opt: opt, event: event, ready: make(chan struct{}), nodes: map[schemas.NodeID]*member{}}
}

// start runs the watch, the ear for heartbeats and the clock, until run ends,
// and returns when all cards have been read.
func (m *members) start(ctx, run context.Context, nc *nats.Conn, loops *sync.WaitGroup) error {
	alive, err := nc.Subscribe(schemas.SubjectAlive, func(msg *nats.Msg) { m.alive(run, msg.Data) })
	if err != nil {
		return fmt.Errorf("subscribe to heartbeats: %w", err)
	}
	context.AfterFunc(run, func() { _ = alive.Unsubscribe() })
	failed := make(chan error, 1)
	loops.Go(func() { m.watch(run, failed) })
	loops.Go(func() { m.clock(run, nc) })
	select {
	case <-m.ready:
		return nil
	case err := <-failed:
		return err
	case <-ctx.Done():
		return fmt.Errorf("read the nodes' cards: %w", ctx.Err())
	}
}

// watch follows the bucket, beginning again when the connection was away.
func (m *members) watch(run context.Context, failed chan<- error) {
	for {
		err := m.kv.Watch(run, ">", m.seen)
		if run.Err() != nil {
			return
		}
		select {
		case failed <- err:
		default:
		}
		select {
		case <-run.Done():
			return
		case <-time.After(time.Second):
		}
	}
}

func (m *members) seen(e *bus.Entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e == nil {
		select {
		case <-m.ready:
		default:
			close(m.ready)
		}
		return
	}
	m.epoch = max(m.epoch, e.Revision)
	id := schemas.NodeID(e.Key)
	if e.Deleted {
		delete(m.nodes, id)
		return
	}
	var card schemas.Node
	if err := e.Decode(&card); err != nil || card.ID != id {
		m.opt.Log.Error("a node's card cannot be read", "key", e.Key, "error", err)
		return
	}
	n := m.nodes[id]
	if n == nil {
		// It has the full time to be heard from, so that a coordinator that
		// has just started takes no living node for dead.
		n = &member{live: card, heard: time.Now()}
		m.nodes[id] = n
	}
	if n.card.State != schemas.Up && card.State == schemas.Up {
		n.heard = time.Now() // it spoke to another coordinator
	}
	n.card = card
}

// register answers storage.register.
func (m *members) register(ctx context.Context, req *schemas.RegisterRequest) (any, error) {
	if req.Protocol > schemas.ProtocolVersion {
		return nil, schemas.Errorf(schemas.TooNew, "the node speaks protocol %d, this coordinator speaks %d: update the coordinator", req.Protocol, schemas.ProtocolVersion)
	}
	if err := checkCard(&req.Node); err != nil {
		return nil, err
	}
	epoch, err := m.enter(ctx, req.Node)
	if err != nil {
		return nil, err
	}
	return &schemas.RegisterReply{Reply: schemas.OK, Epoch: epoch, Heartbeat: int64(m.opt.Silence / 5)}, nil
}

func checkCard(n *schemas.Node) error {
	if !schemas.ValidNodeID(n.ID) {
		return schemas.Errorf(schemas.BadRequest, "%q is not a node id: 1 to 32 lower-case letters and digits", n.ID)
	}
	if err := schemas.CheckNickname(n.Name); err != nil {
		return schemas.Errorf(schemas.BadName, "the node's name: %v", err)
	}
	if n.Weight < 1 {
		return schemas.Errorf(schemas.BadRequest, "node %s has the weight 0, at least 1 is needed", n.ID)
	}
	return nil
}

// enter writes the card if it says anything new, and notes that the node lives.
func (m *members) enter(ctx context.Context, n schemas.Node) (epoch uint64, err error) {
	var card schemas.Node
	var known, back bool
	epoch, err = m.kv.Edit(ctx, string(n.ID), &card, func() { card = schemas.Node{} }, func() (bool, error) {
		known, back = card.ID != "", card.State != schemas.Up && card.State != schemas.Draining
		next := n
		next.State, next.Registered = schemas.Up, time.Now().UnixNano()
		if known {
			next.Registered = card.Registered
		}
		if card.State == schemas.Draining {
			next.State = schemas.Draining
		}
		// What only the heartbeat carries is left out of the comparison.
		next.Free, next.Chunks, next.Bytes, next.Trouble, next.Damaged = 0, 0, 0, "", 0
		if card == next {
			return false, nil
		}
		card = next
		return true, nil
	})
	if err != nil {
		return 0, fmt.Errorf("write the card of node %s: %w", n.ID, err)
	}
	if back {
		m.event(schemas.EventNodeRegistered, string(n.ID), "", "storage node %s (%s) is up", n.Name, n.ID)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	// The watch brings the same news, but the caller may ask at once; and it
	// brings the card only, not what the node says of itself now.
	if known := m.nodes[n.ID]; known != nil && epoch <= m.epoch {
		known.live, known.heard = n, time.Now()
	} else {
		m.epoch = max(m.epoch, epoch)
		m.nodes[n.ID] = &member{card: card, live: n, heard: time.Now()}
	}
	return m.epoch, nil
}

// hear notes a sign of life and returns the card that is known, if any.
func (m *members) hear(n schemas.Node) (schemas.Node, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if k := m.nodes[n.ID]; k != nil {
		k.live, k.heard = n, time.Now()
		return k.card, true
	}
	return schemas.Node{}, false
}

// alive handles a heartbeat.
func (m *members) alive(run context.Context, data []byte) {
	var req schemas.RegisterRequest
	if schemas.Unmarshal(data, &req) != nil || checkCard(&req.Node) != nil {
		return // whoever that is will hear why when it registers
	}
	ctx, cancel := context.WithTimeout(run, 5*time.Second)
	defer cancel()
	if req.Node.State == schemas.Down {
		m.markDown(ctx, req.Node.ID, "it said that it leaves", func(*member) bool { return true })
		return
	}
	card, known := m.hear(req.Node)
	if !known || card.State == schemas.Down || card.State == schemas.Gone {
		if _, err := m.enter(ctx, req.Node); err != nil && run.Err() == nil {
			m.opt.Log.Warn("a node that lives could not be entered", "node", req.Node.ID, "error", err)
		}
	}
}

// clock looks for silent nodes.
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
			for _, id := range m.upAnd(silent) {
				m.markDown(run, id, "it has been silent", silent)
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

func (m *members) upAnd(is func(*member) bool) (ids []schemas.NodeID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, n := range m.nodes {
		if n.card.State == schemas.Up && is(n) {
			ids = append(ids, id)
		}
	}
	return ids
}

// markDown writes the state down, if another coordinator has not, and if still
// holds at that moment.
func (m *members) markDown(ctx context.Context, id schemas.NodeID, why string, still func(*member) bool) {
	var card schemas.Node
	changed := false
	revision, err := m.kv.Edit(ctx, string(id), &card, func() { card = schemas.Node{} }, func() (bool, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		n := m.nodes[id]
		changed = n != nil && still(n) && card.State == schemas.Up
		if changed {
			card.State = schemas.Down
		}
		return changed, nil
	})
	if err != nil && !errors.Is(err, bus.ErrNoKey) {
		if ctx.Err() == nil {
			m.opt.Log.Warn("a node's state could not be written", "node", id, "error", err)
		}
		return
	}
	if changed {
		m.mu.Lock()
		if n := m.nodes[id]; n != nil && revision > m.epoch {
			n.card, m.epoch = card, revision
		}
		m.mu.Unlock()
		m.event(schemas.EventNodeDown, string(id), "", "storage node %s (%s) is down: %s", card.Name, id, why)
	}
}

// nodeMap is the map as of now, sorted by name.
func (m *members) nodeMap() *schemas.NodeMap {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := &schemas.NodeMap{Epoch: m.epoch}
	for _, n := range m.nodes {
		card := n.card
		card.Free, card.Chunks, card.Bytes = n.live.Free, n.live.Chunks, n.live.Bytes
		card.Trouble, card.Damaged = n.live.Trouble, n.live.Damaged
		out.Nodes = append(out.Nodes, card)
	}
	slices.SortFunc(out.Nodes, func(a, b schemas.Node) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return strings.Compare(string(a.ID), string(b.ID))
	})
	return out
}

// writable is the map, or the error that says that no node takes data.
func (m *members) writable() (*schemas.NodeMap, error) {
	all := m.nodeMap()
	if len(all.Writable()) > 0 {
		return all, nil
	}
	if len(all.Nodes) == 0 {
		return nil, schemas.Errorf(schemas.NoNode, "no storage node has registered yet: start one with \"backup storage --server URL --data DIR\"")
	}
	var names []string
	for _, n := range all.Nodes {
		names = append(names, fmt.Sprintf("%s is %s", n.Name, n.State))
	}
	return nil, schemas.Errorf(schemas.NoNode, "no storage node takes data now (%s): start one", strings.Join(names, ", "))
}
