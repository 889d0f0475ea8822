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

// settling is for how long after a change of the nodes chunks are looked for on all
// of them: healing brings them to where they belong.
const settling = 5 * time.Minute

// errNoNode stands for the answer of an owner that does not exist.
var errNoNode = schemas.Errorf(schemas.NoNode, "no storage node is up")

// Presence is what nodes hold of one chunk.
type Presence struct {
	copies int
	shards []heldShard
}

type heldShard struct {
	part schemas.Part
	node schemas.NodeID
}

// HasShards reports whether shards of it are held.
func (x *Presence) HasShards() bool { return len(x.shards) > 0 }

// Complete reports whether the chunk survives as many losses as d says: there are
// enough copies, or enough different shards on different nodes.
func (x *Presence) Complete(d schemas.Durability) bool {
	return x.copies >= d.Replicas() || slices.ContainsFunc(x.shards, func(s heldShard) bool {
		return s.part.K() == int(d.K) && x.different(s.part.Stripe()) >= d.Nodes()
	})
}

// recoverable reports whether the chunk can be had.
func (x *Presence) recoverable() bool {
	return x.copies > 0 || slices.ContainsFunc(x.shards, func(s heldShard) bool {
		return x.different(s.part.Stripe()) >= s.part.K()
	})
}

// different is how many different shards of a code there are, on different nodes.
func (x *Presence) different(code schemas.Part) int {
	var parts []schemas.Part
	var nodes []schemas.NodeID
	for _, s := range x.shards {
		if s.part.Stripe() != code {
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

// Have reports which chunks are held as [Holders.Durability] wants it, wherever, on
// nodes that can be reached now. An error means that a node which may hold something
// did not answer.
func (h *Reader) Have(ctx context.Context, vault schemas.VaultID, ids []schemas.ChunkID) ([]bool, error) {
	d := h.Durability(vault)
	holdings, err := h.holdings(ctx, vault, ids, d, true)
	held := make([]bool, len(ids))
	for i := range holdings {
		held[i] = holdings[i].Complete(d)
	}
	return held, err
}

// Presences is what nodes that can be reached now hold of chunks which may be new. Those
// that belong to a chunk are asked; all others only about what is not quite where it
// belongs, or while chunks are moving. The error is as with [Holders.Have].
func (h *Reader) Presences(ctx context.Context, vault schemas.VaultID, ids []schemas.ChunkID) ([]Presence, error) {
	return h.holdings(ctx, vault, ids, h.Durability(vault), false)
}

func (h *Reader) holdings(ctx context.Context, vault schemas.VaultID, ids []schemas.ChunkID, d schemas.Durability, everywhere bool) ([]Presence, error) {
	v := h.view.Load()
	everywhere = everywhere || v.unsettled || !v.changed.IsZero() && time.Since(v.changed) < settling
	s := &survey{h: h, ctx: ctx, vault: vault, ids: ids, parts: d.K > 1, found: make([]Presence, len(ids)),
		enough: func(x *Presence) bool { return x.Complete(d) }}
	s.ask(v, v.targets, d.Nodes(), func(x *Presence) bool { return everywhere || x.copies > 0 || x.HasShards() })
	return s.found, s.failure()
}

// Recoverable reports which chunks can be brought back from nodes that can be
// reached now: from a copy, or from enough shards. An error means that a node
// which may hold what is missing did not answer.
func (h *Reader) Recoverable(ctx context.Context, vault schemas.VaultID, ids []schemas.ChunkID) ([]bool, error) {
	v := h.view.Load()
	s := &survey{h: h, ctx: ctx, vault: vault, ids: ids, parts: true, found: make([]Presence, len(ids)), enough: (*Presence).recoverable}
	s.ask(v, v.sources, int(v.m.DurabilityOf(vault).K), func(*Presence) bool { return true })
	can := make([]bool, len(ids))
	for i := range can {
		can[i] = s.found[i].recoverable()
	}
	return can, s.failure()
}

// survey is one question to many nodes.
type survey struct {
	h      *Reader
	ctx    context.Context
	vault  schemas.VaultID
	ids    []schemas.ChunkID
	parts  bool // shards count
	enough func(*Presence) bool

	mu    sync.Mutex
	found []Presence
	err   error // of nodes that did not answer
}

// ask asks the first n nodes of the placement for each chunk, and then about those
// of which that was not enough, and for which further says so, all others.
func (s *survey) ask(v *view, p *placement.Placement, n int, further func(*Presence) bool) {
	groups := map[schemas.NodeID][]int{}
	var set []schemas.NodeID
	for i, id := range s.ids {
		set = p.Place(set[:0], id, n)
		for _, node := range set {
			groups[node] = append(groups[node], i)
		}
	}
	if len(set) == 0 && len(s.ids) > 0 {
		s.err = errNoNode
	}
	s.askAll(groups)
	clear(groups)
	for i, id := range s.ids {
		if s.enough(&s.found[i]) || !further(&s.found[i]) {
			continue
		}
		set = p.Place(set[:0], id, n)
		for j := range v.m.Nodes {
			if node := &v.m.Nodes[j]; node.State.Reachable() && !slices.Contains(set, node.ID) {
				groups[node.ID] = append(groups[node.ID], i)
			}
		}
	}
	s.askAll(groups)
}

func (s *survey) askAll(groups map[schemas.NodeID][]int) {
	var all sync.WaitGroup
	for node, at := range groups {
		all.Go(func() {
			err := s.h.askHave(s.ctx, node, s.vault, pick(s.ids, at), s.parts, false, func(i int, part schemas.Part) {
				s.mu.Lock()
				defer s.mu.Unlock()
				x := &s.found[at[i]]
				if part == schemas.Whole {
					x.copies++
				} else {
					x.shards = append(x.shards, heldShard{part, node})
				}
			})
			s.mu.Lock()
			defer s.mu.Unlock()
			s.err = errors.Join(s.err, err)
		})
	}
	all.Wait()
}

// failure is why some nodes were not heard, if that matters.
func (s *survey) failure() error {
	for i := range s.found {
		if !s.enough(&s.found[i]) {
			return s.err
		}
	}
	return nil
}

// askHave asks one node about any number of ids, and calls held for each part.
func (h *Reader) askHave(ctx context.Context, node schemas.NodeID, vault schemas.VaultID, ids []schemas.ChunkID, parts, look bool, held func(i int, part schemas.Part)) error {
	for begin := 0; begin < len(ids); begin += MaxIDs {
		some := ids[begin:min(len(ids), begin+MaxIDs)]
		req := &schemas.IDsRequest{Vault: vault, IDs: some, Parts: parts, Look: look}
		b, err := h.request(ctx, node, schemas.HaveSubject(node), req)
		var rep schemas.HaveReply
		if err == nil {
			err = schemas.Unmarshal(b, &rep)
		}
		if err == nil {
			err = rep.Err()
		}
		if err == nil {
			h.pulses.heard.Store(true)
			err = rep.Each(len(some), func(i int, part schemas.Part) { held(begin+i, part) })
		}
		if err != nil {
			return fmt.Errorf("storage node %s: %w", node, err)
		}
	}
	return nil
}
