package node_test

import (
	"testing"

	"servidor-backup/bus"
	"servidor-backup/bus/bustest"
	"servidor-backup/schemas"
	"servidor-backup/schemas/erasure"
	"servidor-backup/storage/node"
	"servidor-backup/storage/storagetest"
)

// tell asks a node for something that a coordinator asks for.
func tell(n *member, subject string, req any, rep bus.Reply) error {
	n.s.t.Helper()
	return bus.Request(bustest.Patient(n.s.t), n.s.nc, subject, req, rep)
}

func idBytes(chunks []schemas.Chunk) (b []byte) {
	for i := range chunks {
		b = append(b, chunks[i].ID[:]...)
	}
	return b
}

// collect does what a coordinator does, for whom the chunks are all that is needed.
func (s *system) collect(generation uint32, needed ...schemas.Chunk) {
	s.t.Helper()
	epoch := s.nodeMap().Epoch
	for _, n := range s.nodes {
		if err := tell(n, schemas.GenerationSubject(n.id), &schemas.GenerationRequest{Generation: generation}, new(schemas.GenerationReply)); err != nil {
			s.t.Fatal(err)
		}
	}
	for _, n := range s.nodes {
		var rep schemas.MarkReply
		req := &schemas.MarkRequest{Generation: generation, Vault: storagetest.Vault, IDs: idBytes(needed)}
		if err := tell(n, schemas.MarkSubject(n.id), req, &rep); err != nil {
			s.t.Fatal(err)
		}
	}
	for _, n := range s.nodes {
		req := &schemas.SweepRequest{Generation: generation, Before: generation, Epoch: epoch}
		if err := tell(n, schemas.SweepSubject(n.id), req, new(schemas.SweepReply)); err != nil {
			s.t.Fatal(err)
		}
		bustest.Eventually(s.t, "the sweep's end", func() bool {
			st := n.status().Sweep
			if st != nil && st.Error != "" {
				s.t.Fatal(st.Error)
			}
			return st != nil && st.Generation == generation && st.Ended
		})
	}
}

// What nobody needs goes, although nodes ask each other for it all the time, send it to
// where it is at home and take each other's word for it; and what is needed stays.
func TestGarbageGoes(t *testing.T) {
	for _, d := range []schemas.Durability{d11, d21} {
		t.Run(d.String(), func(t *testing.T) {
			s := newSystem(t, 4, d, node.Options{})
			needed, garbage := s.some(30), s.some(30)
			s.save(needed...)
			s.save(garbage...)
			s.counted(60)
			s.collect(1, needed...) // which finds that the nodes have been there for longer
			s.add()
			s.nodes[1].lose()
			left := func() (parts int) {
				for _, n := range s.nodes {
					for i := range garbage {
						parts += len(n.parts(garbage[i].ID))
					}
				}
				return parts
			}
			for generation := uint32(2); left() > 0; generation++ {
				if generation > 4 {
					t.Fatalf("%d parts of garbage are still there", left())
				}
				s.surveyed()
				bustest.Eventually(t, "nothing is left to do", func() bool {
					return s.sum(func(s schemas.Survey) int64 { return s.ToHeal + s.Misplaced }) == 0
				})
				s.collect(generation, needed...)
			}
			s.atHome(needed...)
			s.counted(30)
		})
	}
}

// What belongs to another collection, or to another map, is refused.
func TestOtherCollections(t *testing.T) {
	s := newSystem(t, 1, schemas.Durability{K: 1}, node.Options{})
	n := s.nodes[0]
	chunks := s.some(3)
	s.save(chunks...)
	epoch := s.nodeMap().Epoch
	mark := func(g uint32) error {
		return tell(n, schemas.MarkSubject(n.id), &schemas.MarkRequest{Generation: g, Vault: storagetest.Vault, IDs: idBytes(chunks)}, new(schemas.MarkReply))
	}
	sweep := func(g, before uint32, epoch uint64) error {
		return tell(n, schemas.SweepSubject(n.id), &schemas.SweepRequest{Generation: g, Before: before, Epoch: epoch}, new(schemas.SweepReply))
	}
	begin := func(g uint32) {
		t.Helper()
		if err := tell(n, schemas.GenerationSubject(n.id), &schemas.GenerationRequest{Generation: g}, new(schemas.GenerationReply)); err != nil {
			t.Fatal(err)
		}
	}
	begin(5)
	storagetest.Code(t, mark(4), schemas.NotNow)
	storagetest.Code(t, sweep(4, 4, epoch), schemas.NotNow)
	storagetest.Code(t, sweep(5, 5, epoch+1), schemas.NotNow)
	storagetest.Code(t, sweep(5, 4, epoch), schemas.TooEarly)
	if err := mark(5); err != nil {
		t.Error(err)
	}
	n.stop()
	n.start()
	bustest.Eventually(t, "the node follows the map", func() bool { return n.status().Epoch == epoch })
	storagetest.Code(t, sweep(5, 5, epoch), schemas.TooEarly)
	begin(6)
	if err := mark(6); err != nil {
		t.Error(err)
	}
	for range 2 { // the second one has begun already
		if err := sweep(6, 6, epoch); err != nil {
			t.Error(err)
		}
	}
	bustest.Eventually(t, "the end of the sweep", func() bool { st := n.status().Sweep; return st != nil && st.Ended })
	storagetest.Holds(t, n.store, chunks...)
}

