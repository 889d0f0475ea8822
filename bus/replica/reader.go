package replica

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"servidor-backup/bus"
	"servidor-backup/schemas"
	"servidor-backup/schemas/placement"
)

// MaxIDs is the largest number of ids in one have, get or edges request: 128 KiB of them.
const MaxIDs = 4096

// nodeTimeout is the time after which a node that has not answered a request counts as
// unresponsive. A node answers a read from its index or with one disk access.
const nodeTimeout = 10 * time.Second

// Reader asks storage nodes for chunks: first the nodes that placement ranks first among those
// it can reach, then all others, because the map may have changed since a chunk was stored. It
// is safe for concurrent use.
type Reader struct {
	nc            *nats.Conn
	bytes         atomic.Int64
	allowDegraded atomic.Bool
	latencies     latencies

	mu           sync.Mutex // held while the view changes
	view         atomic.Pointer[view]
	nodeContexts map[schemas.NodeID]cancelableContext // of reachable nodes that were asked
}

// cancelableContext is the parent of a node's requests. It is canceled when a newer map says
// that the node is not reachable.
type cancelableContext struct {
	ctx    context.Context
	cancel context.CancelFunc
}

// view is a map and the values derived from it.
type view struct {
	m       *schemas.NodeMap
	targets *placement.Placement // over the nodes that take data: where chunks are stored now
	sources *placement.Placement // over all reachable nodes: where chunks may be held
	// changed is when the set of targets last changed; zero if this Reader has seen no
	// change.
	changed time.Time
	// unsettled: a node is down or draining.
	unsettled bool
}

// NewReader returns a Reader for the nodes of m.
func NewReader(nc *nats.Conn, m *schemas.NodeMap) *Reader {
	r := &Reader{nc: nc, nodeContexts: map[schemas.NodeID]cancelableContext{}}
	r.SetMap(m)
	return r
}

// SetMap makes later requests follow m, unless a newer map is known, and ends requests to
// nodes that m says are not reachable. m may be nil, and must not be changed any more.
func (r *Reader) SetMap(m *schemas.NodeMap) {
	if m == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.view.Load()
	if old != nil && m.Epoch < old.m.Epoch {
		return
	}
	v := &view{m: m, targets: placement.New(m)}
	v.sources = v.targets
	readable := schemas.NodeMap{}
	for _, n := range m.Nodes {
		v.unsettled = v.unsettled || n.State == schemas.Down || n.State == schemas.Draining
		if n.State.Reachable() {
			n.State, n.Trouble = schemas.Up, ""
			readable.Nodes = append(readable.Nodes, n)
		}
	}
	if len(readable.Nodes) > v.targets.Len() {
		v.sources = placement.New(&readable)
	}
	if old != nil {
		v.changed = old.changed
		if !sameTargets(old.m, m) {
			v.changed = time.Now()
		}
	}
	r.view.Store(v)
	for node, l := range r.nodeContexts {
		if isUnreachable(m, node) {
			l.cancel()
			delete(r.nodeContexts, node)
		}
	}
}

func isUnreachable(m *schemas.NodeMap, node schemas.NodeID) bool {
	card := m.Find(node)
	return card != nil && !card.State.Reachable()
}

// nodeContext returns the node's context, which is canceled if the node is not reachable.
func (r *Reader) nodeContext(node schemas.NodeID) context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, known := r.nodeContexts[node]
	if !known {
		c.ctx, c.cancel = context.WithCancel(context.Background())
		if isUnreachable(r.Map(), node) {
			c.cancel()
			return c.ctx
		}
		r.nodeContexts[node] = c
	}
	return c.ctx
}

// request sends a request to a node. It ends after nodeTimeout, or when a newer map says
// that the node is not reachable.
func (r *Reader) request(ctx context.Context, node schemas.NodeID, subject string, req []byte) ([]byte, error) {
	bounded, cancel := context.WithTimeout(ctx, nodeTimeout)
	defer cancel()
	nodeCtx := r.nodeContext(node)
	defer context.AfterFunc(nodeCtx, cancel)()
	b, err := bus.RequestRaw(bounded, r.nc, subject, req)
	if err != nil && ctx.Err() == nil && nodeCtx.Err() != nil {
		err = fmt.Errorf("%w on %s: the newest map says that the node is not reachable", bus.ErrNoResponders, subject)
	}
	return b, err
}

// sameTargets reports whether both maps store chunks on the same nodes.
func sameTargets(a, b *schemas.NodeMap) bool {
	type target struct {
		zone   string
		weight uint32
	}
	targets := map[schemas.NodeID]target{}
	for i := range a.Nodes {
		if n := &a.Nodes[i]; n.Writable() {
			targets[n.ID] = target{n.Zone, n.Weight}
		}
	}
	n := 0
	for i := range b.Nodes {
		if x := &b.Nodes[i]; x.Writable() {
			if old, known := targets[x.ID]; !known || old != (target{x.Zone, x.Weight}) {
				return false
			}
			n++
		}
	}
	return n == len(targets)
}

// Map returns the newest map, which must not be changed.
func (r *Reader) Map() *schemas.NodeMap { return r.view.Load().m }

// BytesReceived is the number of bytes of chunks that nodes have sent so far.
func (r *Reader) BytesReceived() int64 { return r.bytes.Load() }

// AllowDegraded makes [Reader.Durability] tolerate fewer losses when too few nodes take
// data.
func (r *Reader) AllowDegraded() { r.allowDegraded.Store(true) }

// Durability is the durability with which a vault's chunks are to be stored now: the one of
// the map, but with a smaller m if too few nodes take data and degraded operation is
// allowed, by the map or by [Reader.AllowDegraded].
func (r *Reader) Durability(vault schemas.VaultID) schemas.Durability {
	return r.DurabilityOn(vault, r.view.Load().targets.Len())
}

// DurabilityOn is [Reader.Durability] when the given number of nodes takes data.
func (r *Reader) DurabilityOn(vault schemas.VaultID, nodes int) schemas.Durability {
	m := r.Map()
	d := m.DurabilityOf(vault)
	if m.Degraded || r.allowDegraded.Load() {
		d.M = uint8(min(int(d.M), max(nodes-int(d.K), 0)))
	}
	return d
}

// Responded reports whether some node has ever answered.
func (r *Reader) Responded() bool { return r.latencies.responded.Load() }

// pick returns the ids at the indexes.
func pick(ids []schemas.ChunkID, indexes []int) []schemas.ChunkID {
	picked := make([]schemas.ChunkID, len(indexes))
	for i, index := range indexes {
		picked[i] = ids[index]
	}
	return picked
}
