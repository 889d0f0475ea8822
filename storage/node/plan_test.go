package node

import (
	"fmt"
	"maps"
	"math/bits"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"servidor-backup/schemas"
)

// A sight is written as its durability, the home set in its order and what nodes
// hold: "w" is a copy, "2/1" is shard 1 of k=2. Nodes in small letters are heard.
func sightOf(split bool, k, m uint8, home string, held map[string][]schemas.Part) *sight {
	s := &sight{durability: schemas.Durability{K: k, M: m}, split: split}
	for _, n := range home {
		s.home = append(s.home, schemas.NodeID(n))
	}
	s.heard = func(n schemas.NodeID) bool { return n >= "a" }
	for n, parts := range held {
		for _, p := range parts {
			s.held = append(s.held, place{schemas.NodeID(n), p})
		}
	}
	sortPlaces(s.held)
	return s
}

func sh(i ...int) (parts []schemas.Part) {
	for _, i := range i {
		parts = append(parts, schemas.ShardOfSeal(2, 1, i))
	}
	return parts
}

func TestPlans(t *testing.T) {
	whole := []schemas.Part{schemas.Whole}
	type held = map[string][]schemas.Part
	for _, c := range []struct {
		name  string
		sight *sight
		want  map[string]string // what each node is to do
	}{
		{"copies at home", sightOf(false, 1, 1, "ab", held{"a": whole, "b": whole}),
			map[string]string{"a": "counts 1 complete", "b": "1 complete"}},
		{"a stray drops when all are at home", sightOf(false, 1, 1, "ab", held{"a": whole, "b": whole, "c": whole}),
			map[string]string{"a": "counts 2 complete", "c": "2 complete, drops [whole]"}},
		{"the first that has a copy sends it", sightOf(false, 1, 2, "abc", held{"b": whole, "c": whole, "d": whole}),
			map[string]string{"a": "2 lacks whole", "b": "counts 2, sends whole to a", "c": "2", "d": "2"}},
		{"the stray with the lowest id sends it", sightOf(false, 1, 1, "ab", held{"c": whole, "d": whole}),
			map[string]string{"a": "1 lacks whole", "c": "counts 1, sends whole to a, sends whole to b", "d": "1"}},
		{"a node that is down keeps its place", sightOf(false, 1, 1, "aB", held{"a": whole, "c": whole}),
			map[string]string{"a": "counts 1", "c": "1"}},
		{"too few nodes to be at home", sightOf(false, 1, 1, "a", held{"a": whole, "c": whole}),
			map[string]string{"a": "counts 1", "c": "1"}},
		{"nobody has anything", sightOf(false, 1, 1, "ab", nil),
			map[string]string{"a": "-1 lacks whole"}},
		{"shards at home", sightOf(true, 2, 1, "abc", held{"a": sh(2), "b": sh(0), "c": sh(7)}),
			map[string]string{"a": "counts 1 complete", "c": "1 complete"}},
		{"a missing shard is made by the first", sightOf(true, 2, 1, "abc", held{"b": sh(0), "c": sh(2)}),
			map[string]string{"a": "0 lacks shard 1 of k=2", "b": "counts 0, makes shard 1 of k=2 for a", "c": "0"}},
		{"what a stray has is moved", sightOf(true, 2, 1, "abc", held{"b": sh(0), "d": sh(2), "e": sh(2, 5)}),
			map[string]string{"a": "1 lacks shard 2 of k=2", "b": "counts 1", "c": "1 lacks shard 5 of k=2",
				"d": "1, sends shard 2 of k=2 to a", "e": "1, sends shard 5 of k=2 to c"}},
		{"who is down is taken to have a part", sightOf(true, 2, 2, "aBcd", held{"c": sh(0), "d": sh(3)}),
			map[string]string{"a": "0 lacks shard 1 of k=2", "c": "counts 0, makes shard 1 of k=2 for a", "d": "0"}},
		{"the same part twice is one", sightOf(true, 2, 1, "abc", held{"a": sh(1), "b": sh(1), "c": sh(0)}),
			map[string]string{"a": "counts 0, makes shard 2 of k=2 for b", "b": "0 lacks shard 2 of k=2"}},
		{"who has two may stand for either", sightOf(true, 2, 1, "abc", held{"a": sh(0, 1), "b": sh(0), "c": sh(1, 2)}),
			map[string]string{"a": "counts 1 complete", "b": "1 complete", "c": "1 complete, drops [shard 1 of k=2]"}},
		{"too few shards: what there is goes home", sightOf(true, 2, 1, "abc", held{"d": sh(1)}),
			map[string]string{"a": "-1 lacks shard 0 of k=2", "b": "-1 lacks shard 1 of k=2", "d": "counts -1, sends shard 1 of k=2 to b"}},
		{"shards in place of copies", sightOf(true, 2, 1, "abc", held{"a": whole, "b": whole}),
			map[string]string{"a": "counts 1 lacks shard 0 of k=2, makes shard 0 of k=2 for a, makes shard 1 of k=2 for b, makes shard 2 of k=2 for c",
				"b": "1 lacks shard 1 of k=2"}},
		{"copies in place of shards", sightOf(false, 1, 1, "ab", held{"a": sh(0), "b": sh(1), "c": sh(2)}),
			map[string]string{"a": "counts 1 lacks whole, makes whole for a, makes whole for b", "c": "1"}},
		{"the old kind goes when the new one is at home", sightOf(true, 2, 0, "ab", held{"a": {0, schemas.ShardOfSeal(2, 1, 0)}, "b": sh(1), "c": whole}),
			map[string]string{"a": "counts 1 complete, drops [whole]", "b": "1 complete", "c": "1 complete, drops [whole]"}},
		{"shards of another code", sightOf(true, 3, 0, "abc", held{"a": sh(0), "b": sh(1), "c": sh(2)}),
			map[string]string{"a": "counts 1 lacks shard 0 of k=3, makes shard 0 of k=3 for a, makes shard 1 of k=3 for b, makes shard 2 of k=3 for c"}},
		{"no code with more shards than nodes", sightOf(true, 3, 1, "ab", held{"a": whole, "b": whole}),
			map[string]string{"a": "counts 1", "b": "1"}},
	} {
		for node, want := range c.want {
			if got := c.sight.plan(schemas.NodeID(node)).String(); got != want {
				t.Errorf("%s: the plan of %s is\n%q, want\n%q", c.name, node, got, want)
			}
		}
	}
}

