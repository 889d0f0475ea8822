package heal

import (
	"cmp"
	"slices"

	"servidor-backup/schemas"
)

// An observation is what one node knows of one chunk at one moment. Its plan follows from it
// alone: to make the plan, no node is asked. Nodes with the same observation make the same
// plan, so work is never handed out.
type observation struct {
	me         schemas.NodeID // the node that observes
	durability schemas.Durability
	split      bool             // the chunk is to be shards, not whole replicas
	assigned   []schemas.NodeID // the nodes that the chunk is assigned to, in the order of their rank
	// responded reports whether a node has said what it holds. Of other nodes nothing is
	// known.
	responded func(schemas.NodeID) bool
	// held is what the nodes that have responded hold, sorted by node and then by part.
	held []placedPart
	// damaged are the parts of me that are known to be damaged; held does not have them. The
	// damaged parts of other nodes are not known.
	damaged []schemas.Part
	// idle are nodes that have finished their survey and found nothing to do. Where one of
	// them ought to send a part that me holds too, me sends it.
	idle []schemas.NodeID
	// stripe is the stripe whose shards the assigned nodes are to hold, as chooseStripe
	// finds it; 0 if the shards are to be rebuilt, or the chunk is not split.
	stripe schemas.Part
}

// placedPart is one part on one node, which holds it or is to get it.
type placedPart struct {
	node schemas.NodeID
	part schemas.Part
}

// sortPlaced brings parts into the order of [observation.held].
func sortPlaced(held []placedPart) {
	slices.SortFunc(held, func(a, b placedPart) int {
		return cmp.Or(cmp.Compare(a.node, b.node), cmp.Compare(a.part, b.part))
	})
}

// A plan is all that healing does about one chunk. Each node carries out its own share of
// it: the jobs with its name, and the drops of its own parts.
type plan struct {
	// complete: the chunk is assigned to as many nodes as its durability wants, and each of
	// them holds a part of the wanted form, no two the same shard.
	complete bool
	// margin is how many more nodes may be lost, whichever they are, before the chunk is.
	// If it is negative, the parts held do not make the chunk.
	margin int
	// counter counts the chunk, and makes the parts that no node holds; "" if no node holds
	// anything.
	counter schemas.NodeID
	// askOthers: the plan may change when the nodes respond that the chunk is not assigned
	// to.
	askOthers bool
	// missing are the assigned nodes that have responded and lack a part, each with the part
	// that it is to get.
	missing []placedPart
	// jobs are the parts to move or make, in the order of missing. A part that no node can
	// send or make has no job.
	jobs []job
	// drops are the parts to be dropped, if the pins confirm it: see drop.go.
	drops []placedPart
	// surplus counts the undamaged parts on the observing node that it need not hold.
	surplus int
}

// job is one part that is to come to a node.
type job struct {
	part  schemas.Part // its seal id is 0 if any sealing will do
	to    schemas.NodeID
	by    schemas.NodeID // sends the part, or makes it; may be the receiver itself
	makes bool           // by does not hold the part, and makes it from other parts
}

// jobsOf counts the jobs of a node.
func (p *plan) jobsOf(node schemas.NodeID) (n int) {
	for i := range p.jobs {
		if p.jobs[i].by == node {
			n++
		}
	}
	return n
}

// plan makes the plan of the chunk:
//
//   - If the chunk is complete, nodes drop what they need not hold (see drop.go), and
//     nothing else is done.
//   - If assigned nodes that have responded lack a part, each of them is given one of the
//     parts that are missing. Nodes that have not responded are given one too, but no job: it
//     is the part that such a node presumably holds, which must not be rebuilt.
//   - A part that some node holds is sent, even to a chunk that cannot be recovered now. A
//     part that no node holds is made.
func (o *observation) plan() plan {
	p := plan{margin: o.margin(), counter: o.counter()}
	o.chooseStripe()
	matched := o.match(o.assigned)
	lacking := false
	vacant := make([]int, 0, len(o.assigned)) // indexes into assigned
	for i, n := range o.assigned {
		if matched[i] == nil {
			vacant = append(vacant, i)
			lacking = lacking || o.responded(n)
		}
	}
	p.askOthers = lacking || !slices.Contains(o.assigned, p.counter)
	if p.complete = len(vacant) == 0 && len(o.assigned) >= o.wanted(); p.complete {
		p.drops, p.surplus = o.drops(matched)
	} else if !slices.Contains(o.assigned, o.me) {
		p.surplus = len(o.heldBy(o.me))
	}
	if !lacking || len(o.assigned) < o.k() {
		return p
	}
	for i, part := range o.missing(matched, len(vacant)) {
		to := o.assigned[vacant[i]]
		if !o.responded(to) {
			continue
		}
		p.missing = append(p.missing, placedPart{to, part})
		if by, makes := o.giver(&p, part, to); by != "" {
			p.jobs = append(p.jobs, job{part: part, to: to, by: by, makes: makes})
		}
	}
	return p
}

