package bus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"servidor-backup/schemas"
)

// MaxIDs is how many ids one have, get or edges request names at most: 128 KiB.
const MaxIDs = 4096

// nodeTimeout is how long one request to a node may take before the node counts
// as silent. A node answers reads from its index or with one disk access.
const nodeTimeout = 10 * time.Second

// Holders asks storage nodes for chunks: first the node that placement names,
// then, because the map may have moved since a chunk was stored, all others. It
// is safe for concurrent use.
type Holders struct {
	nc    *nats.Conn
	view  atomic.Pointer[view]
	bytes atomic.Int64
}

type view struct {
	m         *schemas.NodeMap
	placement *schemas.Placement
}

// NewHolders makes one for the nodes of m.
func NewHolders(nc *nats.Conn, m *schemas.NodeMap) *Holders {
	h := &Holders{nc: nc}
	h.SetMap(m)
	return h
}

// SetMap makes later requests follow m, unless a newer map is known.
func (h *Holders) SetMap(m *schemas.NodeMap) {
	if m == nil {
		return
	}
	if old := h.view.Load(); old == nil || m.Epoch >= old.m.Epoch {
		h.view.Store(&view{m: m, placement: schemas.NewPlacement(m)})
	}
}

// Map is the newest map; it must not be changed.
func (h *Holders) Map() *schemas.NodeMap { return h.view.Load().m }

// Placement is that of the newest map.
func (h *Holders) Placement() *schemas.Placement { return h.view.Load().placement }

// Received is how many bytes of chunks have come from nodes so far.
func (h *Holders) Received() int64 { return h.bytes.Load() }

// Have reports which ids are held by the node that placement names for them
// under 1+0, or, with everywhere, by any node. An error means that a node which
// may hold a chunk did not answer.
func (h *Holders) Have(ctx context.Context, vault schemas.VaultID, ids []schemas.ChunkID, everywhere bool) ([]bool, error) {
	held := make([]bool, len(ids))
	missing, err := h.haveAtOwners(ctx, vault, ids, held)
	if !everywhere || len(missing) == 0 {
		return held, err
	}
	wanted := pick(ids, missing)
	where, ferr := h.find(ctx, vault, wanted)
	found := 0
	for i, nodes := range where {
		if len(nodes) > 0 {
			held[missing[i]] = true
			found++
		}
	}
	if found == len(wanted) {
		return held, nil
	}
	return held, errors.Join(err, ferr)
}

// haveAtOwners fills held and returns the places that are still false.
func (h *Holders) haveAtOwners(ctx context.Context, vault schemas.VaultID, ids []schemas.ChunkID, held []bool) (missing []int, err error) {
	err = h.perOwner(ids, func(node schemas.NodeID, at []int) error {
		has, err := h.askHave(ctx, node, vault, pick(ids, at))
		for i, place := range at {
			held[place] = err == nil && has[i]
		}
		return err
	})
	for i := range held {
		if !held[i] {
			missing = append(missing, i)
		}
	}
	return missing, err
}

// Chunks fetches chunks, or only their edges, and calls got for each, in any
// order, from several goroutines; place is the chunk's place in ids. A chunk
// aliases the message that brought it and may be kept. What no node can deliver
// is an *[schemas.Error] that names it, [schemas.NotHeld] or [schemas.Corrupt].
func (h *Holders) Chunks(ctx context.Context, vault schemas.VaultID, ids []schemas.ChunkID, edgesOnly bool, got func(place int, c *schemas.Chunk) error) error {
	f := &fetch{h: h, ctx: ctx, vault: vault, ids: ids, edgesOnly: edgesOnly, got: got, problems: map[int]error{}}
	if err := h.perOwner(ids, f.from); err != nil {
		return err
	}
	if len(f.problems) == 0 {
		return nil
	}
	return f.elsewhere()
}

// fetch is one call of Chunks.
type fetch struct {
	h         *Holders
	ctx       context.Context
	vault     schemas.VaultID
	ids       []schemas.ChunkID
	edgesOnly bool
	got       func(int, *schemas.Chunk) error

	mu       sync.Mutex
	problems map[int]error // why a chunk has not come yet
}