func (p plan) String() string {
	text := fmt.Sprint(p.spare)
	if p.counts {
		text = "counts " + text
	}
	if p.complete {
		text += " complete"
	}
	if p.lacks {
		text += " lacks " + p.lack.String()
	}
	for _, j := range p.jobs {
		if j.holds {
			text += fmt.Sprintf(", sends %v to %s", j.part, j.to)
		} else {
			text += fmt.Sprintf(", makes %v for %s", j.part, j.to)
		}
	}
	if len(p.drop) > 0 {
		text += fmt.Sprintf(", drops %v", p.drop)
	}
	return text
}

// model is a chunk on some nodes, which see the same and act at the same time.
type model struct {
	sight
	t     *rapid.T
	all   []schemas.NodeID
	up    map[schemas.NodeID]bool
	ranks []schemas.NodeID // all, as placement ranks them
	stays map[schemas.NodeID]bool
}

// look makes the sight that all nodes have.
func (m *model) look(held []place) {
	m.home = m.home[:0]
	for _, n := range m.ranks {
		if m.stays[n] && len(m.home) < m.want() {
			m.home = append(m.home, n)
		}
	}
	m.heard = func(n schemas.NodeID) bool { return m.up[n] }
	m.held = m.held[:0]
	for _, p := range held {
		if m.up[p.node] {
			m.held = append(m.held, p)
		}
	}
	sortPlaces(m.held)
}

// recoverable reports whether the parts make the chunk.
func recoverable(held []place) bool { return sealing(held) != 0 }

// copySeal is the tag of all copies; shards may have others.
const copySeal = 3

