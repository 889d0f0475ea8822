package heal_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"servidor-backup/bus/bustest"
	"servidor-backup/schemas"
	"servidor-backup/schemas/erasure"
	"servidor-backup/schemas/placement"
	"servidor-backup/storage/node"
	"servidor-backup/storage/nodetest"
	"servidor-backup/storage/storagetest"
)

var (
	d11 = schemas.Durability{K: 1, M: 1}
	d12 = schemas.Durability{K: 1, M: 2}
	d21 = schemas.Durability{K: 2, M: 1}
	d42 = schemas.Durability{K: 4, M: 2}
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The parts of nodes that are gone are rebuilt on the remaining nodes, and on new ones.
func TestPartsOfGoneNodesAreRebuilt(t *testing.T) {
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
			s := nodetest.New(t, c.nodes, c.d, node.Options{})
			chunks := s.Chunks(60)
			s.Save(chunks...)
			s.AwaitCounts(60)
			if n := s.Sum(nodetest.Healed); n != 0 {
				t.Errorf("%d parts were healed where nothing was wrong", n)
			}
			for range c.lost {
				s.Nodes[1].Lose()
			}
			for range c.added {
				s.Add()
			}
			s.AwaitComplete(chunks...)
			s.AwaitCounts(60)
		})
	}
}

// A node that is down stays assigned. When it is back it gets the parts that it missed, and
// nothing else.
func TestNodeThatComesBackGetsWhatItMissed(t *testing.T) {
	s := nodetest.New(t, 4, d11, node.Options{})
	before := s.Chunks(40)
	s.Save(before...)
	n := s.Nodes[2]
	n.Down()
	missed := s.Chunks(40)
	s.Save(missed...) // on the nodes that are up
	s.AwaitSurveys()
	if n := s.Sum(nodetest.Healed); n != 0 {
		t.Errorf("%d parts were rebuilt that the node has", n)
	}
	n.Back()
	all := append(before, missed...)
	s.AwaitComplete(all...)
	s.AwaitCounts(int64(len(all)))
	placement := placement.NewAssigned(s.NodeMap())
	var want int64
	for i := range missed {
		if slices.Contains(placement.Place(nil, missed[i].ID, 2), n.ID) {
			want++
		}
	}
	if got := s.Sum(nodetest.Healed); got != want {
		t.Errorf("%d parts were sent to the node, which missed %d", got, want)
	}
}

// A node that is drained holds nothing in the end. Each part is moved once, and dropped only
// after it was moved.
func TestDrain(t *testing.T) {
	for _, d := range []schemas.Durability{d11, d21} {
		t.Run(d.String(), func(t *testing.T) {
			s := nodetest.New(t, 4, d, node.Options{})
			chunks := s.Chunks(60)
			s.Save(chunks...)
			n := s.Nodes[0]
			held := n.Store.Stats().Chunks
			s.SetState(n, schemas.Draining)
			s.AwaitComplete(chunks...)
			s.AwaitCounts(60)
			if left := n.Store.Stats().Chunks; left != 0 {
				t.Errorf("the drained node still holds %d parts", left)
			}
			if moved, dropped := s.Sum(nodetest.Healed), n.Status().Survey.Dropped; moved != held || dropped != held {
				t.Errorf("of %d parts %d were moved and %d dropped", held, moved, dropped)
			}
		})
	}
}

