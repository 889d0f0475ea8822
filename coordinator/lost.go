package coordinator

import "servidor-backup/schemas"

// maxTaints bounds what is remembered of what is lost: so many edges to data, and as many
// between tree chunks above it.
const maxTaints = 100_000

// maxLost and maxLostNames bound the versions that are told of as having lost chunks, the
// latter by the bytes of their names: all of them are one message.
const (
	maxLost      = 1000
	maxLostNames = 256 << 10
)

// taints are what is known of tree chunks below which something is lost. One that is
// marked is not descended again: for whoever comes to it later, it is here what that
// would bring to light. Of all others there is nothing.
type taints struct {
	of    map[vaultTree]*taint
	data  int  // edges that are remembered, of those to data
	trees int  // and of those between tree chunks, with the entries in of
	limit int  // of either; maxTaints, but for tests
	more  bool // something is not remembered
}

// vaultTree is a tree chunk. In another vault it is another one: it may be whole there.
type vaultTree struct {
	vault schemas.VaultID
	id    schemas.ChunkID
}

// taint is what is lost below one: of its own data, and below what is below it.
type taint struct {
	lost  []schemas.ChunkID
	below []*taint
}

// lose is t, nil for a first taint, with data that is lost.
func (s *taints) lose(t *taint, id schemas.ChunkID) *taint {
	if t == nil {
		t = new(taint)
	}
	if s.room(&s.data) {
		t.lost = append(t.lost, id)
	}
	return t
}

// link is t, nil for a first taint, with one below.
func (s *taints) link(t, below *taint) *taint {
	if t == nil {
		t = new(taint)
	}
	if s.room(&s.trees) {
		t.below = append(t.below, below)
	}
	return t
}

func (s *taints) keep(of vaultTree, t *taint) {
	if s.of[of] == nil && s.room(&s.trees) {
		s.of[of] = t
	}
}

func (s *taints) room(n *int) bool {
	if *n >= s.limit {
		s.more = true
		return false
	}
	*n++
	return true
}

// count is how many chunks are lost, each counted once. Something is, even if nothing of
// it was remembered.
func (t *taint) count() int64 {
	lost := map[schemas.ChunkID]struct{}{}
	seen := map[*taint]struct{}{t: {}}
	for some := []*taint{t}; len(some) > 0; {
		t, some = some[len(some)-1], some[:len(some)-1]
		for _, id := range t.lost {
			lost[id] = struct{}{}
		}
		for _, b := range t.below {
			if _, is := seen[b]; !is {
				seen[b] = struct{}{}
				some = append(some, b)
			}
		}
	}
	return max(int64(len(lost)), 1)
}

// tell notes what is lost of a root, if it is a version's.
func (g *collection) tell(r root, t *taint) {
	g.res.LostMore = g.res.LostMore || g.taints.more
	if t == nil || r.version == "" {
		return
	}
	names := len(r.nickname) + len(r.version)
	for _, l := range g.res.Lost {
		if l.Nickname == r.nickname && l.Version == r.version {
			return // it was changed while versions were read, and so was read twice
		}
		names += len(l.Nickname) + len(l.Version)
	}
	if len(g.res.Lost) == maxLost || names > maxLostNames {
		g.res.LostMore = true
		return
	}
	g.res.Lost = append(g.res.Lost, schemas.Lost{Nickname: r.nickname, Version: r.version, Chunks: t.count()})
}
