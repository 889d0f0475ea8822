package schemas

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"github.com/zeebo/blake3"
)

// State is what the coordinator knows of a node's health.
type State string

const (
	Up       State = "up"       // takes new data
	Draining State = "draining" // is being emptied: read from, not written to
	Down     State = "down"     // has been silent; what belongs to it is left to it for a while
	Gone     State = "gone"     // has been silent for so long that it is not expected back
)

// Reachable reports whether a node in that state is asked at all.
func (s State) Reachable() bool { return s != Gone && s != Down }

// Node is a storage worker's card.
type Node struct {
	ID         NodeID `msgpack:"id"`
	Name       string `msgpack:"name"` // what people call it
	Zone       string `msgpack:"zone,omitempty"`
	Weight     uint32 `msgpack:"weight"` // its share of new data, relative to others; at least 1
	State      State  `msgpack:"state"`
	Version    string `msgpack:"version"`           // of the program
	Registered int64  `msgpack:"registered"`        // Unix ns, the first time
	Since      int64  `msgpack:"since,omitempty"`   // Unix ns, when it was last lost, or found again, or drained
	Capacity   int64  `msgpack:"capacity"`          // bytes of its file system
	Free       int64  `msgpack:"free"`              // bytes of it that are free
	Chunks     int64  `msgpack:"chunks"`            // how many it holds
	Bytes      int64  `msgpack:"bytes"`             // their contents
	Trouble    string `msgpack:"trouble,omitempty"` // why it refuses puts: "disk-full", "disk-failed"
	Damaged    int64  `msgpack:"damaged,omitempty"` // chunks that it knows to be damaged
}

// NodeMap is the nodes at one moment. Placement is a pure function of the map,
// a chunk's id and the durability, so everyone who has the same map agrees
// where a chunk belongs.
type NodeMap struct {
	// Epoch grows with every change of the map.
	Epoch uint64 `msgpack:"epoch"`
	Nodes []Node `msgpack:"nodes"`
	// Durability is what holds for vaults that Vaults does not name.
	Durability Durability    `msgpack:"durability"`
	Vaults     []VaultPolicy `msgpack:"vaults,omitempty"`
	// Degraded lets sessions go on when fewer nodes are up than the durability
	// needs, as long as content can be brought back; healing makes up for it.
	Degraded bool `msgpack:"degraded,omitempty"`
}

// VaultPolicy is the durability of one vault.
type VaultPolicy struct {
	Vault      VaultID    `msgpack:"vault"`
	Durability Durability `msgpack:"durability"`
}

// DurabilityOf is what holds for a vault. A map from before there were policies
// says 1+0.
func (m *NodeMap) DurabilityOf(v VaultID) Durability {
	for i := range m.Vaults {
		if m.Vaults[i].Vault == v {
			return m.Vaults[i].Durability
		}
	}
	if m.Durability.K == 0 {
		return Durability{K: 1}
	}
	return m.Durability
}

// Durability k+m: data survives the loss of any m nodes. k=1 is 1+m copies.
type Durability struct {
	K uint8 `msgpack:"k"`
	M uint8 `msgpack:"m"`
}

// String writes k+m.
func (d Durability) String() string { return fmt.Sprintf("%d+%d", d.K, d.M) }

// ParseDurability reads k+m.
func ParseDurability(s string) (Durability, error) {
	k, m, ok := strings.Cut(s, "+")
	kn, kerr := strconv.ParseUint(k, 10, 8)
	mn, merr := strconv.ParseUint(m, 10, 8)
	if !ok || kerr != nil || merr != nil || kn < 1 {
		return Durability{}, Errorf(BadRequest, "%q is not a durability: write k+m, as in 1+1 or 4+2", s)
	}
	return Durability{K: uint8(kn), M: uint8(mn)}, nil
}

// Find returns the node of that id, or nil.
func (m *NodeMap) Find(id NodeID) *Node {
	for i := range m.Nodes {
		if m.Nodes[i].ID == id {
			return &m.Nodes[i]
		}
	}
	return nil
}

// Fingerprint tells one set of nodes that can be read from another: 16 bytes of
// the BLAKE3 of their ids, sorted, each followed by a line feed. As long as it
// is the same, no node has gone, and none has come.
func (m *NodeMap) Fingerprint() []byte {
	var ids []string
	for i := range m.Nodes {
		if m.Nodes[i].State.Reachable() {
			ids = append(ids, string(m.Nodes[i].ID)+"\n")
		}
	}
	slices.Sort(ids)
	sum := blake3.Sum256([]byte(strings.Join(ids, "")))
	return sum[:16]
}

