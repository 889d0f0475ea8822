package node

import (
	"cmp"
	"slices"

	"servidor-backup/schemas"
)

// A sight is what a node knows of one chunk at one moment. Whoever has the same
// sight makes the same plan of it, so nobody needs to hand out work.
type sight struct {
	durability schemas.Durability
	split      bool             // it is to be shards, not copies
	home       []schemas.NodeID // in the order of their rank
	// heard are the nodes that have said what they hold; of others nothing is known.
	heard func(schemas.NodeID) bool
	// asleep are those who do not look any more, so that another one who has what they
	// are to give gives it; nil is nobody.
	asleep func(schemas.NodeID) bool
	// held is what those said, sorted by node and then by part.
	held []place
	// code is that of the shards which are to be at home, as choose has it; 0 if they are
	// to be made anew.
	code schemas.Part
}

// place is one part at one node.
type place struct {
	node schemas.NodeID
	part schemas.Part
}

// A plan is what one node is to do about one chunk.
type plan struct {
	// complete: all of the home set hold different parts, as many as are wanted.
	complete bool
	// lacking: a node of the home set that was heard lacks its part.
	lacking bool
	// counts: this node counts the chunk.
	counts bool
	// spare is how many more nodes may be lost; less than 0, and what was heard of
	// does not make the chunk.
	spare int
	// jobs are the parts that this node is to give to others, or to itself.
	jobs []job
	// lacks is whether this node is at home and lacks a part; lack is which it is to
	// be then.
	lacks bool
	lack  schemas.Part
	// drop is what this node holds and does not need to, once it has been confirmed.
	drop []schemas.Part
}

// job is one part that is to come to a node. What its giver does not hold it makes; the
// tag is 0 then if it does not matter.
type job struct {
	part  schemas.Part
	to    schemas.NodeID
	holds bool
}

// k is how many parts make the chunk as it is to be, want how many there are to be.
func (s *sight) k() int {
	if s.split {
		return int(s.durability.K)
	}
	return 1
}

func (s *sight) want() int {
	if s.split {
		return s.durability.Nodes()
	}
	return s.durability.Replicas()
}

// is reports whether a part is of the kind that is wanted.
func (s *sight) is(p schemas.Part) bool {
	if !s.split {
		return p == schemas.Whole
	}
	return s.code != 0 && p.Stripe() == s.code
}

// choose says which shards are to be at home. A chunk that was sealed twice has shards of
// several codes: of those that make it, or else of all, it is the one with the most nodes of
// the home set, else with the lowest tag.
func (s *sight) choose() {
	s.code = 0
	if !s.split {
		return
	}
	best := -1
	for i, p := range s.held {
		try := sight{split: true, code: p.part.Stripe(), held: s.held}
		if p.part.K() != s.k() || slices.IndexFunc(s.held, func(q place) bool { return try.is(q.part) }) != i {
			continue
		}
		value := 0
		for _, at := range try.match(s.home) {
			if at != nil {
				value++
			}
		}
		if try.different() >= s.k() {
			value += len(s.home) + 1
		}
		if value > best || value == best && try.code < s.code {
			best, s.code = value, try.code
		}
	}
}

// different is how many different shards of the code are held.
func (s *sight) different() int {
	var parts []schemas.Part
	for _, p := range s.held {
		if s.is(p.part) && !slices.Contains(parts, p.part) {
			parts = append(parts, p.part)
		}
	}
	return len(parts)
}

// plan is what the node me is to do.
func (s *sight) plan(me schemas.NodeID) plan {
	p := plan{spare: s.spare()}
	s.choose()
	at := s.match(s.home)
	lacking := make([]int, 0, len(s.home)) // places in home
	for i, n := range s.home {
		if at[i] == nil {
			lacking = append(lacking, i)
			p.lacking = p.lacking || s.heard(n)
		}
	}
	p.complete = len(lacking) == 0 && len(s.home) >= s.want()
	chief := s.chief()
	p.counts = me == chief
	if p.complete {
		p.drop = s.surplus(me, at)
	}
	if !p.lacking || len(s.home) < s.k() {
		return p
	}
	for i, part := range s.missing(at, len(lacking)) {
		to := s.home[lacking[i]]
		if !s.heard(to) {
			continue // its place is kept
		}
		if to == me {
			p.lacks, p.lack = true, part
		}
		giver, holds := s.holder(part)
		if !holds {
			giver = chief
		}
		if holds && giver != me && s.asleep != nil && s.holds(me, part) && s.asleep(giver) {
			giver = me
		}
		if giver == me && (holds || p.spare >= 0) {
			p.jobs = append(p.jobs, job{part: part, to: to, holds: holds})
		}
	}
	return p
}

// of are the parts of node n.
func (s *sight) of(n schemas.NodeID) []place {
	from, _ := slices.BinarySearchFunc(s.held, n, func(p place, n schemas.NodeID) int {
		if p.node < n {
			return -1
		}
		return 1
	})
	to := from
	for to < len(s.held) && s.held[to].node == n {
		to++
	}
	return s.held[from:to]
}

func (s *sight) holds(n schemas.NodeID, part schemas.Part) bool {
	return slices.Contains(s.of(n), place{n, part})
}

