package coordinator

import (
	"fmt"
	"math"
	"strings"

	"servidor-backup/schemas"
)

// room is where and how new data of a vault can be stored now.
type room struct {
	nodes      *schemas.NodeMap
	wanted     schemas.Durability // the vault's
	durability schemas.Durability // what there are nodes for: of a smaller m if it must be
}

func (r *room) degraded() bool { return r.durability.M < r.wanted.M }

// room is the vault's, or the error that says which nodes are missing. Plain chunks
// are never cut, so they need fewer nodes.
func (m *members) room(vault schemas.VaultID, plain bool) (*room, error) {
	r := &room{nodes: m.nodeMap()}
	r.wanted = r.nodes.DurabilityOf(vault)
	r.durability = r.wanted
	if plain {
		r.durability.K = 1
	}
	writable, needs := len(r.nodes.Writable()), r.durability.Nodes()
	switch {
	case writable >= needs:
		return r, nil
	case r.nodes.Degraded && writable >= int(r.durability.K):
		r.durability.M = uint8(writable) - r.durability.K
		return r, nil
	case len(r.nodes.Nodes) == 0:
		return nil, schemas.Errorf(schemas.NoNode, "no storage node has registered yet: start one with \"backup storage --server URL --data DIR\"")
	}
	up, code := writable, schemas.NoNode
	var not []string
	for i := range r.nodes.Nodes {
		switch n := &r.nodes.Nodes[i]; {
		case n.Writable():
		case n.State == schemas.Up:
			if up++; up >= needs { // if it were not for what is wrong with these
				code = schemas.Code(n.Trouble)
			}
			not = append(not, fmt.Sprintf("%s says %s", n.Name, n.Trouble))
		default:
			not = append(not, fmt.Sprintf("%s is %s", n.Name, n.State))
		}
	}
	away := ""
	if len(not) > 0 {
		away = " (" + strings.Join(not, ", ") + ")"
	}
	if needs == 1 {
		return nil, schemas.Errorf(code, "no storage node takes data now%s: start one", away)
	}
	return nil, schemas.Errorf(code, "the durability %v needs %d storage nodes, %d take data now%s: start more, or let the policy accept less", r.wanted, needs, writable, away)
}

// basis says under which map everything of a version was held by so many nodes that
// some of them could be lost.
type basis struct {
	Epoch     uint64 `msgpack:"epoch"`
	Tolerates uint8  `msgpack:"tolerates"`
}

// on is the basis of a version in this room that builds on parent; and whether what
// was held with parent can be taken to be held. parent may be nil.
//
// As long as a node is lost, what is taken over rests on the parent's map: who is lost
// next must be counted with it. Healing is not taken into account, so at worst too
// much is asked for again, once.
func (m *members) on(r *room, parent *schemas.Version) (b basis, trusted bool) {
	b = basis{Epoch: r.nodes.Epoch, Tolerates: r.durability.M}
	if parent == nil || parent.Epoch == 0 || parent.Epoch > r.nodes.Epoch {
		return b, false
	}
	missing := m.missing(parent.Epoch)
	if missing > int(parent.Tolerates) {
		return b, false
	}
	b.Tolerates = min(b.Tolerates, parent.Tolerates)
	if missing > 0 {
		b.Epoch = parent.Epoch
	}
	return b, true
}

// holds reports whether no more was lost since the basis was than it bears.
func (m *members) holds(b basis) bool { return m.missing(b.Epoch) <= int(b.Tolerates) }

// missing is how many nodes were lost since that epoch, and have not come back, or
// know of damage. One that came later counts, as chunks may have moved to it. Who was lost
// since an epoch of cards that were lost nobody knows.
func (m *members) missing(epoch uint64) (n int) {
	if epoch < m.kv.FirstRevision() {
		return math.MaxInt
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range m.nodes {
		reachable := k.card.State.Reachable() && k.card.State != schemas.Removed
		if reachable && k.live.Damaged > 0 || !reachable && k.revision > epoch && !k.card.Empty {
			n++
		}
	}
	return n
}
