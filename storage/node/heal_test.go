package node_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"servidor-backup/bus"
	"servidor-backup/bus/bustest"
	"servidor-backup/schemas"
	"servidor-backup/schemas/erasure"
	"servidor-backup/schemas/placement"
	"servidor-backup/storage/node"
	"servidor-backup/storage/storagetest"
)

var (
	d11 = schemas.Durability{K: 1, M: 1}
	d12 = schemas.Durability{K: 1, M: 2}
	d21 = schemas.Durability{K: 2, M: 1}
	d42 = schemas.Durability{K: 4, M: 2}
)

// What nodes held that are gone is made anew at those that are left, and at new ones.
func TestNodesAreLost(t *testing.T) {
	for name, c := range map[string]struct {
		d                  schemas.Durability
		nodes, lost, added int
	}{
		"1+1": {d11, 4, 1, 0},
		"1+2": {d12, 5, 2, 0},
		"2+1": {d21, 5, 1, 0},
		"4+2": {d42, 6, 2, 2},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSystem(t, c.nodes, c.d, node.Options{})
			chunks := s.some(60)
			s.save(chunks...)
			s.counted(60)
			if n := s.sum(healed); n != 0 {
				t.Errorf("%d parts were healed where nothing was wrong", n)
			}
			for range c.lost {
				s.nodes[1].lose()
			}
			for range c.added {
				s.add()
			}
			s.atHome(chunks...)
			s.counted(60)
		})
	}
}

// A node that is down keeps its place; when it is back it gets what it missed, and
// nothing else.
func TestNodeComesBack(t *testing.T) {
	s := newSystem(t, 4, d11, node.Options{})
	before := s.some(40)
	s.save(before...)
	n := s.nodes[2]
	n.down()
	missed := s.some(40)
	s.save(missed...) // where there is room
	s.surveyed()
	if n := s.sum(healed); n != 0 {
		t.Errorf("%d parts were made anew of what the node has", n)
	}
	n.back()
	all := append(before, missed...)
	s.atHome(all...)
	s.counted(int64(len(all)))
	homes := placement.NewAssigned(s.nodeMap())
	var want int64
	for i := range missed {
		if slices.Contains(homes.Place(nil, missed[i].ID, 2), n.id) {
			want++
		}
	}
	if got := s.sum(healed); got != want {
		t.Errorf("%d parts were brought to the node, which missed %d", got, want)
	}
}

// A node that is drained has nothing left, and nothing was ever missing meanwhile.
func TestDrain(t *testing.T) {
	for _, d := range []schemas.Durability{d11, d21} {
		t.Run(d.String(), func(t *testing.T) {
			s := newSystem(t, 4, d, node.Options{})
			chunks := s.some(60)
			s.save(chunks...)
			n := s.nodes[0]
			held := n.store.Stats().Chunks
			s.set(n, schemas.Draining)
			s.atHome(chunks...)
			s.counted(60)
			if left := n.store.Stats().Chunks; left != 0 {
				t.Errorf("the node that is drained still holds %d parts", left)
			}
			// Nothing is made that is there.
			if moved, dropped := s.sum(healed), n.status().Survey.Dropped; moved != held || dropped != held {
				t.Errorf("of %d parts %d were moved and %d dropped", held, moved, dropped)
			}
		})
	}
}

// Who is to give a part away may have looked before there was anything to give, and will
// not look for long. A stray that sees it gives the part itself.
func TestStrayDoesNotWaitForASleeper(t *testing.T) {
	for _, d := range []schemas.Durability{d11, d21} {
		t.Run(d.String(), func(t *testing.T) {
			s := newSystem(t, d.Nodes(), d, node.Options{Survey: time.Hour})
			s.opt.Survey = 100 * time.Millisecond
			awake := s.add()
			s.surveyed()
			// What a client leaves when one of the home set was silent.
			homes := placement.NewAssigned(s.nodeMap())
			var chunks []schemas.Chunk
			for len(chunks) < 5 {
				c := s.Data(100_000)
				home := homes.Place(nil, c.ID, d.Nodes())
				if slices.Contains(home, awake.id) {
					continue
				}
				parts := []schemas.Chunk{c, c}
				if d.K > 1 {
					var err error
					if parts, _, err = erasure.Split(d, &c, nil); err != nil {
						t.Fatal(err)
					}
				}
				home[len(home)-1] = awake.id
				for i, id := range home {
					storagetest.Put(t, s.find(id).store, parts[i])
				}
				chunks = append(chunks, c)
			}
			s.atHome(chunks...)
		})
	}
}

// As long as there is nobody who could have it, what a drained node holds stays.
func TestDrainOfTooFew(t *testing.T) {
	s := newSystem(t, 2, d11, node.Options{})
	chunks := s.some(8)
	s.save(chunks...)
	s.set(s.nodes[0], schemas.Draining)
	s.surveyed()
	storagetest.Holds(t, s.nodes[0].store, chunks...)
	if st := s.nodes[0].status().Survey; st.Misplaced != 8 || st.Dropped != 0 {
		t.Errorf("the node says %+v", st)
	}
	s.add()
	s.atHome(chunks...)
}

// A node that is new gets its share and no more.
func TestGrow(t *testing.T) {
	const chunks, size = 6000, 200
	s := newSystem(t, 5, d11, node.Options{})
	var all []schemas.Chunk
	for range chunks {
		all = append(all, s.Data(size))
	}
	s.save(all...)
	s.counted(chunks)
	n := s.add()
	s.counted(chunks)
	s.atHome(all...)
	moved := s.sum(func(s schemas.Survey) int64 { return s.Bytes })
	if share := float64(chunks*2*size) / 6; float64(moved) > 1.1*share || moved != n.store.Stats().Bytes {
		t.Errorf("%d bytes were moved and %d are at the new node, whose share is %.0f", moved, n.store.Stats().Bytes, share)
	}
}

