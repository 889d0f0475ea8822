package heal

import (
	"fmt"
	"maps"
	"math/bits"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"servidor-backup/schemas"
)

// observationOf builds an observation from the durability, the assigned nodes in the order of
// their rank, and what nodes hold. Nodes in small letters have responded.
func observationOf(split bool, k, m uint8, assigned string, held map[string][]schemas.Part) *observation {
	o := &observation{durability: schemas.Durability{K: k, M: m}, split: split}
	for _, n := range assigned {
		o.assigned = append(o.assigned, schemas.NodeID(n))
	}
	o.responded = func(n schemas.NodeID) bool { return n >= "a" }
	for n, parts := range held {
		for _, p := range parts {
			o.held = append(o.held, placedPart{schemas.NodeID(n), p})
		}
	}
	sortPlaced(o.held)
	return o
}

// shardsOf2 are shards of k=2 of one sealing.
func shardsOf2(numbers ...int) (parts []schemas.Part) {
	for _, i := range numbers {
		parts = append(parts, schemas.ShardOfSeal(2, 1, i))
	}
	return parts
}

func TestPlans(t *testing.T) {
	whole := []schemas.Part{schemas.Whole}
	sh := shardsOf2
	type held = map[string][]schemas.Part
	for _, c := range []struct {
		name string
		o    *observation
		want map[string]string // each node's share of the plan
	}{
		{"replicas are complete", observationOf(false, 1, 1, "ab", held{"a": whole, "b": whole}),
			map[string]string{"a": "counts 1 complete", "b": "1 complete"}},
		{"a misplaced replica is dropped when the chunk is complete", observationOf(false, 1, 1, "ab", held{"a": whole, "b": whole, "c": whole}),
			map[string]string{"a": "counts 2 complete", "c": "2 complete, drops [whole]"}},
		{"the first node with a replica sends it", observationOf(false, 1, 2, "abc", held{"b": whole, "c": whole, "d": whole}),
			map[string]string{"a": "2 lacks whole", "b": "counts 2, sends whole to a", "c": "2", "d": "2"}},
		{"the unassigned node with the lowest id sends it", observationOf(false, 1, 1, "ab", held{"c": whole, "d": whole}),
			map[string]string{"a": "1 lacks whole", "c": "counts 1, sends whole to a, sends whole to b", "d": "1"}},
		{"a node that is down stays assigned", observationOf(false, 1, 1, "aB", held{"a": whole, "c": whole}),
			map[string]string{"a": "counts 1", "c": "1"}},
		{"too few nodes to be complete", observationOf(false, 1, 1, "a", held{"a": whole, "c": whole}),
			map[string]string{"a": "counts 1", "c": "1"}},
		{"no node holds anything", observationOf(false, 1, 1, "ab", nil),
			map[string]string{"a": "-1 lacks whole"}},
		{"shards are complete", observationOf(true, 2, 1, "abc", held{"a": sh(2), "b": sh(0), "c": sh(7)}),
			map[string]string{"a": "counts 1 complete", "c": "1 complete"}},
		{"the counter makes a missing shard", observationOf(true, 2, 1, "abc", held{"b": sh(0), "c": sh(2)}),
			map[string]string{"a": "0 lacks shard 1 of k=2", "b": "counts 0, makes shard 1 of k=2 for a", "c": "0"}},
		{"misplaced shards are moved", observationOf(true, 2, 1, "abc", held{"b": sh(0), "d": sh(2), "e": sh(2, 5)}),
			map[string]string{"a": "1 lacks shard 2 of k=2", "b": "counts 1", "c": "1 lacks shard 5 of k=2",
				"d": "1, sends shard 2 of k=2 to a", "e": "1, sends shard 5 of k=2 to c"}},
		{"a node that is down keeps a number", observationOf(true, 2, 2, "aBcd", held{"c": sh(0), "d": sh(3)}),
			map[string]string{"a": "0 lacks shard 1 of k=2", "c": "counts 0, makes shard 1 of k=2 for a", "d": "0"}},
		{"the same shard twice counts once", observationOf(true, 2, 1, "abc", held{"a": sh(1), "b": sh(1), "c": sh(0)}),
			map[string]string{"a": "counts 0, makes shard 2 of k=2 for b", "b": "0 lacks shard 2 of k=2"}},
		{"a node with two shards may stand for either", observationOf(true, 2, 1, "abc", held{"a": sh(0, 1), "b": sh(0), "c": sh(1, 2)}),
			map[string]string{"a": "counts 1 complete", "b": "1 complete", "c": "1 complete, drops [shard 1 of k=2]"}},
		{"shards are moved also if they are too few", observationOf(true, 2, 1, "abc", held{"d": sh(1)}),
			map[string]string{"a": "-1 lacks shard 0 of k=2", "b": "-1 lacks shard 1 of k=2", "d": "counts -1, sends shard 1 of k=2 to b"}},
		{"shards are made from replicas", observationOf(true, 2, 1, "abc", held{"a": whole, "b": whole}),
			map[string]string{"a": "counts 1 lacks shard 0 of k=2, makes shard 0 of k=2 for a, makes shard 1 of k=2 for b, makes shard 2 of k=2 for c",
				"b": "1 lacks shard 1 of k=2"}},
		{"replicas are made from shards", observationOf(false, 1, 1, "ab", held{"a": sh(0), "b": sh(1), "c": sh(2)}),
			map[string]string{"a": "counts 1 lacks whole, makes whole for a, makes whole for b", "c": "1"}},
		{"parts of the old form are dropped when the new form is complete", observationOf(true, 2, 0, "ab", held{"a": {0, schemas.ShardOfSeal(2, 1, 0)}, "b": sh(1), "c": whole}),
			map[string]string{"a": "counts 1 complete, drops [whole]", "b": "1 complete", "c": "1 complete, drops [whole]"}},
		{"shards of another k are replaced", observationOf(true, 3, 0, "abc", held{"a": sh(0), "b": sh(1), "c": sh(2)}),
			map[string]string{"a": "counts 1 lacks shard 0 of k=3, makes shard 0 of k=3 for a, makes shard 1 of k=3 for b, makes shard 2 of k=3 for c"}},
		{"nothing is split for fewer nodes than k", observationOf(true, 3, 1, "ab", held{"a": whole, "b": whole}),
			map[string]string{"a": "counts 1", "b": "1"}},
		{"a node rebuilds its own damaged part", observationOf(false, 1, 1, "ab", held{"b": whole}).damage("a", schemas.Whole),
			map[string]string{"a": "0 lacks whole, makes whole for a", "b": "counts 0, sends whole to a"}},
		{"a damaged part of a chunk that is lost stays", observationOf(false, 1, 1, "ab", nil).damage("a", schemas.Whole),
			map[string]string{"a": "-1 lacks whole"}},
		{"a damaged part is dropped when the chunk is complete", observationOf(false, 1, 1, "ab", held{"a": whole, "b": whole}).damage("c", schemas.Whole),
			map[string]string{"a": "counts 1 complete", "c": "1 complete, drops [whole]"}},
		{"a node that holds the part sends it in place of an idle one", observationOf(false, 1, 2, "abc", held{"b": whole, "c": whole}).setIdle("b"),
			map[string]string{"a": "1 lacks whole", "b": "counts 1, sends whole to a", "c": "1, sends whole to a"}},
		{"a node without the part does not send it in place of an idle one", observationOf(true, 2, 1, "abc", held{"b": sh(0), "c": sh(2), "d": sh(1), "e": sh(3)}).setIdle("d"),
			map[string]string{"b": "counts 2", "d": "2, sends shard 1 of k=2 to a", "e": "2"}},
		{"a node does not make a part in place of an idle one", observationOf(true, 2, 1, "abc", held{"b": sh(0), "c": sh(2)}).setIdle("b"),
			map[string]string{"b": "counts 0, makes shard 1 of k=2 for a", "c": "0"}},
	} {
		for node, want := range c.want {
			if got := c.o.share(schemas.NodeID(node)); got != want {
				t.Errorf("%s: the share of %s is\n%q, want\n%q", c.name, node, got, want)
			}
		}
	}
}

