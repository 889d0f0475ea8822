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

// MaxIDs is how many ids one have, get or edges request names at most: 128 KiB.
const MaxIDs = 4096

// nodeTimeout is how long one request to a node may take before the node counts
// as silent. A node answers reads from its index or with one disk access.
const nodeTimeout = 10 * time.Second

// Reader asks storage nodes for chunks: first those that placement names, then,
// because the map may have moved since a chunk was stored, all others. It is safe
// for concurrent use.
type Reader struct {
	nc     *nats.Conn
	bytes  atomic.Int64
	less   atomic.Bool
	pulses latencies

	mu    sync.Mutex // held while the view changes
	view  atomic.Pointer[view]
	lines map[schemas.NodeID]line // of nodes that were asked
}

// line ends when the newest map says that a node cannot be reached.
type line struct {
	ctx context.Context
	cut context.CancelFunc
}

// view is what follows from one map.
type view struct {
	m       *schemas.NodeMap
	targets *placement.Placement // over the nodes that take data: where chunks go
	sources *placement.Placement // over all that can be asked: where chunks may be
	// changed is when other nodes took data than now; zero if that was not seen.
	changed time.Time
	// unsettled: a node is down, or is being emptied.
	unsettled bool
}

// NewReader makes one for the nodes of m.
func NewReader(nc *nats.Conn, m *schemas.NodeMap) *Reader {
	h := &Reader{nc: nc, lines: map[schemas.NodeID]line{}}
	h.SetMap(m)
	return h
}

// SetMap makes later requests follow m, unless a newer map is known.
func (h *Reader) SetMap(m *schemas.NodeMap) {
	if m == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	old := h.view.Load()
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
	h.view.Store(v)
	for node, l := range h.lines {
		if isAway(m, node) {
			l.cut()
			delete(h.lines, node)
		}
	}
}

func isAway(m *schemas.NodeMap, node schemas.NodeID) bool {
	card := m.Find(node)
	return card != nil && !card.State.Reachable()
}

// line is the node's; the one of a node that is away has ended.
func (h *Reader) line(node schemas.NodeID) context.Context {
	h.mu.Lock()
	defer h.mu.Unlock()
	l, known := h.lines[node]
	if !known {
		l.ctx, l.cut = context.WithCancel(context.Background())
		if isAway(h.Map(), node) {
			l.cut()
			return l.ctx
		}
		h.lines[node] = l
	}
	return l.ctx
}

// request asks a node. It is waited for until a newer map says that it is away, and for
// nodeTimeout at most.
func (h *Reader) request(ctx context.Context, node schemas.NodeID, subject string, req *schemas.IDsRequest) ([]byte, error) {
	bounded, cancel := context.WithTimeout(ctx, nodeTimeout)
	defer cancel()
	line := h.line(node)
	defer context.AfterFunc(line, cancel)()
	b, err := bus.RequestRaw(bounded, h.nc, subject, req.Encode())
	if err != nil && ctx.Err() == nil && line.Err() != nil {
		err = fmt.Errorf("%w on %s: by the newest map the node is away", bus.ErrNoResponders, subject)
	}
	return b, err
}

// sameTargets reports whether chunks go to the same nodes under both maps.
func sameTargets(a, b *schemas.NodeMap) bool {
	type place struct {
		zone   string
		weight uint32
	}
	places := map[schemas.NodeID]place{}
	for i := range a.Nodes {
		if n := &a.Nodes[i]; n.Writable() {
			places[n.ID] = place{n.Zone, n.Weight}
		}
	}
	n := 0
	for i := range b.Nodes {
		if x := &b.Nodes[i]; x.Writable() {
			if at, known := places[x.ID]; !known || at != (place{x.Zone, x.Weight}) {
				return false
			}
			n++
		}
	}
	return n == len(places)
}

// Map is the newest map; it must not be changed.
func (h *Reader) Map() *schemas.NodeMap { return h.view.Load().m }

// BytesReceived is how many bytes of chunks have come from nodes so far.
func (h *Reader) BytesReceived() int64 { return h.bytes.Load() }

// AllowDegraded lets [Holders.Durability] be what the nodes that take data allow.
func (h *Reader) AllowDegraded() { h.less.Store(true) }

// Durability is how chunks of a vault are to be kept now: as the map says, but for
// fewer losses if there are too few nodes, and that is accepted.
func (h *Reader) Durability(vault schemas.VaultID) schemas.Durability {
	return h.DurabilityOn(vault, h.view.Load().targets.Len())
}

// DurabilityOn is [Holders.Durability] if so many nodes take data.
func (h *Reader) DurabilityOn(vault schemas.VaultID, nodes int) schemas.Durability {
	m := h.Map()
	d := m.DurabilityOf(vault)
	if m.Degraded || h.less.Load() {
		d.M = uint8(min(int(d.M), max(nodes-int(d.K), 0)))
	}
	return d
}

// Responded reports whether some node has ever answered.
func (h *Reader) Responded() bool { return h.pulses.heard.Load() }

func pick(ids []schemas.ChunkID, at []int) []schemas.ChunkID {
	out := make([]schemas.ChunkID, len(at))
	for i, place := range at {
		out[i] = ids[place]
	}
	return out
}
