package heal

import (
	"slices"

	"servidor-backup/schemas"
)

// chooseStripe sets the stripe whose shards the assigned nodes are to hold. A chunk that was
// sealed twice has shards of several stripes. Of the stripes that make the chunk, or else of
// all, chooseStripe takes the one with shards on the most assigned nodes; of several such,
// the one with the lowest seal id.
func (o *observation) chooseStripe() {
	o.stripe = 0
	if !o.split {
		return
	}
	best := -1
	for i, l := range o.held {
		candidate := observation{split: true, stripe: l.part.Stripe(), held: o.held}
		isSame := func(l placedPart) bool { return candidate.isWanted(l.part) }
		if l.part.K() != o.k() || slices.IndexFunc(o.held, isSame) != i {
			continue // of another k, or seen before
		}
		value := 0
		for _, l := range candidate.match(o.assigned) {
			if l != nil {
				value++
			}
		}
		if candidate.differentParts() >= o.k() {
			value += len(o.assigned) + 1
		}
		if value > best || value == best && candidate.stripe < o.stripe {
			best, o.stripe = value, candidate.stripe
		}
	}
}

// differentParts counts the wanted parts that are held, each once.
func (o *observation) differentParts() int {
	var parts []schemas.Part
	for _, l := range o.held {
		if o.isWanted(l.part) && !slices.Contains(parts, l.part) {
			parts = append(parts, l.part)
		}
	}
	return len(parts)
}

// match chooses for as many of the nodes as possible a wanted part that the node holds; if
// the chunk is split, a different part for each node. The result has an entry for each node,
// which is nil or points into held.
func (o *observation) match(nodes []schemas.NodeID) []*placedPart {
	matched := make([]*placedPart, len(nodes))
	all := true
	for i, n := range nodes {
		for j, held := 0, o.heldBy(n); j < len(held) && matched[i] == nil; j++ {
			if l := &held[j]; o.isWanted(l.part) && (!o.split || !isMatched(matched[:i], l.part)) {
				matched[i] = l
			}
		}
		all = all && matched[i] != nil
	}
	if all || !o.split {
		return matched
	}
	// Taking the first part of each node was not enough. So find a maximum matching of nodes
	// and parts, by augmenting paths (Kuhn's algorithm).
	clear(matched)
	for i := range nodes {
		o.augment(nodes, matched, i, map[schemas.Part]bool{})
	}
	return matched
}

// augment finds a part for node i, for which the nodes that are matched already may change
// to other parts that they hold. tried are the parts that were considered in this search.
func (o *observation) augment(nodes []schemas.NodeID, matched []*placedPart, i int, tried map[schemas.Part]bool) bool {
	held := o.heldBy(nodes[i])
	for j := range held {
		l := &held[j]
		if !o.isWanted(l.part) || tried[l.part] {
			continue
		}
		tried[l.part] = true
		other := slices.IndexFunc(matched, func(m *placedPart) bool { return m != nil && m.part == l.part })
		if other < 0 || o.augment(nodes, matched, other, tried) {
			matched[i] = l
			return true
		}
	}
	return false
}

func isMatched(matched []*placedPart, part schemas.Part) bool {
	return slices.ContainsFunc(matched, func(l *placedPart) bool { return l != nil && l.part == part })
}

// margin is how many nodes can surely be lost, whichever they are, of the nodes that hold
// something; -1 if the parts held do not make the chunk. For the chunk to be lost, every
// whole replica must go, and of the nodes that hold shards alone as many that fewer than k
// are left. The margin is never too high; it may be too low where a node holds several
// parts.
func (o *observation) margin() int {
	replicas := 0
	var nodes []schemas.NodeID // that hold shards alone
	var shards []schemas.Part  // that those hold, each once
	for _, l := range o.held {
		switch n := len(nodes); {
		case l.part == schemas.Whole:
			replicas++
		case o.holds(l.node, schemas.Whole):
		default:
			if n == 0 || nodes[n-1] != l.node {
				nodes = append(nodes, l.node)
			}
			if !slices.Contains(shards, l.part) {
				shards = append(shards, l.part)
			}
		}
	}
	slices.Sort(shards) // which brings those of a stripe together
	best := 0
	for len(shards) > 0 {
		stripe := observation{split: true, stripe: shards[0].Stripe(), held: o.held}
		n := 1
		for n < len(shards) && shards[n].Stripe() == stripe.stripe {
			n++
		}
		k := shards[0].K()
		if shards = shards[n:]; n < k {
			continue
		}
		matched := 0 // nodes that stand for a shard each
		for _, l := range stripe.match(nodes) {
			if l != nil {
				matched++
			}
		}
		best = max(best, 1, matched-k+1)
	}
	return replicas + best - 1
}