// What others bring to a node is counted soon, not when it would have looked anyway.
func TestNewcomerCounts(t *testing.T) {
	s := newSystem(t, 2, d11, node.Options{Survey: time.Hour})
	chunks := s.some(40)
	s.save(chunks...)
	s.counted(40)
	s.add()
	s.atHome(chunks...)
	s.counted(40)
}

// When the policy changes, what is stored becomes what it says.
func TestPolicyChanges(t *testing.T) {
	s := newSystem(t, 5, d11, node.Options{})
	chunks := s.some(40)
	s.save(chunks...)
	for _, d := range []schemas.Durability{d12, d21, {K: 3, M: 2}, d21, {K: 2, M: 2}, d11, {K: 1}} {
		s.policy(d)
		s.atHome(chunks...)
		s.counted(40)
	}
}

// Who takes nothing is left alone, and told of; others are healed meanwhile.
func TestTargetTakesNothing(t *testing.T) {
	s := newSystem(t, 3, d11, node.Options{})
	chunks := s.some(40)
	s.save(chunks...)
	s.counted(40)
	trouble := func(id schemas.NodeID, is string) {
		s.change(func(m *schemas.NodeMap) bool {
			m.Find(id).Trouble = is
			return true
		})
	}
	full := s.nodes[1]
	trouble(full.id, string(schemas.DiskFull))
	s.nodes[0].lose()
	bustest.Eventually(t, "it is said what healing waits for", func() bool {
		st := s.nodes[1].status().Survey
		return st.ToHeal > 0 && strings.Contains(st.Waiting, string(schemas.DiskFull))
	})
	trouble(full.id, "")
	s.atHome(chunks...)
	bustest.Eventually(t, "it does not wait any more", func() bool { return s.nodes[1].status().Survey.Waiting == "" })
}

// A power cut in the middle costs nothing.
func TestCrashWhileHealing(t *testing.T) {
	s := newSystem(t, 4, d21, node.Options{HealRate: 4 << 20})
	chunks := s.some(200)
	s.save(chunks...)
	s.counted(200)
	s.nodes[0].lose()
	for _, n := range s.nodes[:2] {
		bustest.Eventually(t, "something is healed", func() bool { return s.sum(healed) > 0 })
		n.crash()
	}
	s.atHome(chunks...)
	s.counted(200)
}

// While it heals, a node says how long that will take.
func TestTimeLeft(t *testing.T) {
	s := newSystem(t, 3, d11, node.Options{HealRate: 400_000})
	s.save(s.some(400)...)
	s.nodes[0].lose()
	bustest.Eventually(t, "it is said how long it takes", func() bool {
		return s.sum(func(s schemas.Survey) int64 {
			if s.Left > 0 && s.ToHeal == 0 || s.Left < 0 {
				t.Errorf("%+v", s)
			}
			return s.Left
		}) > int64(time.Second)
	})
}

// What is damaged is replaced, also at the node that others look to first.
func TestDamageIsReplaced(t *testing.T) {
	for _, d := range []schemas.Durability{d11, d21} {
		t.Run(d.String(), func(t *testing.T) {
			s := newSystem(t, 4, d, node.Options{})
			chunks := s.some(40)
			s.save(chunks...)
			s.counted(40)
			events := make(chan *nats.Msg, 100)
			if _, err := s.nc.ChanSubscribe(schemas.EventSubject(schemas.EventDamageFound), events); err != nil {
				t.Fatal(err)
			}
			for _, n := range s.nodes[:2] {
				held := n.store.Stats().Chunks
				n.damage("node/segments/00000001.seg")
				var rep schemas.ScrubReply
				if err := bus.Request(bustest.Patient(t), s.nc, schemas.ScrubSubject(n.id), &schemas.ScrubRequest{}, &rep); err != nil {
					t.Fatal(err)
				}
				bustest.Receive(t, "the news of the damage", events)
				s.atHome(chunks...)
				bustest.Eventually(t, "nothing is damaged any more", func() bool {
					st := n.store.Stats()
					return st.Corrupt == 0 && st.Chunks == held && n.status().Scrub.Found > 0 && n.status().Scrub.Ended > 0
				})
			}
			s.counted(40)
		})
	}
}

// Everything is read back in every period, without being asked; and how far that has
// come is known after a restart.
func TestScrubPeriod(t *testing.T) {
	s := newSystem(t, 1, schemas.Durability{K: 1}, node.Options{ScrubPeriod: 2 * time.Second})
	n := s.nodes[0]
	s.save(s.some(40)...)
	bustest.Eventually(t, "a round", func() bool { return n.status().Scrub.Ended > 0 })
	ended := n.status().Scrub.Ended / 1e9
	n.stop()
	n.start()
	if st := n.status().Scrub; st.Ended/1e9 != ended {
		t.Errorf("after the restart it is %+v", st)
	}
}

// damage flips a bit in every 50 KB of a file.
func (n *member) damage(name string) {
	n.s.t.Helper()
	f, err := n.fs.OpenReadWrite(name, "damage")
	if err != nil {
		n.s.t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		n.s.t.Fatal(err)
	}
	b := make([]byte, 1)
	for at := int64(50_000); at < info.Size(); at += 50_000 {
		if _, err := f.ReadAt(b, at); err != nil {
			n.s.t.Fatal(err)
		}
		b[0] ^= 4
		if _, err := f.WriteAt(b, at); err != nil {
			n.s.t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		n.s.t.Fatal(err)
	}
}
