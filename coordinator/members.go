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

	"servidor-backup/bus/kv"
	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
)

// members knows the nodes and the policies, which together are the node map. Both
// are in one bucket, written under CAS by whichever coordinator notices a change, and
// read by all through a watch; what changes every few seconds (free space, counts,
// signs of life) is heard from the nodes directly and not written down.
//
// The bucket's keys are node ids, with a [card] each, and those of policies, which no
// node id can be (policy.go). The map's epoch is the revision that the watch has come
// to, and nothing but the watch changes what is known: so two coordinators with the
// same epoch have the same map.
type members struct {
	kv    *kv.Bucket
	opt   Options
	event func(kind, subject, owner, text string, args ...any)
	wrote func(key string) // a policy
	ready chan struct{}    // closed when the watch has seen everything
	gone  chan struct{}    // closed when the bucket, or another of the coordinator's, is lost
	lost  sync.Once        // closes it

	mu        sync.Mutex
	epoch     uint64
	moved     chan struct{} // closed, and made anew, when the epoch changes
	nodes     map[schemas.NodeID]*member
	policy    schemas.Policy
	nicknames map[string]schemas.NicknamePolicy // by key
}

// card is what the bucket has of a node. That of a node which was removed stays, so
// that it does not come back by itself.
type card struct {
	schemas.Node
	// Drain says that an operator wants the node empty, whether it is up or not.
	Drain bool `msgpack:"drain,omitempty"`
	// Empty says that it held nothing when it was removed.
	Empty bool `msgpack:"empty,omitempty"`
}

type member struct {
	card     card
	revision uint64       // of the card
	live     schemas.Node // as last heard
	heard    time.Time    // when, or since when it could have been heard
	spoke    bool         // it was heard by this coordinator
	eased    time.Time    // when it last took puts again
	ignored  bool         // it was removed and still speaks, and that was told
}

func newMembers(kv *kv.Bucket, opt Options, event func(kind, subject, owner, text string, args ...any), wrote func(key string)) *members {
	return &members{kv: kv, opt: opt, event: event, wrote: wrote, ready: make(chan struct{}), gone: make(chan struct{}), moved: make(chan struct{}),
		nodes: map[schemas.NodeID]*member{}, nicknames: map[string]schemas.NicknamePolicy{}}
}

// start runs the watch, the ear for heartbeats, the clock and the herald, until run
// ends, and returns when all cards have been read.
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
	case err := <-failed:
		return err
	case <-ctx.Done():
		return fmt.Errorf("read the nodes' cards: %w", ctx.Err())
	}
	// Nobody has a map of them before it is certain that all are of one bucket.
	if gone, err := m.kv.Lost(ctx); gone || err != nil {
		return errors.Join(errors.New("the nodes' cards were lost while they were read"), err)
	}
	loops.Go(func() { m.herald(run, nc) })
	return nil
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

func (m *members) seen(e *kv.Entry) {
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
	if e.Revision <= m.epoch || m.isLost() {
		return // the watch began again, or all this is no more
	}
	if m.isForeign(e) {
		m.lose()
		return
	}
	m.epoch = e.Revision
	close(m.moved)
	m.moved = make(chan struct{})
	if strings.HasPrefix(e.Key, policyPrefix) {
		m.seenPolicy(e)
		return
	}
	id := schemas.NodeID(e.Key)
	if e.Deleted {
		delete(m.nodes, id)
		return
	}
	var c card
	if err := e.Decode(&c); err != nil || c.ID != id {
		m.opt.Log.Error("a node's card cannot be read", "key", e.Key, "error", err)
		return
	}
	n := m.nodes[id]
	if n == nil {
		// It has the full time to be heard from, so that a coordinator that
		// has just started takes no living node for dead.
		n = &member{live: c.Node, heard: time.Now()}
		m.nodes[id] = n
	}
	if !n.card.State.Reachable() && c.State.Reachable() {
		n.heard = time.Now() // it spoke to another coordinator
	}
	if n.card.Trouble != "" && c.Trouble == "" {
		n.eased = time.Now()
	}
	n.card, n.revision = c, e.Revision
}

