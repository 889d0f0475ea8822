package gc

import "servidor-backup/schemas"

const (
	// maxDamage bounds what is remembered of damage: that many edges to lost data, and as
	// many between the tree chunks above it.
	maxDamage = 100_000
	// maxLost and maxLostNames bound the versions that are named as having lost chunks, the
	// latter by the bytes of their names: all of them are in one message.
	maxLost      = 1000
	maxLostNames = 256 << 10
)

// damage is what is lost below a tree chunk: data that it has edges to, and the damage of tree
// chunks that it has edges to.
type damage struct {
	lost  []schemas.ChunkID
	below []*damage
}

// damages remember the damage below tree chunks. A tree chunk that was marked is not descended
// again: a root that comes to it later learns its damage from here. Tree chunks without damage
// are not remembered.
type damages struct {
	known     map[treeID]*damage
	data      int // remembered edges to lost data
	trees     int // remembered edges between tree chunks, and entries in known
	limit     int // of either
	truncated bool
}

// newDamages makes an empty memory; limit 0 is the usual one.
func newDamages(limit int) damages {
	if limit == 0 {
		limit = maxDamage
	}
	return damages{known: map[treeID]*damage{}, limit: limit}
}

// addLost adds lost data to d, which is made if it is nil.
func (s *damages) addLost(d *damage, id schemas.ChunkID) *damage {
	if d == nil {
		d = new(damage)
	}
	if s.reserve(&s.data) {
		d.lost = append(d.lost, id)
	}
	return d
}

// link adds the damage of a tree chunk below to d, which is made if it is nil.
func (s *damages) link(d, below *damage) *damage {
	if d == nil {
		d = new(damage)
	}
	if s.reserve(&s.trees) {
		d.below = append(d.below, below)
	}
	return d
}

// remember remembers the damage of a tree chunk.
func (s *damages) remember(t treeID, d *damage) {
	if s.known[t] == nil && s.reserve(&s.trees) {
		s.known[t] = d
	}
}

// reserve counts one thing more that is remembered, if the limit allows it.
func (s *damages) reserve(n *int) bool {
	if *n >= s.limit {
		s.truncated = true
		return false
	}
	*n++
	return true
}

// count is the number of lost chunks, each counted once. It is at least 1, even if none of
// them was remembered.
func (d *damage) count() int64 {
	lost := map[schemas.ChunkID]struct{}{}
	seen := map[*damage]struct{}{d: {}}
	for todo := []*damage{d}; len(todo) > 0; {
		d, todo = todo[len(todo)-1], todo[:len(todo)-1]
		for _, id := range d.lost {
			lost[id] = struct{}{}
		}
		for _, b := range d.below {
			if _, known := seen[b]; !known {
				seen[b] = struct{}{}
				todo = append(todo, b)
			}
		}
	}
	return max(int64(len(lost)), 1)
}

// report names a root in the result if it is a version's and has lost chunks. d is nil if it
// has none; truncated says that some damage was not remembered.
func report(to *Result, r root, d *damage, truncated bool) {
	to.LostMore = to.LostMore || truncated
	if d == nil || r.version == "" {
		return
	}
	names := len(r.nickname) + len(r.version)
	for _, l := range to.Lost {
		if l.Nickname == r.nickname && l.Version == r.version {
			return // it was changed while versions were read, and was read twice
		}
		names += len(l.Nickname) + len(l.Version)
	}
	if len(to.Lost) == maxLost || names > maxLostNames {
		to.LostMore = true
		return
	}
	to.Lost = append(to.Lost, schemas.Lost{Nickname: r.nickname, Version: r.version, Chunks: d.count()})
}
