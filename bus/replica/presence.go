package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"servidor-backup/schemas"
	"servidor-backup/schemas/placement"
)

// settleTime is the time after a change of the nodes for which chunks are looked for on all
// nodes, because healing is still moving them to their newly assigned nodes.
const settleTime = 5 * time.Minute

// errNoNode is used instead of a node's answer if no node takes data.
var errNoNode = schemas.Explain(schemas.NoNode, "no-node-is-up", "no storage node is up")

// Presence is the parts of one chunk that nodes hold.
type Presence struct {
	replicas int
	shards   []heldShard
}

type heldShard struct {
	part schemas.Part
	node schemas.NodeID
}

// HasShards reports whether some node holds a shard of the chunk.
func (x *Presence) HasShards() bool { return len(x.shards) > 0 }

// Enough reports whether the chunk survives as many losses as d demands: there are
// enough replicas, or enough different shards on different nodes.
func (x *Presence) Enough(d schemas.Durability) bool {
	return x.replicas >= d.Replicas() || slices.ContainsFunc(x.shards, func(s heldShard) bool {
		return s.part.K() == int(d.K) && x.distinctShards(s.part.Stripe()) >= d.Nodes()
	})
}

// recoverable reports whether the parts are enough to read the chunk.
func (x *Presence) recoverable() bool {
	return x.replicas > 0 || slices.ContainsFunc(x.shards, func(s heldShard) bool {
		return x.distinctShards(s.part.Stripe()) >= s.part.K()
	})
}

// distinctShards is the number of different shards of a stripe on different nodes.
func (x *Presence) distinctShards(stripe schemas.Part) int {
	var parts []schemas.Part
	var nodes []schemas.NodeID
	for _, s := range x.shards {
		if s.part.Stripe() != stripe {
			continue
		}
		if !slices.Contains(parts, s.part) {
			parts = append(parts, s.part)
		}
		if !slices.Contains(nodes, s.node) {
			nodes = append(nodes, s.node)
		}
	}
	return min(len(parts), len(nodes))
}

// Have reports, for each id, whether the reachable nodes hold the chunk as
// [Reader.Durability] demands, on whichever nodes. The nodes pin the parts that they
// report. An error means that a node that may hold a part that matters did not respond; the
// result is then what the other nodes hold.
func (r *Reader) Have(ctx context.Context, vault schemas.VaultID, ids []schemas.ChunkID) ([]bool, error) {
	d := r.Durability(vault)
	presences, err := r.presences(ctx, vault, ids, d, true)
	held := make([]bool, len(ids))
	for i := range presences {
		held[i] = presences[i].Enough(d)
	}
	return held, err
}

// Presences returns, for each id, the parts that reachable nodes hold of chunks that may be
// new. It asks the nodes where a chunk would be stored. It asks all other nodes only about
// chunks that are held in part, or while healing moves chunks. Pins and the error are as in
// [Reader.Have].
func (r *Reader) Presences(ctx context.Context, vault schemas.VaultID, ids []schemas.ChunkID) ([]Presence, error) {
	return r.presences(ctx, vault, ids, r.Durability(vault), false)
}

func (r *Reader) presences(ctx context.Context, vault schemas.VaultID, ids []schemas.ChunkID, d schemas.Durability, everywhere bool) ([]Presence, error) {
	v := r.view.Load()
	everywhere = everywhere || v.unsettled || !v.changed.IsZero() && time.Since(v.changed) < settleTime
	q := &presenceQuery{reader: r, ctx: ctx, vault: vault, ids: ids, parts: d.K > 1, found: make([]Presence, len(ids)),
		enough: func(x *Presence) bool { return x.Enough(d) }}
	q.ask(v, v.targets, d.Nodes(), func(x *Presence) bool { return everywhere || x.replicas > 0 || x.HasShards() })
	return q.found, q.failure()
}