// reach waits until the watch has come to a revision that was written.
func (m *members) reach(ctx context.Context, revision uint64) error {
	for {
		m.mu.Lock()
		epoch, moved := m.epoch, m.moved
		m.mu.Unlock()
		if epoch >= revision {
			return nil
		}
		select {
		case <-moved:
		case <-m.gone:
			return schemas.Errorf(schemas.Unavailable, "the catalogue is gone, this coordinator begins anew")
		case <-ctx.Done():
			return schemas.Errorf(schemas.Unavailable, "the node map does not come up to date: %v", ctx.Err())
		}
	}
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
	var c card
	back := false
	revision, err := m.kv.Edit(ctx, string(n.ID), &c, func() { c = card{} }, func() (bool, error) {
		if c.State == schemas.Removed {
			return false, schemas.Errorf(schemas.NotNow, "node %s (%s) was removed: take it back with \"backup node undrain %s\", or give it an empty folder", n.Name, n.ID, n.ID)
		}
		back = !c.State.Reachable() || c.ID == ""
		next := card{Node: n, Drain: c.Drain}
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
		// What only the heartbeat carries is left out of the card. That the node
		// refuses puts is in it, as placement depends on that.
		next.Free, next.Chunks, next.Bytes, next.Damaged = 0, 0, 0, 0
		if c == next {
			return false, nil
		}
		c = next
		return true, nil
	})
	if err == nil {
		err = m.reach(ctx, revision)
	}
	if err != nil {
		return 0, fmt.Errorf("write the card of node %s: %w", n.ID, err)
	}
	if back {
		m.event(schemas.EventNodeRegistered, string(n.ID), "", "storage node %s (%s) is %s", n.Name, n.ID, c.State)
	}
	m.hear(n)
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.epoch, nil
}

// hear notes a sign of life. It reports whether the card has to be written for it.
func (m *members) hear(n schemas.Node) (news bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.nodes[n.ID]
	if k == nil {
		return true
	}
	if k.card.State == schemas.Removed {
		if !k.ignored {
			k.ignored = true
			m.opt.Log.Warn("a node that was removed is still running", "node", n.ID, "name", n.Name)
		}
		return false
	}
	now := time.Now()
	k.live, k.heard, k.spoke = n, now, true
	if !k.card.State.Reachable() {
		return true
	}
	// Trouble is believed at once. That it is over is, too, but not every time: each
	// turn of it moves data about.
	return n.Trouble != k.card.Trouble && (n.Trouble != "" || now.Sub(k.eased) > m.opt.Silence)
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
		m.move(ctx, req.Node.ID, "it said that it leaves", lost(func(*member) bool { return true }))
		return
	}
	if m.hear(req.Node) {
		if _, err := m.enter(ctx, req.Node); err != nil && run.Err() == nil && schemas.CodeOf(err) != schemas.NotNow {
			m.opt.Log.Warn("a node that lives could not be entered", "node", req.Node.ID, "error", err)
		}
	}
}

// nodeMap is the map as of now, sorted by name.
func (m *members) nodeMap() *schemas.NodeMap {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := &schemas.NodeMap{Epoch: m.epoch}
	for _, n := range m.nodes {
		if n.card.State == schemas.Removed {
			continue
		}
		c := n.card.Node
		c.Free, c.Chunks, c.Bytes, c.Damaged = n.live.Free, n.live.Chunks, n.live.Bytes, n.live.Damaged
		out.Nodes = append(out.Nodes, c)
	}
	slices.SortFunc(out.Nodes, func(a, b schemas.Node) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return strings.Compare(string(a.ID), string(b.ID))
	})
	m.applyPolicies(out)
	return out
}

// heraldEvery is how often the map is published although nothing has changed, for
// those who missed a change; heraldWait is for how long changes are collected.
const (
	heraldEvery = 3 * time.Second
	heraldWait  = 30 * time.Millisecond
)

// herald publishes the map, whenever it has changed, and again from time to time.
func (m *members) herald(run context.Context, nc *nats.Conn) {
	again := time.NewTicker(heraldEvery)
	defer again.Stop()
	for {
		m.mu.Lock()
		moved := m.moved
		m.mu.Unlock()
		if err := replica.PublishMap(nc, m.nodeMap()); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			m.opt.Log.Warn("the node map could not be published", "error", err)
		}
		select {
		case <-run.Done():
			return
		case <-again.C:
		case <-moved:
			select {
			case <-run.Done():
				return
			case <-time.After(heraldWait):
			}
		}
	}
}