// match gives as many of the nodes as possible a part that they hold, of the kind that
// is wanted: different ones, if it is shards. A node without one has nil.
func (s *sight) match(nodes []schemas.NodeID) []*place {
	at := make([]*place, len(nodes))
	simple := true
	for i, n := range nodes {
		for j, of := 0, s.of(n); j < len(of) && at[i] == nil; j++ {
			if p := &of[j]; s.is(p.part) && (!s.split || !taken(at[:i], p.part)) {
				at[i] = p
			}
		}
		simple = simple && at[i] != nil
	}
	if simple || !s.split {
		return at
	}
	// First come, first served was not enough: those who have a choice move.
	clear(at)
	for i := range nodes {
		s.moveUp(nodes, at, i, map[schemas.Part]bool{})
	}
	return at
}

// moveUp finds a part for node i, for which others may take another that they hold.
func (s *sight) moveUp(nodes []schemas.NodeID, at []*place, i int, tried map[schemas.Part]bool) bool {
	of := s.of(nodes[i])
	for j := range of {
		p := &of[j]
		if !s.is(p.part) || tried[p.part] {
			continue
		}
		tried[p.part] = true
		other := slices.IndexFunc(at, func(q *place) bool { return q != nil && q.part == p.part })
		if other < 0 || s.moveUp(nodes, at, other, tried) {
			at[i] = p
			return true
		}
	}
	return false
}

func taken(at []*place, part schemas.Part) bool {
	return slices.ContainsFunc(at, func(p *place) bool { return p != nil && p.part == part })
}

// chief is who counts the chunk, and makes what nobody has: the first of the home set
// that holds something, else the stray with the lowest id.
func (s *sight) chief() schemas.NodeID {
	for _, n := range s.home {
		if len(s.of(n)) > 0 {
			return n
		}
	}
	if len(s.held) > 0 {
		return s.held[0].node
	}
	return ""
}

// holder is who gives a part away: the first of the home set that has it, else the
// stray with the lowest id.
func (s *sight) holder(part schemas.Part) (schemas.NodeID, bool) {
	for _, n := range s.home {
		if s.holds(n, part) {
			return n, true
		}
	}
	for _, p := range s.held {
		if p.part == part {
			return p.node, true
		}
	}
	return "", false
}

// missing are the n parts that the home set is to get beside those that it is taken
// to hold, in their order. What is somewhere already needs only be moved.
func (s *sight) missing(at []*place, n int) []schemas.Part {
	if !s.split {
		return make([]schemas.Part, n) // whole ones
	}
	var parts []schemas.Part
	for _, p := range s.held {
		if s.is(p.part) && !taken(at, p.part) && !slices.Contains(parts, p.part) {
			parts = append(parts, p.part)
		}
	}
	slices.Sort(parts)
	parts = parts[:min(n, len(parts))]
	code := cmp.Or(s.code, schemas.ShardOfSeal(s.k(), 0, 0))
	for i := 0; len(parts) < n; i++ {
		if part := code | schemas.Part(i); !taken(at, part) && !slices.Contains(parts, part) {
			parts = append(parts, part)
		}
	}
	slices.Sort(parts)
	return parts
}

// surplus is what me holds of a chunk that is at home, and does not need to. Of the
// parts that are wanted, a node of the home set gives up only what one that ranks
// before it has too: whatever each of them believes of the others, the first of
// those who have a part keeps it.
func (s *sight) surplus(me schemas.NodeID, at []*place) (drop []schemas.Part) {
	rank := slices.Index(s.home, me)
	for _, p := range s.of(me) {
		before := func(n schemas.NodeID) bool { return s.holds(n, p.part) }
		if !s.is(p.part) || rank < 0 ||
			p.part != at[rank].part && slices.ContainsFunc(s.home[:rank], before) {
			drop = append(drop, p.part)
		}
	}
	return drop
}

// spare is how many nodes can surely be lost, whichever they are, of those that hold
// something: every whole copy has to go, and of the nodes with shards and no copy so
// many that fewer than k are left.
func (s *sight) spare() int {
	copies := 0
	var nodes []schemas.NodeID // with shards alone
	var shards []schemas.Part  // of theirs, different ones
	for _, p := range s.held {
		switch n := len(nodes); {
		case p.part == schemas.Whole:
			copies++
		case s.holds(p.node, schemas.Whole):
		default:
			if n == 0 || nodes[n-1] != p.node {
				nodes = append(nodes, p.node)
			}
			if !slices.Contains(shards, p.part) {
				shards = append(shards, p.part)
			}
		}
	}
	more := 0
	slices.Sort(shards)
	for len(shards) > 0 {
		k, code := shards[0].K(), sight{split: true, code: shards[0].Stripe(), held: s.held}
		n := 1
		for n < len(shards) && shards[n].Stripe() == code.code {
			n++
		}
		if shards = shards[n:]; n < k {
			continue
		}
		able := 0 // nodes that stand for a shard each
		for _, p := range code.match(nodes) {
			if p != nil {
				able++
			}
		}
		more = max(more, 1, able-k+1)
	}
	return copies + more - 1
}

// sortPlaces brings what nodes hold into the order of a sight.
func sortPlaces(held []place) {
	slices.SortFunc(held, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.node, b.node), cmp.Compare(a.part, b.part))
	})
}