// The node that ought to send a part may have surveyed before there was anything to send, and
// be idle for long. Then an unassigned node that holds the part sends it.
func TestUnassignedNodeSendsInPlaceOfAnIdleOne(t *testing.T) {
	for _, d := range []schemas.Durability{d11, d21} {
		t.Run(d.String(), func(t *testing.T) {
			s := nodetest.New(t, d.Nodes(), d, node.Options{Survey: time.Hour})
			s.Opt.Survey = 100 * time.Millisecond
			awake := s.Add()
			s.AwaitSurveys()
			// As a client stores a chunk while an assigned node is unresponsive.
			placement := placement.NewAssigned(s.NodeMap())
			var chunks []schemas.Chunk
			for len(chunks) < 5 {
				c := s.Data(100_000)
				nodes := placement.Place(nil, c.ID, d.Nodes())
				if slices.Contains(nodes, awake.ID) {
					continue
				}
				parts := []schemas.Chunk{c, c}
				if d.K > 1 {
					var err error
					if parts, _, err = erasure.Split(d, &c, nil); err != nil {
						t.Fatal(err)
					}
				}
				nodes[len(nodes)-1] = awake.ID
				for i, id := range nodes {
					storagetest.Put(t, s.Find(id).Store, parts[i])
				}
				chunks = append(chunks, c)
			}
			s.AwaitComplete(chunks...)
		})
	}
}

// As long as there are too few other nodes, a drained node drops nothing.
func TestDrainWithTooFewNodesDropsNothing(t *testing.T) {
	s := nodetest.New(t, 2, d11, node.Options{})
	chunks := s.Chunks(8)
	s.Save(chunks...)
	s.SetState(s.Nodes[0], schemas.Draining)
	s.AwaitSurveys()
	storagetest.Holds(t, s.Nodes[0].Store, chunks...)
	if st := s.Nodes[0].Status().Survey; st.Misplaced != 8 || st.Dropped != 0 {
		t.Errorf("the status of the node is %+v", st)
	}
	s.Add()
	s.AwaitComplete(chunks...)
}

// A new node gets its share, and no other part is moved.
func TestNewNodeGetsItsShare(t *testing.T) {
	const chunks, size = 6000, 200
	s := nodetest.New(t, 5, d11, node.Options{})
	var all []schemas.Chunk
	for range chunks {
		all = append(all, s.Data(size))
	}
	s.Save(all...)
	s.AwaitCounts(chunks)
	n := s.Add()
	s.AwaitCounts(chunks)
	s.AwaitComplete(all...)
	moved := s.Sum(func(s schemas.Survey) int64 { return s.Bytes })
	if share := float64(chunks*2*size) / 6; float64(moved) > 1.1*share || moved != n.Store.Stats().Bytes {
		t.Errorf("%d bytes were moved and %d are on the new node, whose share is %.0f", moved, n.Store.Stats().Bytes, share)
	}
}

// A node counts the parts that other nodes have sent it soon, not in its next regular survey.
func TestReceivedPartsAreCountedSoon(t *testing.T) {
	s := nodetest.New(t, 2, d11, node.Options{Survey: time.Hour})
	chunks := s.Chunks(40)
	s.Save(chunks...)
	s.AwaitCounts(40)
	s.Add()
	s.AwaitComplete(chunks...)
	s.AwaitCounts(40)
}

// When the durability changes, stored chunks get the form that it wants.
func TestDurabilityChanges(t *testing.T) {
	s := nodetest.New(t, 5, d11, node.Options{})
	chunks := s.Chunks(40)
	s.Save(chunks...)
	for _, d := range []schemas.Durability{d12, d21, {K: 3, M: 2}, d21, {K: 2, M: 2}, d11, {K: 1}} {
		s.SetDurability(d)
		s.AwaitComplete(chunks...)
		s.AwaitCounts(40)
	}
}

// A node that takes no parts is left alone, and the status says so; other nodes are healed
// meanwhile.
func TestNodeThatTakesNoParts(t *testing.T) {
	s := nodetest.New(t, 3, d11, node.Options{})
	chunks := s.Chunks(40)
	s.Save(chunks...)
	s.AwaitCounts(40)
	setTrouble := func(id schemas.NodeID, trouble string) {
		s.Change(func(m *schemas.NodeMap) bool {
			m.Find(id).Trouble = trouble
			return true
		})
	}
	full := s.Nodes[1]
	setTrouble(full.ID, string(schemas.DiskFull))
	s.Nodes[0].Lose()
	bustest.Eventually(t, "the status says what healing waits for", func() bool {
		st := s.Nodes[1].Status().Survey
		return st.ToHeal > 0 && strings.Contains(st.Waiting, string(schemas.DiskFull))
	})
	setTrouble(full.ID, "")
	s.AwaitComplete(chunks...)
	bustest.Eventually(t, "healing waits for nothing", func() bool { return s.Nodes[1].Status().Survey.Waiting == "" })
}