// A have says which parts are held, and only to those who follow
// the same map if that matters to them.
func TestHaveParts(t *testing.T) {
	s := newSystem(t, 1, schemas.Durability{K: 1}, node.Options{Survey: 1 << 40})
	n := s.nodes[0]
	whole, split, missing := s.Data(100), s.Data(200), s.Data(1)
	shards, _, err := erasure.Split(d21, &split, nil)
	if err != nil {
		t.Fatal(err)
	}
	storagetest.Put(t, n.store, whole, shards[2], shards[0])
	have := func(req schemas.IDsRequest) (seen string, err error) {
		var rep schemas.HaveReply
		t.Helper()
		req.Vault, req.IDs = storagetest.Vault, []schemas.ChunkID{missing.ID, whole.ID, split.ID, missing.ID}
		answer, err := bus.RequestRaw(bustest.Patient(t), s.nc, schemas.HaveSubject(n.id), req.Encode())
		if err == nil {
			err = schemas.Unmarshal(answer, &rep)
		}
		if err == nil {
			err = rep.Err()
		}
		if err == nil {
			err = rep.Each(len(req.IDs), func(i int, p schemas.Part) { seen += string(rune('0'+i)) + p.String() + " " })
		}
		return seen, err
	}
	epoch := s.nodeMap().Epoch
	for name, c := range map[string]struct {
		req  schemas.IDsRequest
		want string
	}{
		"whole ones":   {schemas.IDsRequest{}, "1whole "},
		"parts":        {schemas.IDsRequest{Parts: true}, "1whole 2shard 0 of k=2 2shard 2 of k=2 "},
		"a look":       {schemas.IDsRequest{Parts: true, Look: true}, "1whole 2shard 0 of k=2 2shard 2 of k=2 "},
		"in the epoch": {schemas.IDsRequest{Parts: true, Epoch: epoch}, "1whole 2shard 0 of k=2 2shard 2 of k=2 "},
	} {
		if seen, err := have(c.req); err != nil || seen != c.want {
			t.Errorf("%s: %q, %v", name, seen, err)
		}
	}
	_, err = have(schemas.IDsRequest{Parts: true, Epoch: epoch + 1})
	storagetest.Code(t, err, schemas.OtherEpoch)
	for _, g := range []uint32{9, 8} {
		if _, err := have(schemas.IDsRequest{Parts: true, Epoch: epoch, Generation: g}); err != nil || n.store.Generation() != 9 {
			t.Errorf("asked by one who is in generation %d, the node is in %d, %v", g, n.store.Generation(), err)
		}
	}
}

// A node lists the whole chunks of a vault.
func TestChunks(t *testing.T) {
	s := newSystem(t, 1, schemas.Durability{K: 1}, node.Options{Survey: 1 << 40})
	n := s.nodes[0]
	chunks := s.some(9)
	shards, _, err := erasure.Split(d21, &chunks[8], nil)
	if err != nil {
		t.Fatal(err)
	}
	storagetest.Put(t, n.store, append(shards, chunks[:8]...)...)
	var after *schemas.ChunkID
	seen := map[schemas.ChunkID]bool{}
	for {
		var rep schemas.ChunkIDsReply
		if err := tell(n, schemas.ChunksSubject(n.id), &schemas.ChunksRequest{Vault: storagetest.Vault, After: after}, &rep); err != nil {
			t.Fatal(err)
		}
		if len(rep.IDs) == 0 {
			break
		}
		for b := rep.IDs; len(b) > 0; b = b[32:] {
			id := schemas.ChunkID(b[:32])
			seen[id], after = true, &id
		}
	}
	if len(seen) != 8 || seen[chunks[8].ID] {
		t.Errorf("%d chunks are listed", len(seen))
	}
}
