package heal

import (
	"context"
	"slices"

	"servidor-backup/schemas"
	"servidor-backup/storage"
)

// Which node may drop a part, and when.
//
// A node that answers a have request for an epoch pins the parts that it names: it drops
// them by no decision made in an earlier epoch, and they enter its generation of
// collections, so that no sweep that is under way takes them. (All other questions of a
// survey pin nothing; otherwise garbage would never be old enough to be swept.) A node drops
// a part only if all of this holds:
//
//  1. The chunk is complete: it is assigned to as many nodes as its durability wants, and
//     each of them has responded and holds a part of the wanted form, no two the same shard.
//  2. The node is not assigned the chunk; or the part is not of the wanted form; or the node
//     is matched with another part of the chunk, and an assigned node that ranks before it
//     holds this one too. So whatever each node believes of the others, the first assigned
//     node that holds a part keeps it. (A part that is known to be damaged does not count as
//     held, and goes when the chunk is complete.)
//  3. Each assigned node has pinned its parts for the epoch of the node that drops. Before,
//     it entered that node's generation of collections, if it was in a lower one. So what
//     the node that drops has pinned itself stays pinned by others.
//  4. Epoch and generation of the node that drops are still the same at the moment of the
//     drop, when the store takes neither puts nor pins.
//
// A node pins for an epoch only while it is in that epoch, and only after all drops that it
// decided on in earlier epochs have ended ([storage.Store.AfterDrops]). So two nodes that
// each count on the other cannot both drop: a node that has pinned a part in an epoch drops
// it in that epoch or a later one only, and then relies on what others have pinned in that
// one.
//
// Rules 1 and 2 are the function drops, a part of the plan. Rules 3 and 4 are confirmDrops,
// which makes the plan again from answers that pin. The answering side is Node.have in
// package node.

// drops returns the parts that nodes need not hold of a complete chunk, in the order of held,
// then the damaged parts of me; and how many of the former are on me. matched are the parts
// that the assigned nodes are to keep.
func (o *observation) drops(matched []*placedPart) (drops []placedPart, mine int) {
	for _, l := range o.held {
		rank := slices.Index(o.assigned, l.node)
		holdsToo := func(n schemas.NodeID) bool { return o.holds(n, l.part) }
		if o.isWanted(l.part) && rank >= 0 &&
			(l.part == matched[rank].part || !slices.ContainsFunc(o.assigned[:rank], holdsToo)) {
			continue
		}
		drops = append(drops, l)
		if l.node == o.me {
			mine++
		}
	}
	for _, part := range o.damaged {
		drops = append(drops, placedPart{o.me, part})
	}
	return drops, mine
}

// dropsOf returns the parts of one node that its plan drops.
func (p *plan) dropsOf(node schemas.NodeID) (parts []schemas.Part) {
	for _, l := range p.drops {
		if l.node == node {
			parts = append(parts, l.part)
		}
	}
	return parts
}

// confirmDrops drops what this node need not hold of the chunks of b, as far as the assigned
// nodes confirm it by pins. b has been filled with chunks and their damaged parts only. The
// result is the number of parts dropped, damaged ones too, also if there is an error.
func (b *batch) confirmDrops(ctx context.Context) (dropped int, err error) {
	store := b.h.store
	generation := store.Generation()
	if err := b.observeStore(store.Parts); err != nil {
		return 0, err
	}
	pins := schemas.IDsRequest{Parts: true, Epoch: b.view.Epoch(), Generation: generation}
	if err := b.ask(ctx, b.questionsToAssigned(), pins); err != nil {
		return 0, err
	}
	var parts []storage.PartID
	for i := range b.chunks {
		c := &b.chunks[i]
		c.plan = c.observation.plan()
		for _, part := range c.plan.dropsOf(b.h.id) {
			parts = append(parts, storage.PartID{ID: c.id, Part: part})
		}
	}
	return store.Drop(ctx, b.vault, parts, func() bool {
		return b.h.view.Load() == b.view && store.Generation() == generation
	})
}
