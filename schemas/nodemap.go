package schemas

import (
	"fmt"
	"strconv"
	"strings"
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