// Damaged is how many chunks the nodes know to be damaged.
func (m *NodeMap) Damaged() (n int64) {
	for i := range m.Nodes {
		n += m.Nodes[i].Damaged
	}
	return n
}

// Writable reports whether the node takes new data.
func (n *Node) Writable() bool { return n.State == Up && n.Trouble == "" }

// Writable are the ids of the nodes that take new data.
func (m *NodeMap) Writable() []NodeID {
	var ids []NodeID
	for i := range m.Nodes {
		if m.Nodes[i].Writable() {
			ids = append(ids, m.Nodes[i].ID)
		}
	}
	return ids
}

// Placement answers where chunks belong under one map. It is made once per map
// and is safe for concurrent use.
//
// It is weighted rendezvous hashing: each node draws a number for the chunk,
// exponentially distributed with its weight as the rate, and the smallest
// numbers win (Thaler and Ravishankar 1998; the weighted form is in Schindelhauer
// and Schomaker 2005). So a node's share is its weight, and adding or removing
// one moves that share and nothing else. All arithmetic is on integers, so that
// every machine computes the same.
type Placement struct {
	nodes []candidate
	zones int
}

type candidate struct {
	id   NodeID
	zone int
	seed uint64
	// inverse is 2^32 / weight.
	inverse uint64
}

// NewPlacement prepares placement over the nodes of m that take new data: where
// chunks go now.
func NewPlacement(m *NodeMap) *Placement { return newPlacement(m, (*Node).Writable) }

// NewHomes prepares placement over the nodes of m that are expected to stay, those
// that are down or full for the moment among them: where chunks are at home, and
// are brought to by healing.
func NewHomes(m *NodeMap) *Placement {
	return newPlacement(m, func(n *Node) bool { return n.State == Up || n.State == Down })
}

func newPlacement(m *NodeMap, in func(*Node) bool) *Placement {
	p := &Placement{}
	zones := map[string]int{}
	for i := range m.Nodes {
		n := &m.Nodes[i]
		if !in(n) {
			continue
		}
		zone, seen := zones[n.Zone]
		if !seen {
			zone = len(zones)
			zones[n.Zone] = zone
		}
		sum := blake3.Sum256([]byte(n.ID))
		p.nodes = append(p.nodes, candidate{
			id:      n.ID,
			zone:    zone,
			seed:    binary.LittleEndian.Uint64(sum[:]),
			inverse: (1 << 32) / uint64(max(n.Weight, 1)),
		})
	}
	p.zones = len(zones)
	return p
}

// Len is how many nodes take new data.
func (p *Placement) Len() int { return len(p.nodes) }

// Place appends to dst the n nodes that chunk id belongs to, in order of
// preference, no zone holding more of them than the number of zones makes
// necessary. With fewer than n nodes it appends them all.
func (p *Placement) Place(dst []NodeID, id ChunkID, n int) []NodeID {
	n = min(n, len(p.nodes))
	if n == 0 {
		return dst
	}
	h := binary.LittleEndian.Uint64(id[:])
	if n == 1 {
		best, least := 0, ^uint64(0)
		for i := range p.nodes {
			d := p.nodes[i].draw(h)
			if d < least || d == least && p.nodes[i].id < p.nodes[best].id {
				best, least = i, d
			}
		}
		return append(dst, p.nodes[best].id)
	}
	return p.spread(dst, h, n)
}

func (p *Placement) spread(dst []NodeID, h uint64, n int) []NodeID {
	draws := make([]uint64, len(p.nodes))
	order := make([]int, len(p.nodes))
	for i := range p.nodes {
		draws[i], order[i] = p.nodes[i].draw(h), i
	}
	slices.SortFunc(order, func(a, b int) int {
		switch {
		case draws[a] < draws[b]:
			return -1
		case draws[a] > draws[b]:
			return 1
		}
		return strings.Compare(string(p.nodes[a].id), string(p.nodes[b].id))
	})
	perZone := make([]int, p.zones)
	// A round lets every zone hold one more than the round before, so zones
	// fill evenly and a lack of zones never leaves a place empty.
	for limit := 1; n > 0; limit++ {
		for i, at := range order {
			if at < 0 || perZone[p.nodes[at].zone] >= limit || n == 0 {
				continue
			}
			perZone[p.nodes[at].zone]++
			dst = append(dst, p.nodes[at].id)
			order[i] = -1
			n--
		}
	}
	return dst
}

// draw is the node's number for the chunk whose id begins with h: -log2 of a
// uniform number, divided by the weight.
func (c *candidate) draw(h uint64) uint64 {
	hi, lo := bits.Mul64(negLog2(mix(h^c.seed)), c.inverse)
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