// from asks one node for the chunks in the given places until each has come or
// failed. Only a failure of got is returned; what the node cannot deliver is
// noted.
func (f *fetch) from(node schemas.NodeID, at []int) error {
	subject := schemas.GetSubject(node)
	if f.edgesOnly {
		subject = schemas.EdgesSubject(node)
	}
	if node == "" {
		f.note(at, errNoNode)
		return nil
	}
	for len(at) > 0 {
		ask := at[:min(len(at), MaxIDs)]
		rep, err := f.h.ask(f.ctx, subject, &schemas.IDsRequest{Vault: f.vault, IDs: pick(f.ids, ask)})
		if err == nil && len(rep.Chunks)+len(rep.Failed) == 0 {
			err = schemas.Errorf(schemas.Internal, "node %s answered a request for chunks with nothing", node)
		}
		if err != nil {
			if f.ctx.Err() != nil {
				return f.ctx.Err()
			}
			f.note(at, fmt.Errorf("storage node %s: %w", node, err))
			return nil
		}
		if at, err = f.take(node, rep, at); err != nil {
			return err
		}
	}
	return nil
}

// take hands out what came and returns the places that must be asked for again.
func (f *fetch) take(node schemas.NodeID, rep *schemas.ChunksReply, at []int) ([]int, error) {
	came := make(map[schemas.ChunkID]*schemas.Chunk, len(rep.Chunks))
	for i := range rep.Chunks {
		came[rep.Chunks[i].ID] = &rep.Chunks[i]
		f.h.bytes.Add(int64(rep.Chunks[i].Size()))
	}
	failed := make(map[schemas.ChunkID]error, len(rep.Failed))
	for _, x := range rep.Failed {
		failed[x.ID] = fmt.Errorf("storage node %s: %w", node, &schemas.Error{Code: x.Code, Message: x.Message})
	}
	var rest []int
	for _, place := range at {
		id := f.ids[place]
		switch {
		case came[id] != nil:
			f.settle(place)
			if err := f.got(place, came[id]); err != nil {
				return nil, err
			}
		case failed[id] != nil:
			f.note([]int{place}, failed[id])
		default:
			rest = append(rest, place)
		}
	}
	if len(rest) == len(at) {
		f.note(rest, schemas.Errorf(schemas.Internal, "storage node %s answers with chunks nobody asked for", node))
		return nil, nil
	}
	return rest, nil
}

func (f *fetch) settle(place int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.problems, place)
}

// note remembers why chunks did not come. That a chunk is damaged says more
// than that another node never had it.
func (f *fetch) note(at []int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, place := range at {
		if old := f.problems[place]; old == nil || schemas.CodeOf(err) != schemas.NotHeld {
			f.problems[place] = err
		}
	}
}

// elsewhere looks for what the owners did not deliver on all nodes, and asks
// one holder after the other until each chunk has come or no holder is left.
func (f *fetch) elsewhere() error {
	at := slices.Sorted(maps.Keys(f.problems))
	where, silent := f.h.find(f.ctx, f.vault, pick(f.ids, at))
	for turn := 0; len(f.problems) > 0; turn++ {
		byNode := map[schemas.NodeID][]int{}
		for i, nodes := range where {
			if turn < len(nodes) && f.problems[at[i]] != nil {
				byNode[nodes[turn]] = append(byNode[nodes[turn]], at[i])
			}
		}
		if len(byNode) == 0 {
			return f.failure(at, silent)
		}
		for node, places := range byNode {
			if err := f.from(node, places); err != nil {
				return err
			}
		}
	}
	return nil
}

