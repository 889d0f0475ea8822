package placement

import (
	"encoding/binary"
	"math/bits"
	"servidor-backup/schemas"

	"github.com/zeebo/blake3"
)

// Placement answers where chunks belong under one map. It is made once per map
// and is safe for concurrent use.
//
// It is weighted rendezvous hashing: each node draws a number for the chunk,
// exponentially distributed with its weight as the rate, and the smallest
// numbers win (Thaler and Ravishankar 1998; the weighted form is in Schindelhauer
// and Schomaker 2005). So a node's share is its weight, and adding or removing
// one moves that share and nothing else. All arithmetic is on integers, so that
// every machine computes the same.
//
// The set of a chunk is found in one pass that looks at every node but works out few
// draws: a lower bound of the others', made without the logarithm, is above what is
// good enough already. It takes a few microseconds for a thousand nodes.
type Placement struct {
	// nodes are the first node of every zone, then the second of every zone that has
	// one, and so on, so that a pass soon has a set, even if a bad one.
	nodes []candidate
	// rounds[i] is how many nodes the first i+1 nodes of every zone are.
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

// New prepares placement over the nodes of m that take new data: where
// chunks go now.
func New(m *schemas.NodeMap) *Placement { return newPlacement(m, (*schemas.Node).Writable) }

// NewAssigned prepares placement over the nodes of m that are expected to stay, those
// that are down or full for the moment among them: where chunks are at home, and
// are brought to by healing.
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

// Len is how many nodes take new data.
func (p *Placement) Len() int { return len(p.nodes) }

// Place appends to dst the n nodes that chunk id belongs to, in order of
// preference, no zone holding more of them than the number of zones makes
// necessary. With fewer than n nodes it appends them all. What it appends for n
// begins what it appends for more.
func (p *Placement) Place(dst []schemas.NodeID, id schemas.ChunkID, n int) []schemas.NodeID {
	n = min(n, len(p.nodes))
	if n < 1 {
		return dst
	}
	var room [24]slot
	s := shortlist{taken: room[:0]}
	if n > len(room) {
		s.taken = make([]slot, 0, n)
	}
	p.fill(&s, binary.LittleEndian.Uint64(id[:]), n)
	for i := range s.taken {
		dst = append(dst, s.taken[i].node.id)
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
	// With enough zones for one node of each, all have the same limit. Else they are
	// fewer than n, and each has its own.
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
		if draw := c.drawn(u); draw <= limit {
			s.offer(slot{node: c, draw: draw})
		}
	}
}

// A shortlist holds the best nodes of those seen so far, in the order in which they
// would be taken: no node that it lets go can come back, as more nodes only make the
// place of each worse.
type shortlist struct {
	n      int    // how many are wanted
	rounds int    // how many of one zone they can be
	taken  []slot // sorted
	// limits are draws above which no node is among the best, by zone.
	limits [maxLimits]uint64
}

// maxLimits is a power of two. Larger sets over fewer zones are made without limits.
const maxLimits = 32

// A place of a set: rounds are as in [Placement].
type slot struct {
	node  *candidate
	round int
	draw  uint64
}

// before is the order within a zone, and within a round.
func (a *slot) before(b *slot) bool {
	return a.draw < b.draw || a.draw == b.draw && a.node.id < b.node.id
}

// offer takes a node into the list if it belongs there.
func (s *shortlist) offer(p slot) {
	// The node takes the place of the first of its zone that is worse, that one the
	// place of the next, and the worst of the zone begins a round of its own.
	p.round = 1
	for i := range s.taken {
		if t := &s.taken[i]; t.node.zone == p.node.zone {
			if p.before(t) {
				t.node, p.node = p.node, t.node
				t.draw, p.draw = p.draw, t.draw
				s.rise(i)
			}
			p.round++
		}
	}
	if at := len(s.taken); at < s.n {
		s.taken = s.taken[:at+1] // append would move it all to the heap
		s.taken[at] = p
		s.rise(at)
	} else if last := &s.taken[at-1]; p.round < last.round || p.round == last.round && p.before(last) {
		*last = p
		s.rise(at - 1)
	}
	if len(s.taken) == s.n {
		s.tighten()
	}
}

// rise moves place i to the front as far as it belongs.
func (s *shortlist) rise(i int) {
	for ; i > 0; i-- {
		a, b := &s.taken[i-1], &s.taken[i]
		if a.round < b.round || a.round == b.round && a.before(b) {
			return
		}
		*a, *b = *b, *a
	}
}

// tighten sets the limits, when the list is full: its last place is then of the last
// round.
func (s *shortlist) tighten() {
	last := s.taken[s.n-1].draw
	if s.rounds == 1 {
		s.limits[0] = last
		return
	}
	if s.n > maxLimits {
		return
	}
	for i := range s.taken {
		switch t := &s.taken[i]; s.rounds - t.round {
		case 0: // the zone is full
			s.limits[t.node.zone] = t.draw
		case 1: // its next node would be of the last round
			s.limits[t.node.zone] = max(t.draw, last)
		}
	}
}

// draw is the node's number for the chunk whose id begins with h: -log2 of a
// uniform number, divided by the weight.
func (c *candidate) draw(h uint64) uint64 { return c.drawn(mix(h ^ c.seed)) }

// drawn is the draw that comes of a uniform number. It is not below
//
//	(2^64-1 - u) * rate / 2^64
//
// because -ln(1-x) is not below x, and because all that is not exact in negLog2 makes
// its result larger.
func (c *candidate) drawn(u uint64) uint64 {
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
// point: the place of the first set bit, and a table with linear interpolation
// for what follows it. Its error is under 2^-18, far below what a share of data
// could show.
func negLog2(u uint64) uint64 {
	u |= 1
	zeros := bits.LeadingZeros64(u)
	frac := u << zeros << 1 // what follows the first set bit, as a fraction of 2^64
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