// damage makes it known that a node holds a damaged part; only that node knows it.
func (o *observation) damage(node schemas.NodeID, part schemas.Part) *observation {
	o.me, o.damaged = node, []schemas.Part{part}
	return o
}

func (o *observation) setIdle(node schemas.NodeID) *observation {
	o.idle = []schemas.NodeID{node}
	return o
}

// share is what one node does by the plan that it makes itself.
func (o *observation) share(node schemas.NodeID) string {
	mine := *o
	if mine.me = node; node != o.me {
		mine.damaged = nil
	}
	p := mine.plan()
	text := fmt.Sprint(p.margin)
	if p.counter == node {
		text = "counts " + text
	}
	if p.complete {
		text += " complete"
	}
	for _, l := range p.missing {
		if l.node == node {
			text += " lacks " + l.part.String()
		}
	}
	jobs := 0
	for _, j := range p.jobs {
		switch {
		case j.by != node:
			continue
		case j.makes:
			text += fmt.Sprintf(", makes %v for %s", j.part, j.to)
		default:
			text += fmt.Sprintf(", sends %v to %s", j.part, j.to)
		}
		jobs++
	}
	if jobs != p.jobsOf(node) {
		text += fmt.Sprintf(", and has %d jobs", p.jobsOf(node))
	}
	if drops := p.dropsOf(node); len(drops) > 0 {
		text += fmt.Sprintf(", drops %v", drops)
	}
	return text
}

