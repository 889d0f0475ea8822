package members

import (
	"testing"
	"time"

	"servidor-backup/schemas"
)

// runCard is a card of the node "abc" in a run of its folder, sent by the process that started at
// that time.
func runCard(started int64, seq uint64, run, position uint64, before ...uint64) *schemas.RegisterRequest {
	c := orderedCard(schemas.Up, started, seq)
	c.Run, c.Before, c.Position = run, before, position
	return c
}

// A folder that does not know the last run of its node, or is less far written than it was, is an
// older one. Nothing that was committed before is taken to be held any more.
func TestOlderFolders(t *testing.T) {
	down := func(c *schemas.RegisterRequest) *schemas.RegisterRequest {
		c.Node.State = schemas.Down
		return c
	}
	for name, c := range map[string]struct {
		cards []*schemas.RegisterRequest // one after the other; a goodbye is delivered, others register
		older bool
	}{
		"restart":                  {[]*schemas.RegisterRequest{runCard(1, 1, 10, 5), runCard(2, 1, 11, 5, 10)}, false},
		"starts without us":        {[]*schemas.RegisterRequest{runCard(1, 1, 10, 5), runCard(4, 1, 13, 7, 10, 11, 12)}, false},
		"same run again":           {[]*schemas.RegisterRequest{runCard(1, 1, 10, 5), runCard(1, 7, 10, 9)}, false},
		"an older program between": {[]*schemas.RegisterRequest{runCard(1, 1, 10, 5), runCard(2, 1, 0, 0), runCard(3, 1, 11, 2, 9)}, false},
		"older folder": {[]*schemas.RegisterRequest{runCard(1, 1, 10, 5, 9), down(runCard(1, 2, 10, 6)),
			runCard(2, 1, 20, 5, 9)}, true},
		"folder from before the first run": {[]*schemas.RegisterRequest{runCard(1, 1, 10, 5), down(runCard(1, 2, 10, 6)),
			runCard(2, 1, 20, 5)}, true},
		"state of a running folder, after a goodbye": {[]*schemas.RegisterRequest{runCard(1, 1, 10, 5), down(runCard(1, 2, 10, 90)),
			runCard(2, 1, 11, 50, 10)}, true},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, 2, Options{DownAfter: time.Hour})
			m, other := f.all[0], f.all[1]
			var before Basis
			var rep *schemas.RegisterReply
			for i, card := range c.cards {
				if i == len(c.cards)-1 {
					before = m.basisNow()
				}
				if card.Node.State == schemas.Down {
					f.deliver(m, card)
				} else if rep = f.register(m, card); rep.Err() != nil {
					t.Fatal(rep.Err())
				}
			}
			if rep.Older != c.older || m.Map().Find("abc").Older > 0 != c.older {
				t.Errorf("the folder is older: %v, the map says %v; want %v", rep.Older, m.Map().Find("abc").Older > 0, c.older)
			}
			if m.Holds(before) == c.older || !m.Holds(m.basisNow()) {
				t.Errorf("what was committed before is held: %v, what is committed now: %v", m.Holds(before), m.Holds(m.basisNow()))
			}
			f.waitSame(m, other)
			if other.Holds(before) == c.older {
				t.Errorf("another coordinator takes what was committed before to be held: %v", other.Holds(before))
			}
			// Another coordinator that starts later knows it too, and it is not counted twice.
			last := c.cards[len(c.cards)-1]
			last.Seq += 100
			later := f.start(Options{DownAfter: time.Hour})
			now := later.basisNow()
			if f.register(later, last).Older || !later.Holds(now) || later.Holds(before) == c.older {
				t.Errorf("a later coordinator knows something else")
			}
		})
	}
}

// basisNow is the basis of a version that tolerates no loss and begins now.
func (m *Members) basisNow() Basis { return Basis{Epoch: m.Map().Epoch, Losses: m.losses()} }

// waitSame waits until other knows the map that m knows.
func (f *fixture) waitSame(m, other *Members) {
	f.t.Helper()
	if err := other.waitFor(f.t.Context(), m.Map().Epoch); err != nil {
		f.t.Fatal(err)
	}
}

// What a node was heard to have within a run it must have after it, if it ends without a goodbye.
func TestOlderFolderAfterACrash(t *testing.T) {
	f := newFixture(t, 1, Options{DownAfter: time.Hour})
	m := f.all[0]
	f.mustRegister(m, runCard(1, 1, 10, 5))
	f.deliver(m, runCard(1, 2, 10, 90))
	before := m.basisNow()
	f.silent(m)
	if rep := f.register(m, runCard(2, 1, 11, 50, 10)); !rep.Older || m.Holds(before) {
		t.Error("a folder that was further before is not noticed")
	}
}

// While a node responds, a copy of its folder is refused. It is an older folder when the node has
// not been heard for long enough.
func TestCopyIsRefusedWhileTheNodeResponds(t *testing.T) {
	f := newFixture(t, 1, Options{DownAfter: time.Hour})
	m := f.all[0]
	f.mustRegister(m, runCard(1, 1, 10, 5, 9))
	if _, err := m.Register(t.Context(), runCard(2, 1, 20, 5, 9)); schemas.CodeOf(err) != schemas.NotNow {
		t.Errorf("the copy registers with %v", err)
	}
	f.wantState("after a copy was refused", schemas.Up)
	goodbye := runCard(2, 2, 20, 5, 9)
	goodbye.Node.State = schemas.Down
	f.deliver(m, goodbye)
	f.wantState("after the goodbye of a copy", schemas.Up)
	f.deliver(m, runCard(1, 2, 10, 7, 9))
	if h, _ := m.heardOf("abc"); h.position != 7 {
		t.Error("the node itself is not heard any more")
	}
	f.silent(m)
	if rep := f.register(m, runCard(3, 1, 20, 5, 9)); !rep.Older {
		t.Error("the older folder is not noticed")
	}
}

// silent makes the node "abc" one that was last heard long ago.
func (f *fixture) silent(m *Members) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.nodes["abc"].respondedAt = time.Now().Add(-2 * m.opt.DownAfter)
}

// Damage that is not known any more may have been healed, or may have gone with what was damaged.
// So it counts as a loss from then on, and while it is known.
func TestDamageIsRemembered(t *testing.T) {
	f := newFixture(t, 1, Options{DownAfter: time.Hour})
	m := f.all[0]
	f.mustRegister(m, runCard(1, 1, 10, 5))
	before := m.basisNow()
	for seq, damaged := range []int64{0, 3, 2, 0} {
		if held := m.Holds(before); held != (seq < 2) {
			t.Errorf("before card %d what was committed is held: %v", seq, held)
		}
		c := runCard(1, uint64(seq)+2, 10, 5)
		c.Node.Damaged = damaged
		f.deliver(m, c)
	}
	if m.Holds(before) || !m.Holds(m.basisNow()) {
		t.Error("damage that is not known any more counts for nothing, or for ever")
	}
}