// Recoverable reports, for each id, whether the chunk can be read from reachable nodes: from
// a replica, or from enough shards. An error means that a node that may hold a missing
// part did not respond. The nodes pin the parts that they report.
func (r *Reader) Recoverable(ctx context.Context, vault schemas.VaultID, ids []schemas.ChunkID) ([]bool, error) {
	v := r.view.Load()
	q := &presenceQuery{reader: r, ctx: ctx, vault: vault, ids: ids, parts: true, found: make([]Presence, len(ids)), enough: (*Presence).recoverable}
	q.ask(v, v.sources, int(v.m.DurabilityOf(vault).K), func(*Presence) bool { return true })
	recoverable := make([]bool, len(ids))
	for i := range recoverable {
		recoverable[i] = q.found[i].recoverable()
	}
	return recoverable, q.failure()
}

// presenceQuery asks many nodes about the same chunks.
type presenceQuery struct {
	reader *Reader
	ctx    context.Context
	vault  schemas.VaultID
	ids    []schemas.ChunkID
	parts  bool // ask for shards too
	enough func(*Presence) bool

	mu    sync.Mutex
	found []Presence
	err   error // of nodes that did not respond
}

// ask asks, for each chunk, the first n nodes of the placement. If their parts are not
// enough and further returns true, it asks all other nodes about the chunk.
func (q *presenceQuery) ask(v *view, p *placement.Placement, n int, further func(*Presence) bool) {
	groups := map[schemas.NodeID][]int{}
	var set []schemas.NodeID
	for i, id := range q.ids {
		set = p.Place(set[:0], id, n)
		for _, node := range set {
			groups[node] = append(groups[node], i)
		}
	}
	if len(set) == 0 && len(q.ids) > 0 {
		q.err = errNoNode
	}
	q.askAll(groups)
	clear(groups)
	for i, id := range q.ids {
		if q.enough(&q.found[i]) || !further(&q.found[i]) {
			continue
		}
		set = p.Place(set[:0], id, n)
		for j := range v.m.Nodes {
			if node := &v.m.Nodes[j]; node.State.Reachable() && !slices.Contains(set, node.ID) {
				groups[node.ID] = append(groups[node.ID], i)
			}
		}
	}
	q.askAll(groups)
}

func (q *presenceQuery) askAll(groups map[schemas.NodeID][]int) {
	var all sync.WaitGroup
	for node, indexes := range groups {
		all.Go(func() {
			err := q.reader.askHave(q.ctx, node, q.vault, pick(q.ids, indexes), q.parts, false, func(i int, part schemas.Part) {
				q.mu.Lock()
				defer q.mu.Unlock()
				x := &q.found[indexes[i]]
				if part == schemas.Whole {
					x.replicas++
				} else {
					x.shards = append(x.shards, heldShard{part, node})
				}
			})
			q.mu.Lock()
			defer q.mu.Unlock()
			q.err = errors.Join(q.err, err)
		})
	}
	all.Wait()
}

// failure returns the errors of nodes that did not respond, if some chunk has not enough
// parts without them.
func (q *presenceQuery) failure() error {
	for i := range q.found {
		if !q.enough(&q.found[i]) {
			return q.err
		}
	}
	return nil
}

// askHave asks one node about any number of ids, and calls held for each part that it
// holds; i is the index of the id. With look the node pins nothing.
func (r *Reader) askHave(ctx context.Context, node schemas.NodeID, vault schemas.VaultID, ids []schemas.ChunkID, parts, look bool, held func(i int, part schemas.Part)) error {
	for begin := 0; begin < len(ids); begin += MaxIDs {
		batch := ids[begin:min(len(ids), begin+MaxIDs)]
		req := &schemas.IDsRequest{Vault: vault, IDs: batch, Parts: parts, Look: look}
		b, err := r.request(ctx, node, schemas.HaveSubject(node), req.Encode())
		var rep schemas.HaveReply
		if err == nil {
			err = schemas.Unmarshal(b, &rep)
		}
		if err == nil {
			err = rep.Err()
		}
		if err == nil {
			r.latencies.responded.Store(true)
			err = rep.Each(len(batch), func(i int, part schemas.Part) { held(begin+i, part) })
		}
		if err != nil {
			return fmt.Errorf("storage node %s: %w", node, err)
		}
	}
	return nil
}