// Nodes with the same observation make the same plan, whichever of them makes it.
func TestPlanDoesNotDependOnTheNode(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		held := m.drawHeld(t, nil)
		m.drawPolicy(t)
		m.observe(held)
		m.me = ""
		want := m.plan()
		for _, m.me = range m.all {
			got := m.plan()
			got.surplus = want.surplus // the only thing that is told of the node itself
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("%v held, assigned to %v: the plan of %s is %+v, want %+v", m.held, m.assigned, m.me, got, want)
			}
		}
	})
}

// model is a chunk on some nodes, which observe the same and act at the same time.
type model struct {
	observation
	t     *rapid.T
	all   []schemas.NodeID
	up    map[schemas.NodeID]bool
	ranks []schemas.NodeID // all, as placement ranks them
	stays map[schemas.NodeID]bool
}

func newModel(t *rapid.T) *model {
	m := &model{t: t, up: map[schemas.NodeID]bool{}, stays: map[schemas.NodeID]bool{}}
	for i := range rapid.IntRange(1, 8).Draw(t, "nodes") {
		n := schemas.NodeID('a' + rune(i))
		m.all = append(m.all, n)
		m.up[n], m.stays[n] = true, true
	}
	m.ranks = rapid.Permutation(m.all).Draw(t, "ranks")
	return m
}

func (m *model) drawPolicy(t *rapid.T) {
	k := rapid.IntRange(1, 4).Draw(t, "k")
	m.durability = schemas.Durability{K: uint8(k), M: uint8(rapid.IntRange(0, 3).Draw(t, "m"))}
	m.split = k > 1 && rapid.Bool().Draw(t, "split")
}

var anyPart = rapid.Custom(func(t *rapid.T) schemas.Part {
	if k := rapid.IntRange(1, 4).Draw(t, "k"); k > 1 {
		return schemas.ShardOfSeal(k, uint32(rapid.IntRange(1, 2).Draw(t, "seal id")), rapid.IntRange(0, 6).Draw(t, "shard"))
	}
	return schemas.Whole
})

