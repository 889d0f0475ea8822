package node

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"servidor-backup/bus"
	"servidor-backup/schemas"
	"servidor-backup/storage"
)

// askTimeout is how long one question to a node may take before it counts as silent.
const askTimeout = 10 * time.Second

// batch is some chunks of a vault that are looked at together, so that each node is
// asked about all of them at once. It is used again for the next ones.
type batch struct {
	n       *Node
	v       *view
	vault   schemas.VaultID
	sights  []sight
	ids     []schemas.ChunkID
	damaged [][]schemas.Part // what of it is known to be damaged here
	silent  map[schemas.NodeID]error
	asleep  func(schemas.NodeID) bool // see [sight]
}

func newBatch(n *Node, v *view) *batch { return &batch{n: n, v: v} }

// reset begins anew with chunks of vault.
func (b *batch) reset(vault schemas.VaultID) {
	b.vault = vault
	b.sights, b.ids, b.damaged = b.sights[:0], b.ids[:0], b.damaged[:0]
}

// add takes in a chunk, which is to be split or not. What is held of it here is told
// with hold.
func (b *batch) add(id schemas.ChunkID, split bool) {
	if len(b.sights) < cap(b.sights) {
		b.sights = b.sights[:len(b.sights)+1]
	} else {
		b.sights = append(b.sights, sight{})
	}
	s := &b.sights[len(b.sights)-1]
	s.durability, s.split = b.v.m.DurabilityOf(b.vault), split
	s.home = b.v.set(s.home[:0], id, s.durability, split)
	s.held = s.held[:0]
	s.heard, s.asleep = b.heard, b.asleep
	b.ids, b.damaged = append(b.ids, id), append(b.damaged, nil)
}

// hold notes that this node holds a part of the chunk that was added last, or has a
// damaged one.
func (b *batch) hold(p schemas.Part, damaged bool) {
	last := len(b.sights) - 1
	if damaged {
		b.damaged[last] = append(b.damaged[last], p)
		return
	}
	s := &b.sights[last]
	s.held = append(s.held, place{b.n.id, p})
}

// heard reports whether a node of a home set has said what it holds.
func (b *batch) heard(n schemas.NodeID) bool {
	if n == b.n.id {
		return true
	}
	card := b.v.m.Find(n)
	return card != nil && card.State.Reachable() && b.silent[n] == nil
}

// look asks the home sets what they hold; and about what some of them lack, or what
// only strays may have, everyone.
func (b *batch) look(ctx context.Context) error {
	b.silent = nil
	var home map[schemas.NodeID][]int
	for i := range b.sights {
		for _, n := range b.sights[i].home {
			home = b.askable(home, n, i)
		}
	}
	if err := b.ask(ctx, home, schemas.IDsRequest{Parts: true, Look: true}); err != nil {
		return err
	}
	var others map[schemas.NodeID][]int
	for i := range b.sights {
		s := &b.sights[i]
		if p := s.plan(b.n.id); !p.lacking && slices.Contains(s.home, s.chief()) {
			continue
		}
		for j := range b.v.m.Nodes {
			if n := b.v.m.Nodes[j].ID; !slices.Contains(s.home, n) {
				others = b.askable(others, n, i)
			}
		}
	}
	return b.ask(ctx, others, schemas.IDsRequest{Parts: true, Look: true})
}

// askable notes that node n is to be asked about the ith chunk, if it can be.
func (b *batch) askable(who map[schemas.NodeID][]int, n schemas.NodeID, i int) map[schemas.NodeID][]int {
	if n == b.n.id || !b.heard(n) {
		return who
	}
	if who == nil {
		who = map[schemas.NodeID][]int{}
	}
	who[n] = append(who[n], i)
	return who
}

// ask asks each node about its chunks, and adds what it holds to the sights. Nodes that
// do not answer are silent from then on.
func (b *batch) ask(ctx context.Context, who map[schemas.NodeID][]int, how schemas.IDsRequest) error {
	if len(who) == 0 {
		return ctx.Err()
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	for node, at := range who {
		all.Go(func() {
			req := how
			req.Vault, req.IDs = b.vault, make([]schemas.ChunkID, len(at))
			for i, place := range at {
				req.IDs[i] = b.ids[place]
			}
			rep, err := b.n.askHave(ctx, node, &req)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				err = rep.Each(len(at), func(i int, p schemas.Part) {
					s := &b.sights[at[i]]
					s.held = append(s.held, place{node, p})
				})
			}
			if err != nil {
				if b.silent == nil {
					b.silent = map[schemas.NodeID]error{}
				}
				b.silent[node] = err
			}
		})
	}
	all.Wait()
	for i := range b.sights {
		sortPlaces(b.sights[i].held)
	}
	return ctx.Err()
}

// askHave asks one node what it holds.
func (n *Node) askHave(ctx context.Context, node schemas.NodeID, req *schemas.IDsRequest) (*schemas.HaveReply, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	answer, err := bus.RequestRaw(ctx, n.nc, schemas.HaveSubject(node), req.Encode())
	rep := new(schemas.HaveReply)
	if err == nil {
		err = schemas.Unmarshal(answer, rep)
	}
	if err == nil {
		err = rep.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("storage node %s: %w", node, err)
	}
	return rep, nil
}

// lookHere fills in what is held here by asking the store.
func (b *batch) lookHere(parts func(schemas.VaultID, []schemas.ChunkID, func(int, schemas.Part) error) error) error {
	return parts(b.vault, b.ids, func(i int, p schemas.Part) error {
		s := &b.sights[i]
		s.held = append(s.held, place{b.n.id, p})
		return nil
	})
}

// drop gives up parts that are at home elsewhere. The home set is asked once more, for
// a promise that counts in this epoch, and is of this node's generation: what this node
// has promised is then kept by others.
func (b *batch) drop(ctx context.Context) (dropped int, err error) {
	store := b.n.store
	generation := store.Generation()
	if err := b.lookHere(store.Parts); err != nil {
		return 0, err
	}
	home := map[schemas.NodeID][]int{}
	for i := range b.sights {
		for _, n := range b.sights[i].home {
			home = b.askable(home, n, i)
		}
	}
	if err := b.ask(ctx, home, schemas.IDsRequest{Parts: true, Epoch: b.v.epoch(), Generation: generation}); err != nil {
		return 0, err
	}
	var parts []storage.PartID
	for i := range b.sights {
		p := b.sights[i].plan(b.n.id)
		if p.complete {
			p.drop = append(p.drop, b.damaged[i]...)
		}
		for _, part := range p.drop {
			parts = append(parts, storage.PartID{ID: b.ids[i], Part: part})
		}
	}
	return store.Drop(ctx, b.vault, parts, func() bool {
		return b.n.view.Load() == b.v && store.Generation() == generation
	})
}
