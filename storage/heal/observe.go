package heal

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"servidor-backup/bus"
	"servidor-backup/schemas"
)

// askTimeout bounds one question to a node. A node that does not answer in time is
// unresponsive.
const askTimeout = 10 * time.Second

// batch is up to [replica.MaxIDs] chunks of a vault, observed under one view. They are observed
// together, so that each node is asked about all of them at once. A batch is used again for
// the next chunks.
type batch struct {
	h      *Healer
	view   *View
	vault  schemas.VaultID
	chunks []chunk
	// unresponsive are nodes that have not answered a question about these chunks.
	unresponsive map[schemas.NodeID]error
	// isIdle is asked about nodes that ought to send a part, where this node could send it
	// too; nil takes no node for idle.
	isIdle func(context.Context, schemas.NodeID) bool
}

// chunk is one chunk of a batch: what is known of it, and the plan that follows.
type chunk struct {
	id schemas.ChunkID
	observation
	plan plan
}

func newBatch(h *Healer, v *View) *batch { return &batch{h: h, view: v} }

// reset empties the batch for chunks of vault.
func (b *batch) reset(vault schemas.VaultID) {
	b.vault, b.chunks = vault, b.chunks[:0]
}

// append appends a chunk of which nothing is known yet, and returns it. It stays valid until
// the next append.
func (b *batch) append(id schemas.ChunkID, split bool) *chunk {
	if len(b.chunks) < cap(b.chunks) {
		b.chunks = b.chunks[:len(b.chunks)+1]
	} else {
		b.chunks = append(b.chunks, chunk{})
	}
	c := &b.chunks[len(b.chunks)-1]
	d := b.view.nodes.DurabilityOf(b.vault)
	*c = chunk{id: id, observation: observation{
		me: b.h.id, durability: d, split: split, responded: b.responded,
		assigned: b.view.assignedTo(c.assigned[:0], id, d, split),
		held:     c.held[:0],
	}}
	return c
}

// responded reports whether a node has said what it holds, of all that it was asked about.
func (b *batch) responded(n schemas.NodeID) bool {
	if n == b.h.id {
		return true
	}
	card := b.view.nodes.Find(n)
	return card != nil && card.State.Reachable() && b.unresponsive[n] == nil
}

// observe completes the observations of the chunks, of which this node's own parts are known
// already, and makes their plans. It asks the assigned nodes what they hold; then all other
// nodes, about chunks that an assigned node lacks a part of, or that no assigned node holds.
// These questions pin nothing. An error is the end of ctx.
func (b *batch) observe(ctx context.Context) error {
	b.unresponsive = nil
	look := schemas.IDsRequest{Parts: true, Look: true}
	if err := b.ask(ctx, b.questionsToAssigned(), look); err != nil {
		return err
	}
	b.makePlans()
	others := questions{}
	for i := range b.chunks {
		c := &b.chunks[i]
		if !c.plan.askOthers {
			continue
		}
		for j := range b.view.nodes.Nodes {
			if n := b.view.nodes.Nodes[j].ID; !slices.Contains(c.assigned, n) {
				b.addQuestion(others, n, i)
			}
		}
	}
	if len(others) > 0 {
		if err := b.ask(ctx, others, look); err != nil {
			return err
		}
		// All of them, since a node that is unresponsive now may be assigned other chunks.
		b.makePlans()
	}
	b.observeIdle(ctx)
	return ctx.Err()
}

func (b *batch) makePlans() {
	for i := range b.chunks {
		c := &b.chunks[i]
		c.plan = c.observation.plan()
	}
}

// observeIdle notes which nodes are idle though they ought to send a part that this node
// holds too, and makes the plans of those chunks again.
func (b *batch) observeIdle(ctx context.Context) {
	if b.isIdle == nil {
		return
	}
	for i := range b.chunks {
		c := &b.chunks[i]
		for _, j := range c.plan.jobs {
			if j.by != c.me && !j.makes && c.holds(c.me, j.part) && b.isIdle(ctx, j.by) {
				c.idle = append(c.idle, j.by)
			}
		}
		if len(c.idle) > 0 {
			c.plan = c.observation.plan()
		}
	}
}

// observeStore adds what this node holds itself to the observations; parts is
// [storage.Store.Parts], which pins, or [storage.Store.Look], which does not.
func (b *batch) observeStore(parts func(schemas.VaultID, []schemas.ChunkID, func(int, schemas.Part) error) error) error {
	ids := make([]schemas.ChunkID, len(b.chunks))
	for i := range b.chunks {
		ids[i] = b.chunks[i].id
	}
	return parts(b.vault, ids, func(i int, p schemas.Part) error {
		c := &b.chunks[i]
		c.held = append(c.held, placedPart{b.h.id, p})
		return nil
	})
}

// questions are the chunks that each node is to be asked about, as indexes into the batch.
type questions map[schemas.NodeID][]int

// questionsToAssigned are the questions to the nodes that the chunks are assigned to.
func (b *batch) questionsToAssigned() questions {
	q := questions{}
	for i := range b.chunks {
		for _, n := range b.chunks[i].assigned {
			b.addQuestion(q, n, i)
		}
	}
	return q
}

// addQuestion adds the ith chunk to the questions to node n, if n is another node that may
// respond.
func (b *batch) addQuestion(q questions, n schemas.NodeID, i int) {
	if n != b.h.id && b.responded(n) {
		q[n] = append(q[n], i)
	}
}

// ask asks the nodes, side by side, and adds what they hold to the observations. kind is the
// kind of the question, without vault and ids. A node that fails to answer becomes
// unresponsive; an error is the end of ctx.
func (b *batch) ask(ctx context.Context, q questions, kind schemas.IDsRequest) error {
	if len(q) == 0 {
		return ctx.Err()
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	for node, indexes := range q {
		all.Go(func() {
			req := kind
			req.Vault, req.IDs = b.vault, make([]schemas.ChunkID, len(indexes))
			for i, index := range indexes {
				req.IDs[i] = b.chunks[index].id
			}
			rep, err := b.h.requestHave(ctx, node, &req)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				err = rep.Each(len(indexes), func(i int, p schemas.Part) {
					c := &b.chunks[indexes[i]]
					c.held = append(c.held, placedPart{node, p})
				})
			}
			if err != nil {
				if b.unresponsive == nil {
					b.unresponsive = map[schemas.NodeID]error{}
				}
				b.unresponsive[node] = err
			}
		})
	}
	all.Wait()
	for i := range b.chunks {
		sortPlaced(b.chunks[i].held)
	}
	return ctx.Err()
}

// requestHave asks one node what it holds.
func (h *Healer) requestHave(ctx context.Context, node schemas.NodeID, req *schemas.IDsRequest) (*schemas.HaveReply, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	answer, err := bus.RequestRaw(ctx, h.nc, schemas.HaveSubject(node), req.Encode())
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