// drawHeld lets something happen to each node, and returns what they hold then.
func (m *model) drawHeld(t *rapid.T, held []placedPart) []placedPart {
	for _, n := range m.all {
		switch rapid.IntRange(0, 9).Draw(t, "what happens to "+string(n)) {
		case 0: // stops
			m.up[n] = false
			m.stays[n] = rapid.Bool().Draw(t, "for a while")
		case 1: // drains
			m.up[n], m.stays[n] = true, false
		case 2: // comes back empty
			m.up[n], m.stays[n] = true, true
			held = slices.DeleteFunc(held, func(l placedPart) bool { return l.node == n })
		case 3, 4: // comes back
			m.up[n], m.stays[n] = true, true
		case 5: // is given a part
			if l := (placedPart{n, anyPart.Draw(t, "part")}); !slices.Contains(held, l) {
				held = append(held, l)
			}
		}
	}
	return held
}

// observe makes the observation that all nodes have.
func (m *model) observe(held []placedPart) {
	m.assigned = m.assigned[:0]
	for _, n := range m.ranks {
		if m.stays[n] && len(m.assigned) < m.wanted() {
			m.assigned = append(m.assigned, n)
		}
	}
	m.responded = func(n schemas.NodeID) bool { return m.up[n] }
	m.held = m.held[:0]
	for _, l := range held {
		if m.up[l.node] {
			m.held = append(m.held, l)
		}
	}
	sortPlaced(m.held)
}

// recoverable reports whether the parts make the chunk.
func recoverable(held []placedPart) bool { return sealing(held) != 0 }

// replicaSeal is the seal id of all whole replicas; shards may have others.
const replicaSeal = 3

// sealing is the seal id of the chunk that a fetch of it returns, 0 if it fails.
func sealing(held []placedPart) uint32 {
	shards := map[schemas.Part]map[schemas.Part]bool{}
	for _, l := range held {
		if l.part == schemas.Whole {
			return replicaSeal
		}
		stripe := l.part.Stripe()
		if shards[stripe] == nil {
			shards[stripe] = map[schemas.Part]bool{}
		}
		shards[stripe][l.part] = true
	}
	for _, stripe := range slices.Sorted(maps.Keys(shards)) {
		if len(shards[stripe]) >= stripe.K() {
			return stripe.SealID()
		}
	}
	return 0
}

// result is where a job puts parts.
func (m *model) result(j job) (all []placedPart) {
	id := sealing(m.held)
	switch {
	case !j.makes || !m.split || id == j.part.SealID():
		return []placedPart{{j.to, j.part}}
	case j.part.SealID() == 0:
		return []placedPart{{j.to, schemas.ShardOfSeal(m.k(), id, j.part.Shard())}}
	}
	for i, n := range m.assigned {
		if m.up[n] {
			all = append(all, placedPart{n, schemas.ShardOfSeal(m.k(), id, i)})
		}
	}
	return all
}

// step lets all nodes make their plans of one observation, then carry out their shares.
func (m *model) step(held []placedPart) []placedPart {
	m.observe(held)
	was := recoverable(m.held)
	after := slices.Clone(held)
	counted := 0
	sent := map[placedPart]bool{}
	var drops []placedPart
	for _, m.me = range m.all {
		if !m.up[m.me] {
			continue
		}
		p := m.plan()
		if p.counter == m.me {
			counted++
		}
		if was != (p.margin >= 0) {
			m.t.Fatalf("%v: recoverable: %v, margin %d", m.held, was, p.margin)
		}
		for _, j := range p.jobs {
			if j.by != m.me {
				continue
			}
			to := placedPart{j.to, j.part}
			switch {
			case sent[to]:
				m.t.Fatalf("%v assigned to %v: %v is sent twice", m.held, m.assigned, to)
			case !m.up[j.to] || !slices.Contains(m.assigned, j.to):
				m.t.Fatalf("%v is sent to a node that is not assigned or not up", to)
			case !j.makes && !m.holds(m.me, j.part), j.makes && !was:
				m.t.Fatalf("%s cannot send %v", m.me, to)
			}
			sent[to] = true
			for _, l := range m.result(j) {
				if !slices.Contains(after, l) {
					after = append(after, l)
				}
			}
		}
		for _, part := range p.dropsOf(m.me) {
			if !p.complete || !m.holds(m.me, part) {
				m.t.Fatalf("%s drops %v too early", m.me, part)
			}
			drops = append(drops, placedPart{m.me, part})
		}
	}
	if (counted == 1) != (len(m.held) > 0) {
		m.t.Fatalf("%v: counted by %d", m.held, counted)
	}
	after = slices.DeleteFunc(after, func(l placedPart) bool { return slices.Contains(drops, l) })
	m.observe(after)
	if was && !recoverable(m.held) {
		m.t.Fatalf("the chunk is lost: %v, assigned to %v", m.held, m.assigned)
	}
	return after
}