// giver decides which node sends a part, or makes it; "" if no node can.
func (o *observation) giver(p *plan, part schemas.Part, to schemas.NodeID) (by schemas.NodeID, makes bool) {
	if by = o.holder(part); by == "" {
		by, makes = p.counter, true
	}
	switch {
	case by == o.me:
	case !makes && slices.Contains(o.idle, by) && o.holds(o.me, part):
		by = o.me
	case to == o.me && len(o.damaged) > 0 && p.margin >= 0:
		// Only me knows of its damage, and the others may not survey soon.
		by, makes = o.me, true
	}
	if makes && p.margin < 0 {
		return "", false
	}
	return by, makes
}

// k is the number of parts that make the chunk in the form that it is to have.
func (o *observation) k() int {
	if o.split {
		return int(o.durability.K)
	}
	return 1
}

// wanted is the number of nodes that are to hold a part.
func (o *observation) wanted() int {
	if o.split {
		return o.durability.Nodes()
	}
	return o.durability.Replicas()
}

// isWanted reports whether a part has the form that the chunk is to have: a whole replica,
// or a shard of the chosen stripe.
func (o *observation) isWanted(p schemas.Part) bool {
	if !o.split {
		return p == schemas.Whole
	}
	return o.stripe != 0 && p.Stripe() == o.stripe
}

// heldBy returns the part of held that is about node n.
func (o *observation) heldBy(n schemas.NodeID) []placedPart {
	from, _ := slices.BinarySearchFunc(o.held, n, func(l placedPart, n schemas.NodeID) int {
		if l.node < n {
			return -1
		}
		return 1
	})
	to := from
	for to < len(o.held) && o.held[to].node == n {
		to++
	}
	return o.held[from:to]
}

func (o *observation) holds(n schemas.NodeID, part schemas.Part) bool {
	return slices.Contains(o.heldBy(n), placedPart{n, part})
}

// counter is the first assigned node that holds something; if there is none, the node with
// the lowest id that does; "" if no node does.
func (o *observation) counter() schemas.NodeID {
	for _, n := range o.assigned {
		if len(o.heldBy(n)) > 0 {
			return n
		}
	}
	if len(o.held) > 0 {
		return o.held[0].node
	}
	return ""
}

// holder is the first assigned node that holds the part; if there is none, the node with the
// lowest id that does; "" if no node does.
func (o *observation) holder(part schemas.Part) schemas.NodeID {
	for _, n := range o.assigned {
		if o.holds(n, part) {
			return n
		}
	}
	for _, l := range o.held {
		if l.part == part {
			return l.node
		}
	}
	return ""
}

// missing returns the n parts, in ascending order, that the assigned nodes are to get beside
// the matched ones. Parts that some node holds come first, since they need only be moved.
func (o *observation) missing(matched []*placedPart, n int) []schemas.Part {
	if !o.split {
		return make([]schemas.Part, n) // n times schemas.Whole
	}
	var parts []schemas.Part
	for _, l := range o.held {
		if o.isWanted(l.part) && !isMatched(matched, l.part) && !slices.Contains(parts, l.part) {
			parts = append(parts, l.part)
		}
	}
	slices.Sort(parts)
	parts = parts[:min(n, len(parts))]
	stripe := cmp.Or(o.stripe, schemas.ShardOfSeal(o.k(), 0, 0))
	for i := 0; len(parts) < n; i++ {
		if part := stripe | schemas.Part(i); !isMatched(matched, part) && !slices.Contains(parts, part) {
			parts = append(parts, part)
		}
	}
	slices.Sort(parts)
	return parts
}
