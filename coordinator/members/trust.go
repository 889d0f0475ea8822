package members

import (
	"math"

	"servidor-backup/schemas"
)

// Basis says how long the chunks of a version can be taken to be held: all of them are held
// while at most Tolerates nodes have failed since Epoch.
type Basis struct {
	Epoch     uint64 `msgpack:"epoch"`
	Tolerates uint8  `msgpack:"tolerates"`
}

// BasisOf returns the basis of a new version that is stored on d and builds on parent, and
// whether the parent's chunks can be taken to be held. parent may be nil.
//
// While a node has failed, chunks that are reused rest on the parent's map: the next failure must
// be counted together with this one. Healing is not considered, so at worst a client asks once
// more for more chunks than necessary.
func (m *Members) BasisOf(d *Destinations, parent *schemas.Version) (b Basis, trusted bool) {
	b = Basis{Epoch: d.Map.Epoch, Tolerates: d.Durability.M}
	if parent == nil || parent.Epoch == 0 || parent.Epoch > d.Map.Epoch {
		return b, false
	}
	failed := m.failedSince(parent.Epoch)
	if failed > int(parent.Tolerates) {
		return b, false
	}
	b.Tolerates = min(b.Tolerates, parent.Tolerates)
	if failed > 0 {
		b.Epoch = parent.Epoch
	}
	return b, true
}

// Holds reports whether no more nodes have failed since the epoch of b than it tolerates.
func (m *Members) Holds(b Basis) bool { return m.failedSince(b.Epoch) <= int(b.Tolerates) }

// failedSince counts the nodes that have failed since an epoch: those that became down, gone or
// removed and still are, whether or not their data is lost, unless they were empty; and those
// that know of damage, whenever it arose. A node that registered after the epoch counts, as chunks
// may have moved to it. If the epoch is from a bucket that was lost, nothing is known of failures
// since, and the count is the highest number.
func (m *Members) failedSince(epoch uint64) (count int) {
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
