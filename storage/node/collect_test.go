package node_test

import (
	"testing"

	"servidor-backup/bus/bustest"
	"servidor-backup/schemas"
	"servidor-backup/storage/node"
	"servidor-backup/storage/nodetest"
	"servidor-backup/storage/storagetest"
)

var (
	d11 = schemas.Durability{K: 1, M: 1}
	d21 = schemas.Durability{K: 2, M: 1}
)

// idBytes returns the ids of chunks one after the other.
func idBytes(chunks []schemas.Chunk) (b []byte) {
	for i := range chunks {
		b = append(b, chunks[i].ID[:]...)
	}
	return b
}

// startGeneration tells a node that a collection begins.
func startGeneration(t *testing.T, n *nodetest.Member, g uint32) {
	t.Helper()
	if err := n.Request(schemas.GenerationSubject, &schemas.GenerationRequest{Generation: g}, new(schemas.GenerationReply)); err != nil {
		t.Fatal(err)
	}
}

func mark(n *nodetest.Member, g uint32, chunks []schemas.Chunk) error {
	req := &schemas.MarkRequest{Generation: g, Vault: storagetest.Vault, IDs: idBytes(chunks)}
	return n.Request(schemas.MarkSubject, req, new(schemas.MarkReply))
}

func sweep(n *nodetest.Member, g, before uint32, epoch uint64) error {
	req := &schemas.SweepRequest{Generation: g, Before: before, Epoch: epoch}
	return n.Request(schemas.SweepSubject, req, new(schemas.SweepReply))
}

// collect does what a coordinator does in a collection that needs the given chunks only.
func collect(t *testing.T, s *nodetest.System, generation uint32, needed ...schemas.Chunk) {
	t.Helper()
	epoch := s.NodeMap().Epoch
	for _, n := range s.Nodes {
		startGeneration(t, n, generation)
	}
	for _, n := range s.Nodes {
		if err := mark(n, generation, needed); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range s.Nodes {
		if err := sweep(n, generation, generation, epoch); err != nil {
			t.Fatal(err)
		}
		bustest.Eventually(t, "the sweep's end", func() bool {
			st := n.Status().Sweep
			if st != nil && st.Error != "" {
				t.Fatal(st.Error)
			}
			return st != nil && st.Generation == generation && st.Ended
		})
	}
}

// Garbage is swept, although nodes ask each other for it all the time, move it to the nodes
// that it is assigned to, and pin it; and needed chunks stay.
func TestGarbageIsSweptWhileNodesHeal(t *testing.T) {
	for _, d := range []schemas.Durability{d11, d21} {
		t.Run(d.String(), func(t *testing.T) {
			s := nodetest.New(t, 4, d, node.Options{})
			collect(t, s, 1, s.Chunks(1)...) // the first generation
			needed, garbage := s.Chunks(30), s.Chunks(30)
			s.Save(needed...)
			s.Save(garbage...)
			s.AwaitCounts(60)
			s.Add()
			s.Nodes[1].Lose()
			left := func() (parts int) {
				for _, n := range s.Nodes {
					for i := range garbage {
						parts += len(n.Parts(garbage[i].ID))
					}
				}
				return parts
			}
			if left() == 0 {
				t.Fatal("there is no garbage to collect")
			}
			for generation := uint32(2); left() > 0; generation++ {
				if generation > 4 {
					t.Fatalf("%d parts of garbage are left", left())
				}
				s.AwaitSurveys()
				bustest.Eventually(t, "nothing is left to heal", func() bool {
					return s.Sum(func(s schemas.Survey) int64 { return s.ToHeal + s.Misplaced }) == 0
				})
				collect(t, s, generation, needed...)
			}
			s.AwaitComplete(needed...)
			s.AwaitCounts(30)
		})
	}
}

// Requests of another collection, or under another map, are refused.
func TestRequestsOfOtherCollectionsAreRefused(t *testing.T) {
	s := nodetest.New(t, 1, schemas.Durability{K: 1}, node.Options{})
	n := s.Nodes[0]
	chunks := s.Chunks(3)
	s.Save(chunks...)
	epoch := s.NodeMap().Epoch
	startGeneration(t, n, 5)
	storagetest.Code(t, mark(n, 4, chunks), schemas.NotNow)
	storagetest.Code(t, sweep(n, 4, 4, epoch), schemas.NotNow)
	storagetest.Code(t, sweep(n, 5, 5, epoch+1), schemas.NotNow)
	storagetest.Code(t, sweep(n, 5, 4, epoch), schemas.TooEarly)
	if err := mark(n, 5, chunks); err != nil {
		t.Error(err)
	}
	n.Stop()
	n.Start()
	bustest.Eventually(t, "the node follows the map", func() bool { return n.Status().Epoch == epoch })
	storagetest.Code(t, sweep(n, 5, 5, epoch), schemas.TooEarly)
	startGeneration(t, n, 6)
	if err := mark(n, 6, chunks); err != nil {
		t.Error(err)
	}
	for range 2 { // the second request finds the sweep started
		if err := sweep(n, 6, 6, epoch); err != nil {
			t.Error(err)
		}
	}
	bustest.Eventually(t, "the end of the sweep", func() bool { st := n.Status().Sweep; return st != nil && st.Ended })
	storagetest.Holds(t, n.Store, chunks...)
}