// A power cut while nodes heal loses nothing.
func TestCrashWhileHealing(t *testing.T) {
	s := nodetest.New(t, 4, d21, node.Options{HealRate: 4 << 20})
	chunks := s.Chunks(200)
	s.Save(chunks...)
	s.AwaitCounts(200)
	s.Nodes[0].Lose()
	for _, n := range s.Nodes[:2] {
		bustest.Eventually(t, "a part is healed", func() bool { return s.Sum(nodetest.Healed) > 0 })
		n.Crash()
	}
	s.AwaitComplete(chunks...)
	s.AwaitCounts(200)
}

// While a node heals, its status says how long that will take.
func TestTimeLeft(t *testing.T) {
	s := nodetest.New(t, 3, d11, node.Options{HealRate: 400_000})
	s.Save(s.Chunks(400)...)
	s.Nodes[0].Lose()
	bustest.Eventually(t, "the status says how long healing takes", func() bool {
		return s.Sum(func(s schemas.Survey) int64 {
			if s.TimeLeft > 0 && s.ToHeal == 0 || s.TimeLeft < 0 {
				t.Errorf("%+v", s)
			}
			return s.TimeLeft
		}) > int64(time.Second)
	})
}

// Damaged parts are replaced, also on the node that the others ask first.
func TestDamagedPartsAreReplaced(t *testing.T) {
	for _, d := range []schemas.Durability{d11, d21} {
		t.Run(d.String(), func(t *testing.T) {
			s := nodetest.New(t, 4, d, node.Options{})
			chunks := s.Chunks(40)
			s.Save(chunks...)
			s.AwaitCounts(40)
			events := make(chan *nats.Msg, 100)
			if _, err := s.Conn.ChanSubscribe(schemas.EventSubject(schemas.EventDamageFound), events); err != nil {
				t.Fatal(err)
			}
			for _, n := range s.Nodes[:2] {
				held, before := n.Store.Stats().Chunks, n.Status().Scrub.Ended
				damage(t, n, chunks)
				if err := n.Request(schemas.ScrubSubject, &schemas.ScrubRequest{}, new(schemas.ScrubReply)); err != nil {
					t.Fatal(err)
				}
				bustest.Receive(t, "the event", events)
				// Until the scrub has found it, a damaged part is held like any other.
				bustest.Eventually(t, "a scrub has ended, and no part is damaged", func() bool {
					st := n.Store.Stats()
					return n.Status().Scrub.Ended > before && st.Corrupt == 0 && st.Chunks == held
				})
				s.AwaitComplete(chunks...)
			}
			s.AwaitCounts(40)
		})
	}
}

// damage flips a bit of every part that a node holds in its first segment and that has the
// beginning of a chunk. It flips none of a record's header: bytes that are no record stay in the
// segment when the part has been replaced, and the check at the end would find them.
func damage(t *testing.T, n *nodetest.Member, chunks []schemas.Chunk) {
	t.Helper()
	f, err := n.FS.OpenReadWrite(nodetest.Dir+"/segments/00000001.seg", "damage")
	if err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	all := make([]byte, info.Size())
	if _, err := f.ReadAt(all, 0); err != nil {
		t.Fatal(err)
	}
	flipped := 0
	for _, c := range chunks {
		at := bytes.Index(all, c.Content[:32])
		if at < 0 {
			continue
		}
		if _, err := f.WriteAt([]byte{all[at] ^ 4}, int64(at)); err != nil {
			t.Fatal(err)
		}
		flipped++
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if flipped == 0 {
		t.Fatal("the node holds no part to damage")
	}
}
