package placement

import (
	"encoding/binary"
	"math/bits"

	"github.com/zeebo/blake3"

	"servidor-backup/schemas"
)

// Placement computes where chunks belong under one map. It is made once per map
// and is safe for concurrent use.
//
// The algorithm is weighted rendezvous hashing: each node draws a number for the chunk,
// exponentially distributed with the node's weight as the rate, and the smallest
// numbers win (Thaler and Ravishankar 1998; the weighted form is in Schindelhauer
// and Schomaker 2005). So a node's share of the chunks is proportional to its weight, and
// adding or removing a node moves only its share. All arithmetic is on integers, so that
// every machine computes the same.
//
// The set of a chunk is found in one pass over all nodes, which computes few draws exactly.
// For most nodes a lower bound of the draw, which needs no logarithm, is already above the
// draws in the set. A pass takes a few microseconds for a thousand nodes.
type Placement struct {
	// nodes has the first node of every zone, then the second node of every zone that has
	// one, and so on, so that a pass soon has a complete set, if not yet the best one.
	nodes []candidate
	// rounds[i] is the number of nodes if at most i+1 nodes of each zone are counted.
	rounds []int
}

type candidate struct {
	id   schemas.NodeID
	zone int
	seed uint64
	// inverse is 2^32 / weight.
	inverse uint64
	// rate is log2(e) * 2^16 * inverse, rounded down.
	rate uint64
}

// New returns the placement of new data: over the nodes of m that take data now.
func New(m *schemas.NodeMap) *Placement { return newPlacement(m, (*schemas.Node).Writable) }

// NewAssigned returns the placement by which chunks are assigned to nodes, and to which
// healing moves them: over the nodes of m that are expected to stay, including those that
// are down or full at the moment.
func NewAssigned(m *schemas.NodeMap) *Placement {
	return newPlacement(m, func(n *schemas.Node) bool { return n.State == schemas.Up || n.State == schemas.Down })
}

func newPlacement(m *schemas.NodeMap, in func(*schemas.Node) bool) *Placement {
	var zones [][]candidate
	number := map[string]int{}
	for i := range m.Nodes {
		n := &m.Nodes[i]
		if !in(n) {
			continue
		}
		zone, seen := number[n.Zone]
		if !seen {
			zone = len(zones)
			number[n.Zone] = zone
			zones = append(zones, nil)
		}
		zones[zone] = append(zones[zone], newCandidate(n, zone))
	}
	p := &Placement{}
	for round, more := 0, true; more; round++ {
		more = false
		for _, z := range zones {
			if round < len(z) {
				p.nodes = append(p.nodes, z[round])
				more = true
			}
		}
		if more {
			p.rounds = append(p.rounds, len(p.nodes))
		}
	}
	return p
}

func newCandidate(n *schemas.Node, zone int) candidate {
	const log2e = 0x5c551d94ae0bf85d // log2(e) * 2^62, rounded down
	sum := blake3.Sum256([]byte(n.ID))
	inverse := (1 << 32) / uint64(max(n.Weight, 1))
	hi, lo := bits.Mul64(inverse, log2e)
	return candidate{
		id:      n.ID,
		zone:    zone,
		seed:    binary.LittleEndian.Uint64(sum[:]),
		inverse: inverse,
		rate:    hi<<18 | lo>>46,
	}
}

// Len is the number of nodes that the placement is over.
func (p *Placement) Len() int { return len(p.nodes) }

// Place appends to dst the n nodes that chunk id belongs to, in order of
// preference. It spreads them over the zones as evenly as the zones allow. If there are
// fewer than n nodes it appends them all. The result for n is a prefix of the result for
// any larger number.
func (p *Placement) Place(dst []schemas.NodeID, id schemas.ChunkID, n int) []schemas.NodeID {
	n = min(n, len(p.nodes))
	if n < 1 {
		return dst
	}
	var reserve [24]slot // on the stack; more slots than this are allocated
	s := shortlist{slots: reserve[:0]}
	if n > len(reserve) {
		s.slots = make([]slot, 0, n)
	}
	p.fill(&s, binary.LittleEndian.Uint64(id[:]), n)
	for i := range s.slots {
		dst = append(dst, s.slots[i].node.id)
	}
	return dst
}

// fill puts into s the n best nodes for the chunk whose id begins with h.
func (p *Placement) fill(s *shortlist, h uint64, n int) {
	s.n, s.rounds = n, 1
	for p.rounds[s.rounds-1] < n {
		s.rounds++
	}
	for i := range s.limits {
		s.limits[i] = ^uint64(0)
	}
	// If there are enough zones to take one node of each, all zones share one limit.
	// Otherwise there are fewer than n zones, and each has its own limit.
	mask := 0
	if s.rounds > 1 {
		mask = maxLimits - 1
	}
	for i := range p.nodes {
		c := &p.nodes[i]
		limit := s.limits[c.zone&mask&(maxLimits-1)]
		u := mix(h ^ c.seed)
		if least, _ := bits.Mul64(^u, c.rate); least > limit {
			continue
		}
		if draw := c.drawFrom(u); draw <= limit {
			s.offer(slot{node: c, draw: draw})
		}
	}
}