// sealing is the tag of the chunk that whoever fetches it gets, 0 if nobody can.
func sealing(held []place) uint32 {
	shards := map[schemas.Part]map[schemas.Part]bool{}
	for _, p := range held {
		if p.part == schemas.Whole {
			return copySeal
		}
		code := p.part.Stripe()
		if shards[code] == nil {
			shards[code] = map[schemas.Part]bool{}
		}
		shards[code][p.part] = true
	}
	for _, code := range slices.Sorted(maps.Keys(shards)) {
		if len(shards[code]) >= code.K() {
			return code.SealID()
		}
	}
	return 0
}

// gives is what comes of a job.
func (m *model) gives(j job) (all []place) {
	tag := sealing(m.held)
	switch {
	case j.holds || !m.split || tag == j.part.SealID():
		return []place{{j.to, j.part}}
	case j.part.SealID() == 0:
		return []place{{j.to, schemas.ShardOfSeal(m.k(), tag, j.part.Shard())}}
	}
	for i, n := range m.home {
		if m.up[n] {
			all = append(all, place{n, schemas.ShardOfSeal(m.k(), tag, i)})
		}
	}
	return all
}

// step lets all nodes make their plans of one sight, then follow them.
func (m *model) step(held []place) []place {
	m.look(held)
	was := recoverable(m.held)
	after := slices.Clone(held)
	counted := 0
	given := map[place]bool{}
	var drops []place
	for _, me := range m.all {
		if !m.up[me] {
			continue
		}
		p := m.plan(me)
		if p.counts {
			counted++
		}
		if was != (p.spare >= 0) {
			m.t.Fatalf("%v: can be had: %v, spare %d", m.held, was, p.spare)
		}
		for _, j := range p.jobs {
			to := place{j.to, j.part}
			switch {
			case given[to]:
				m.t.Fatalf("%v at home at %v: %v is given twice", m.held, m.home, to)
			case !m.up[j.to] || !slices.Contains(m.home, j.to):
				m.t.Fatalf("%v is given to who is not at home or not up", to)
			case j.holds && !m.holds(me, j.part), !j.holds && !was:
				m.t.Fatalf("%s cannot give %v", me, to)
			}
			given[to] = true
			for _, p := range m.gives(j) {
				if !slices.Contains(after, p) {
					after = append(after, p)
				}
			}
		}
		for _, part := range p.drop {
			if !p.complete || !m.holds(me, part) {
				m.t.Fatalf("%s drops %v too early", me, part)
			}
			drops = append(drops, place{me, part})
		}
	}
	if (counted == 1) != (len(m.held) > 0) {
		m.t.Fatalf("%v: counted by %d", m.held, counted)
	}
	after = slices.DeleteFunc(after, func(p place) bool { return slices.Contains(drops, p) })
	m.look(after)
	if was && !recoverable(m.held) {
		m.t.Fatalf("what was there of the chunk is lost: %v, at home at %v", m.held, m.home)
	}
	return after
}

