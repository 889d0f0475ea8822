package members

import (
	"math"

	"servidor-backup/schemas"
)

// Basis says how many losses a version's chunks survived under which map: as long as at most
// Tolerates nodes have been lost since Epoch, all its chunks are held.
type Basis struct {
	Epoch     uint64 `msgpack:"epoch"`
	Tolerates uint8  `msgpack:"tolerates"`
}

// BasisOf returns the basis of a new version that is stored on t and builds on parent, and
// whether the parent's chunks can be taken to be held. parent may be nil.
//
// While a node is lost, chunks that are reused rest on the parent's map: the next loss must be
// counted together with this one. Healing is not considered, so at worst a client asks once
// more for more chunks than necessary.
func (m *Members) BasisOf(t *Targets, parent *schemas.Version) (b Basis, trusted bool) {
	b = Basis{Epoch: t.Map.Epoch, Tolerates: t.Durability.M}
	if parent == nil || parent.Epoch == 0 || parent.Epoch > t.Map.Epoch {
		return b, false
	}
	lost := m.lostSince(parent.Epoch)
	if lost > int(parent.Tolerates) {
		return b, false
	}
	b.Tolerates = min(b.Tolerates, parent.Tolerates)
	if lost > 0 {
		b.Epoch = parent.Epoch
	}
	return b, true
}

// Holds reports whether no more nodes have been lost since the basis than it tolerates.
func (m *Members) Holds(b Basis) bool { return m.lostSince(b.Epoch) <= int(b.Tolerates) }

// lostSince counts the nodes that were lost since an epoch and have not come back, or that
// know of damage. A node that registered after the epoch counts, as chunks may have moved to
// it. If the epoch is from a bucket that was lost, nothing is known of the nodes that were
// lost since, and the count is the highest number.
func (m *Members) lostSince(epoch uint64) (count int) {
	if epoch < m.bucket.FirstRevision() {
		return math.MaxInt
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, n := range m.nodes {
		reachable := n.card.State.Reachable() && n.card.State != schemas.Removed
		if reachable && n.latest.Damaged > 0 || !reachable && n.revision > epoch && !n.card.Empty {
			count++
		}
	}
	return count
}