// failure tells of the first chunk that did not come, and of the nodes that
// might have had it.
//
// silent is why some nodes were not heard: as long as it is not nil, a chunk
// that no other node holds is not lost.
func (f *fetch) failure(at []int, silent error) error {
	if err := f.ctx.Err(); err != nil {
		return err
	}
	var away []string
	for _, n := range f.h.view.Load().m.Nodes {
		if !n.State.Reachable() {
			away = append(away, fmt.Sprintf("%s is %s", n.Name, n.State))
		}
	}
	for _, place := range at {
		err := f.problems[place]
		if silent != nil && schemas.CodeOf(err) == schemas.NotHeld {
			err = silent
		}
		switch {
		case err == nil:
		case len(away) > 0:
			return fmt.Errorf("chunk %s: %w (%s)", f.ids[place].Short(), err, strings.Join(away, ", "))
		default:
			return fmt.Errorf("chunk %s: %w", f.ids[place].Short(), err)
		}
	}
	return nil
}

// find asks every node for ids and returns for each the nodes that hold it. An
// error means that some did not answer.
func (h *Holders) find(ctx context.Context, vault schemas.VaultID, ids []schemas.ChunkID) ([][]schemas.NodeID, error) {
	where := make([][]schemas.NodeID, len(ids))
	var mu sync.Mutex
	var all sync.WaitGroup
	var failed error
	for _, n := range h.view.Load().m.Nodes {
		if !n.State.Reachable() {
			continue
		}
		all.Go(func() {
			held, err := h.askHave(ctx, n.ID, vault, ids)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = errors.Join(failed, err)
				return
			}
			for i := range held {
				if held[i] {
					where[i] = append(where[i], n.ID)
				}
			}
		})
	}
	all.Wait()
	return where, failed
}

// askHave asks one node about any number of ids.
func (h *Holders) askHave(ctx context.Context, node schemas.NodeID, vault schemas.VaultID, ids []schemas.ChunkID) ([]bool, error) {
	if node == "" {
		return nil, errNoNode
	}
	held := make([]bool, 0, len(ids))
	for len(ids) > 0 {
		some := ids[:min(len(ids), MaxIDs)]
		ids = ids[len(some):]
		req := &schemas.IDsRequest{Vault: vault, IDs: some}
		bounded, cancel := context.WithTimeout(ctx, nodeTimeout)
		b, err := RequestRaw(bounded, h.nc, schemas.HaveSubject(node), req.Encode())
		cancel()
		var rep schemas.HaveReply
		if err == nil {
			err = schemas.Unmarshal(b, &rep)
		}
		if err == nil {
			err = rep.Err()
		}
		if err != nil {
			return nil, fmt.Errorf("storage node %s: %w", node, err)
		}
		for i := range some {
			held = append(held, rep.Held(i))
		}
	}
	return held, nil
}

func (h *Holders) ask(ctx context.Context, subject string, req *schemas.IDsRequest) (*schemas.ChunksReply, error) {
	bounded, cancel := context.WithTimeout(ctx, nodeTimeout)
	defer cancel()
	b, err := RequestRaw(bounded, h.nc, subject, req.Encode())
	if err != nil {
		return nil, err
	}
	return schemas.DecodeChunks(b)
}

// errNoNode stands for the answer of an owner that does not exist.
var errNoNode = schemas.Errorf(schemas.NoNode, "no storage node is up")

// perOwner groups the places of ids by the node that placement names, "" when
// none is up, and calls each for all groups at the same time.
func (h *Holders) perOwner(ids []schemas.ChunkID, each func(node schemas.NodeID, at []int) error) error {
	groups := map[schemas.NodeID][]int{}
	placement := h.Placement()
	var set [1]schemas.NodeID
	for i, id := range ids {
		owner := schemas.NodeID("")
		if placed := placement.Place(set[:0], id, 1); len(placed) > 0 {
			owner = placed[0]
		}
		groups[owner] = append(groups[owner], i)
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	var errs error
	for node, at := range groups {
		all.Go(func() {
			if err := each(node, at); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = errors.Join(errs, err)
			}
		})
	}
	all.Wait()
	return errs
}

func pick(ids []schemas.ChunkID, at []int) []schemas.ChunkID {
	out := make([]schemas.ChunkID, len(at))
	for i, place := range at {
		out[i] = ids[place]
	}
	return out
}