// Whatever nodes hold and whatever happens to them: when nothing happens any more,
// the parts that are wanted are at home, and nothing else is anywhere; and on the
// way nothing is lost, or sent twice.
func TestPlansConverge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{t: t, up: map[schemas.NodeID]bool{}, stays: map[schemas.NodeID]bool{}}
		for i := range rapid.IntRange(1, 8).Draw(t, "nodes") {
			n := schemas.NodeID('a' + rune(i))
			m.all = append(m.all, n)
			m.up[n], m.stays[n] = true, true
		}
		m.ranks = rapid.Permutation(m.all).Draw(t, "ranks")
		part := rapid.Custom(func(t *rapid.T) schemas.Part {
			if k := rapid.IntRange(1, 4).Draw(t, "k"); k > 1 {
				return schemas.ShardOfSeal(k, uint32(rapid.IntRange(1, 2).Draw(t, "tag")), rapid.IntRange(0, 6).Draw(t, "shard"))
			}
			return schemas.Whole
		})
		var held []place
		for range rapid.IntRange(1, 4).Draw(t, "events") {
			k := rapid.IntRange(1, 4).Draw(t, "k")
			m.durability = schemas.Durability{K: uint8(k), M: uint8(rapid.IntRange(0, 3).Draw(t, "m"))}
			m.split = k > 1 && rapid.Bool().Draw(t, "split")
			for _, n := range m.all {
				switch rapid.IntRange(0, 9).Draw(t, "what happens to "+string(n)) {
				case 0: // goes
					m.up[n] = false
					m.stays[n] = rapid.Bool().Draw(t, "for a while")
				case 1: // drains
					m.up[n], m.stays[n] = true, false
				case 2: // comes back empty
					m.up[n], m.stays[n] = true, true
					held = slices.DeleteFunc(held, func(p place) bool { return p.node == n })
				case 3, 4: // comes back
					m.up[n], m.stays[n] = true, true
				case 5: // has something
					if p := (place{n, part.Draw(t, "part")}); !slices.Contains(held, p) {
						held = append(held, p)
					}
				}
			}
			for range rapid.IntRange(0, 3).Draw(t, "steps") {
				held = m.step(held)
			}
		}
		for range 6 {
			held = m.step(held)
		}
		m.isAtHome(t, held)
	})
}

// isAtHome fails the test unless the chunk is where it belongs, as far as that can be.
func (m *model) isAtHome(t *rapid.T, held []place) {
	m.look(held)
	if !recoverable(m.held) || len(m.home) < m.k() {
		return
	}
	m.choose()
	allUp := true
	for i, at := range m.match(m.home) {
		allUp = allUp && m.up[m.home[i]]
		if at == nil && m.up[m.home[i]] {
			t.Fatalf("%s lacks its part: %v", m.home[i], m.held)
		}
	}
	if !allUp || len(m.home) < m.want() {
		return
	}
	for _, p := range m.held {
		if !slices.Contains(m.home, p.node) || !m.is(p.part) {
			t.Fatalf("%v is still there: %v, at home at %v", p, m.held, m.home)
		}
	}
}

// A chunk survives so many losses as is said, whichever they are; and one more is
// too many for some, when nodes have one part each and no two have the same shard.
func TestSpare(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s sight
		s.heard = func(schemas.NodeID) bool { return true }
		nodes := rapid.IntRange(1, 7).Draw(t, "nodes")
		simple := rapid.Bool().Draw(t, "simple")
		for i := range nodes {
			most := 3
			if simple {
				most = 1
			}
			for range rapid.IntRange(0, most).Draw(t, "parts") {
				p := place{node: schemas.NodeID('a' + rune(i))}
				switch {
				case rapid.Bool().Draw(t, "whole"):
				case simple:
					p.part = schemas.ShardOfSeal(2, 1, i)
				default:
					p.part = schemas.ShardOfSeal(rapid.IntRange(2, 3).Draw(t, "k"), uint32(rapid.IntRange(1, 2).Draw(t, "tag")), rapid.IntRange(0, 4).Draw(t, "shard"))
				}
				if !slices.Contains(s.held, p) {
					s.held = append(s.held, p)
				}
			}
		}
		sortPlaces(s.held)
		least := nodes + 1 // losses that are too many
		for lost := range 1 << nodes {
			left := slices.DeleteFunc(slices.Clone(s.held), func(p place) bool { return lost>>(p.node[0]-'a')&1 == 1 })
			if !recoverable(left) {
				least = min(least, bits.OnesCount(uint(lost)))
			}
		}
		if spare := s.spare(); spare > least-1 || (spare < 0) != (least == 0) || simple && spare != least-1 {
			t.Fatalf("%v: spare is %d, but %d losses are too many", s.held, spare, least)
		}
	})
}

// However often somebody has looked in vain, the next look is later, and not for ever.
func TestPatienceIsBounded(t *testing.T) {
	patience := 2 * time.Second
	for range 1000 {
		next := longer(patience, 10*time.Minute)
		if next < patience || next > 10*time.Minute {
			t.Fatalf("after %v comes %v", patience, next)
		}
		patience = next
	}
}
