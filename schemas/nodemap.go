package schemas

import (
	"fmt"
	"strconv"
	"strings"
)

// State is a node's state, as the coordinator knows it.
type State string

const (
	Up       State = "up"       // takes new data
	Draining State = "draining" // is being emptied: read from, not written to
	Down     State = "down"     // has not responded lately; its data is left to it
	Gone     State = "gone"     // down beyond the grace period; its data is rebuilt elsewhere
)

// Reachable reports whether requests are sent to nodes in this state.
func (s State) Reachable() bool { return s != Gone && s != Down }

// Node is a storage node's card.
type Node struct {
	ID         NodeID `msgpack:"id"`
	Name       string `msgpack:"name"` // for people
	Zone       string `msgpack:"zone,omitempty"`
	Weight     uint32 `msgpack:"weight"` // share of new data relative to other nodes; at least 1
	State      State  `msgpack:"state"`
	Version    string `msgpack:"version"`           // of the program
	Registered int64  `msgpack:"registered"`        // first registration, Unix ns
	Since      int64  `msgpack:"since,omitempty"`   // last change of the state, Unix ns
	Capacity   int64  `msgpack:"capacity"`          // size of the node's file system, in bytes
	Free       int64  `msgpack:"free"`              // free bytes of the file system
	Chunks     int64  `msgpack:"chunks"`            // number of chunks held
	Bytes      int64  `msgpack:"bytes"`             // size of their contents
	Trouble    string `msgpack:"trouble,omitempty"` // why it refuses puts: "disk-full", "disk-failed"
	Damaged    int64  `msgpack:"damaged,omitempty"` // chunks that the node knows to be damaged
	Older      int64  `msgpack:"older,omitempty"`   // when the node last came back with an older folder, Unix ns
}

// NodeMap lists the nodes and the policies at one moment. Placement is a pure function of
// the map, a chunk's id and the durability, so all programs with the same map agree
// where a chunk belongs.
type NodeMap struct {
	// Epoch grows with every change of the map.
	Epoch uint64 `msgpack:"epoch"`
	Nodes []Node `msgpack:"nodes"`
	// Durability is the durability of vaults that are not in Vaults.
	Durability Durability    `msgpack:"durability"`
	Vaults     []VaultPolicy `msgpack:"vaults,omitempty"`
	// Degraded lets sessions go on when fewer nodes are up than the durability
	// needs, as long as the content can be read back. Healing makes the missing replicas
	// or shards later.
	Degraded bool `msgpack:"degraded,omitempty"`
	// System identifies the catalogue: random, made when the catalogue was begun, and brought
	// back with it. It is empty before that, and from coordinators of early releases.
	System string `msgpack:"system,omitempty"`
}

// VaultPolicy is the durability of one vault.
type VaultPolicy struct {
	Vault      VaultID    `msgpack:"vault"`
	Durability Durability `msgpack:"durability"`
}

// DurabilityOf is the durability of a vault. A map made before policies existed has none;
// it means 1+0.
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

// Durability k+m: data survives the loss of any m nodes. 1+m means 1+m replicas; with
// k > 1 large data chunks are cut into k+m shards.
type Durability struct {
	K uint8 `msgpack:"k"`
	M uint8 `msgpack:"m"`
}

// String formats k+m.
func (d Durability) String() string { return fmt.Sprintf("%d+%d", d.K, d.M) }

// ParseDurability parses k+m. Errors have the code [BadRequest].
func ParseDurability(s string) (Durability, error) {
	k, m, ok := strings.Cut(s, "+")
	kn, kerr := strconv.ParseUint(k, 10, 8)
	mn, merr := strconv.ParseUint(m, 10, 8)
	if !ok || kerr != nil || merr != nil || kn < 1 {
		return Durability{}, Explain(BadRequest, "not-a-durability", "\"{text}\" is not a durability: write k+m, as in 1+1 or 4+2", "text", s)
	}
	return Durability{K: uint8(kn), M: uint8(mn)}, nil
}

// Find returns the node with that id, or nil. It points into the map.
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

// Writable returns the ids of the nodes that take new data.
func (m *NodeMap) Writable() []NodeID {
	var ids []NodeID
	for i := range m.Nodes {
		if m.Nodes[i].Writable() {
			ids = append(ids, m.Nodes[i].ID)
		}
	}
	return ids
}