// Whatever nodes hold and whatever happens to them: when nothing happens any more, the
// wanted parts are on the assigned nodes, and no part is anywhere else; and meanwhile nothing
// is lost, or sent twice.
func TestPlansConverge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		var held []placedPart
		for range rapid.IntRange(1, 4).Draw(t, "events") {
			m.drawPolicy(t)
			held = m.drawHeld(t, held)
			for range rapid.IntRange(0, 3).Draw(t, "steps") {
				held = m.step(held)
			}
		}
		for range 6 {
			held = m.step(held)
		}
		m.checkComplete(t, held)
	})
}

// checkComplete fails the test unless the chunk is complete, as far as it can be.
func (m *model) checkComplete(t *rapid.T, held []placedPart) {
	m.observe(held)
	if !recoverable(m.held) || len(m.assigned) < m.k() {
		return
	}
	m.chooseStripe()
	allUp := true
	for i, l := range m.match(m.assigned) {
		allUp = allUp && m.up[m.assigned[i]]
		if l == nil && m.up[m.assigned[i]] {
			t.Fatalf("%s lacks its part: %v", m.assigned[i], m.held)
		}
	}
	if !allUp || len(m.assigned) < m.wanted() {
		return
	}
	for _, l := range m.held {
		if !slices.Contains(m.assigned, l.node) || !m.isWanted(l.part) {
			t.Fatalf("%v is left: %v, assigned to %v", l, m.held, m.assigned)
		}
	}
}

// A chunk survives the loss of any margin nodes. If each node holds one part and no two hold
// the same shard, it does not survive the loss of some margin+1 nodes.
func TestMargin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var o observation
		o.responded = func(schemas.NodeID) bool { return true }
		nodes := rapid.IntRange(1, 7).Draw(t, "nodes")
		simple := rapid.Bool().Draw(t, "simple")
		for i := range nodes {
			most := 3
			if simple {
				most = 1
			}
			for range rapid.IntRange(0, most).Draw(t, "parts") {
				l := placedPart{node: schemas.NodeID('a' + rune(i))}
				switch {
				case rapid.Bool().Draw(t, "whole"):
				case simple:
					l.part = schemas.ShardOfSeal(2, 1, i)
				default:
					l.part = schemas.ShardOfSeal(rapid.IntRange(2, 3).Draw(t, "k"), uint32(rapid.IntRange(1, 2).Draw(t, "seal id")), rapid.IntRange(0, 4).Draw(t, "shard"))
				}
				if !slices.Contains(o.held, l) {
					o.held = append(o.held, l)
				}
			}
		}
		sortPlaced(o.held)
		least := nodes + 1 // losses after which the chunk is lost
		for lost := range 1 << nodes {
			left := slices.DeleteFunc(slices.Clone(o.held), func(l placedPart) bool { return lost>>(l.node[0]-'a')&1 == 1 })
			if !recoverable(left) {
				least = min(least, bits.OnesCount(uint(lost)))
			}
		}
		if margin := o.margin(); margin > least-1 || (margin < 0) != (least == 0) || simple && margin != least-1 {
			t.Fatalf("%v: the margin is %d, but after %d losses the chunk is lost", o.held, margin, least)
		}
	})
}