// shortlist holds the best nodes seen so far, in the order of preference. A node that
// leaves it can never return, because further nodes only make a node's rank worse.
type shortlist struct {
	n      int    // size of the set
	rounds int    // the largest number of its nodes that can be of one zone
	slots  []slot // sorted by round, then by draw
	// limits are, by zone, the draws above which a node is not among the best.
	limits [maxLimits]uint64
}

// maxLimits is the length of shortlist.limits, a power of two. Larger sets over fewer zones
// are computed without limits.
const maxLimits = 32

// slot is a position in a set. The best node of each zone is of round 1, the second best of
// round 2, and so on.
type slot struct {
	node  *candidate
	round int
	draw  uint64
}

// before is the order within a zone, and within a round: by draw, then by id.
func (a *slot) before(b *slot) bool {
	return a.draw < b.draw || a.draw == b.draw && a.node.id < b.node.id
}

// offer inserts a node into the list if it is among the best.
func (s *shortlist) offer(p slot) {
	// The node takes the slot of the first node of its zone that is worse, which takes the
	// slot of the next one, and so on. The worst node of the zone gets a new round.
	p.round = 1
	for i := range s.slots {
		if t := &s.slots[i]; t.node.zone == p.node.zone {
			if p.before(t) {
				t.node, p.node = p.node, t.node
				t.draw, p.draw = p.draw, t.draw
				s.rise(i)
			}
			p.round++
		}
	}
	if at := len(s.slots); at < s.n {
		s.slots = s.slots[:at+1] // append would make the array escape to the heap
		s.slots[at] = p
		s.rise(at)
	} else if last := &s.slots[at-1]; p.round < last.round || p.round == last.round && p.before(last) {
		*last = p
		s.rise(at - 1)
	}
	if len(s.slots) == s.n {
		s.tighten()
	}
}

// rise moves slot i towards the front until the list is sorted.
func (s *shortlist) rise(i int) {
	for ; i > 0; i-- {
		a, b := &s.slots[i-1], &s.slots[i]
		if a.round < b.round || a.round == b.round && a.before(b) {
			return
		}
		*a, *b = *b, *a
	}
}

// tighten lowers the limits. The list is full, so its last slot is of the last round.
func (s *shortlist) tighten() {
	last := s.slots[s.n-1].draw
	if s.rounds == 1 {
		s.limits[0] = last
		return
	}
	if s.n > maxLimits {
		return
	}
	for i := range s.slots {
		switch t := &s.slots[i]; s.rounds - t.round {
		case 0: // the zone is full
			s.limits[t.node.zone] = t.draw
		case 1: // the zone's next node would be of the last round
			s.limits[t.node.zone] = max(t.draw, last)
		}
	}
}

// draw is the node's number for the chunk whose id begins with h (u64le): -log2 of a
// uniform number, divided by the weight.
func (c *candidate) draw(h uint64) uint64 { return c.drawFrom(mix(h ^ c.seed)) }

// drawFrom is the draw for the uniform number u. It is never below
//
//	(2^64-1 - u) * rate / 2^64
//
// because -ln(1-x) >= x, and because the errors of negLog2 only make its result larger.
func (c *candidate) drawFrom(u uint64) uint64 {
	hi, lo := bits.Mul64(negLog2(u), c.inverse)
	return hi<<32 | lo>>32
}

// mix is the finalizer of SplitMix64 (Steele, Lea and Flood 2014).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// negLog2 is -log2(u/2^64), as a fixed-point number with 48 bits after the
// point. It is computed from the position of the first set bit, and for the bits that
// follow it from a table with linear interpolation. Its error is below 2^-18, which is far
// too small to affect a node's share of the data.
func negLog2(u uint64) uint64 {
	u |= 1
	zeros := bits.LeadingZeros64(u)
	frac := u << zeros << 1 // the bits after the first set bit, as a fraction of 2^64
	i := frac >> 56
	part := frac << 8 >> 41 // the next 23 bits, so that the product below fits
	a, b := logTable[i], logTable[i+1]
	log := a + (b-a)*part>>23
	return uint64(zeros+1)<<48 - log
}

// logTable[i] is log2(1+i/256) in 48-bit fixed point, computed by repeated
// squaring so that it is the same on every machine.
var logTable = func() (t [257]uint64) {
	for i := range 256 {
		x := uint64(256+i) << 54 // in [1,2) with 62 bits after the point
		var log uint64
		for bit := uint64(1) << 47; bit > 0; bit >>= 1 {
			hi, lo := bits.Mul64(x, x)
			x = hi<<2 | lo>>62
			if x >= 1<<63 {
				x >>= 1
				log |= bit
			}
		}
		t[i] = log
	}
	t[256] = 1 << 48
	return t
}()
