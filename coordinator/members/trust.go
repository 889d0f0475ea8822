package members

import (
	"math"

	"servidor-backup/schemas"
)

// Basis says how long the chunks of a version can be taken to be held: all of them are held
// while at most Tolerates nodes have failed since Epoch. Losses is how often nodes were known to
// have lost something by then.
type Basis struct {
	Epoch     uint64 `msgpack:"epoch"`
	Tolerates uint8  `msgpack:"tolerates"`
	Losses    uint64 `msgpack:"losses,omitempty"`
}

// BasisOf returns the basis of a new version that is stored on d and builds on parent, and
// whether the parent's chunks can be taken to be held. parent may be nil.
//
// While a node has failed, chunks that are reused rest on the parent's map: the next failure must
// be counted together with this one. Healing is not considered, so at worst a client asks once
// more for more chunks than necessary.
func (m *Members) BasisOf(d *Destinations, parent *schemas.Version) (b Basis, trusted bool) {
	b = Basis{Epoch: d.Map.Epoch, Tolerates: d.Durability.M, Losses: m.losses()}
	if parent == nil || parent.Epoch == 0 || parent.Epoch > d.Map.Epoch {
		return b, false
	}
	failed := m.failedSince(parent.Epoch, parent.Losses)
	if failed > int(parent.Tolerates) {
		return b, false
	}
	b.Tolerates = min(b.Tolerates, parent.Tolerates)
	if failed > 0 {
		b.Epoch, b.Losses = parent.Epoch, parent.Losses
	}
	return b, true
}

// Holds reports whether no more nodes have failed since the epoch of b than it tolerates.
func (m *Members) Holds(b Basis) bool { return m.failedSince(b.Epoch, b.Losses) <= int(b.Tolerates) }

// failedSince counts the nodes that have failed since an epoch: those that became down, gone or
// removed and still are, whether or not their data is lost, unless they were empty; and those
// that know of damage, whenever it arose. A node that registered after the epoch counts, as chunks
// may have moved to it. To these it adds what nodes have lost since there were so many losses: a
// node that is back, or knows of no damage any more, may lack chunks all the same. If the epoch is
// from a bucket that was lost, nothing is known of failures since, and the count is the highest
// number.
func (m *Members) failedSince(epoch, losses uint64) (count int) {
	now := m.losses()
	if epoch < m.bucket.FirstRevision() || now < losses {
		return math.MaxInt
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, n := range m.nodes {
		reachable := n.card.State.Reachable() && n.card.State != schemas.Removed
		if reachable && (n.latest.Damaged > 0 || n.card.Damage) || !reachable && n.revision > epoch && !n.card.Empty {
			count++
		}
	}
	return count + int(min(now-losses, math.MaxInt32))
}

// losses is how often nodes are known to have lost something. It never falls while the bucket
// exists: a node that is removed keeps its card.
func (m *Members) losses() (sum uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, n := range m.nodes {
		sum += n.card.Losses
	}
	return sum
}
