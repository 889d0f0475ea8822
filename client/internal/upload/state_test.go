package upload

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"servidor-backup/bus/bustest"
	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
)

// transitions are the transitions of a chunk after queue, by name.
var transitions = map[string]func(s *states, id schemas.ChunkID){
	"held":     func(s *states, id schemas.ChunkID) { s.markHeld(id) },
	"want":     func(s *states, id schemas.ChunkID) { s.markWanted(id, false) },
	"replicas": func(s *states, id schemas.ChunkID) { s.markSentAsReplicas(id) },
	"shards":   func(s *states, id schemas.ChunkID) { s.markSentAsShards(id, []schemas.NodeID{"a", "b", "c"}) },
	"ack":      func(s *states, id schemas.ChunkID) { s.acknowledge(id) },
	"reroute":  func(s *states, id schemas.ChunkID) { s.rerouteShard(id, 0, []schemas.NodeID{"a", "d"}, 1) },
}

// A chunk has a state from queue until it is done, and is then forgotten.
func TestChunkGoesFromQueuedToDone(t *testing.T) {
	for _, tc := range []struct {
		steps []string
		stage stage
		parts int32
		done  bool
	}{
		{nil, queued, 0, false},
		{[]string{"held"}, 0, 0, true},
		{[]string{"want"}, wanted, 0, false},
		{[]string{"want", "replicas"}, sent, 1, false},
		{[]string{"want", "replicas", "ack"}, 0, 0, true},
		{[]string{"want", "shards"}, sent, 3, false},
		{[]string{"want", "shards", "ack", "ack"}, sent, 1, false},
		{[]string{"want", "shards", "ack", "reroute", "ack"}, sent, 1, false},
		{[]string{"want", "shards", "ack", "reroute", "ack", "ack"}, 0, 0, true},
	} {
		s, id := newStates(1, 1), schemas.ChunkID{1}
		if !s.queue(id) {
			t.Fatal("a new chunk is not queued")
		}
		for _, name := range tc.steps {
			transitions[name](s, id)
		}
		c := s.chunks[id]
		if tc.done {
			if c != nil {
				t.Errorf("after %v the chunk is %+v, want it done", tc.steps, c)
			}
			if !s.queue(id) {
				t.Errorf("after %v an equal chunk is not queued", tc.steps)
			}
			continue
		}
		if c == nil || c.stage != tc.stage || c.parts != tc.parts {
			t.Errorf("after %v the chunk is %+v, want %v with %d parts", tc.steps, c, tc.stage, tc.parts)
		}
		if s.queue(id) {
			t.Errorf("after %v an equal chunk is queued", tc.steps)
		}
	}
}

// A transition from a stage that does not allow it is a bug.
func TestWrongTransitionPanics(t *testing.T) {
	for _, tc := range []struct {
		isQueued bool
		before   []string
		allowed  []string
	}{
		{false, nil, nil},
		{true, nil, []string{"held", "want"}},
		{true, []string{"want"}, []string{"replicas", "shards"}},
		{true, []string{"want", "shards"}, []string{"ack", "reroute"}},
		{true, []string{"want", "shards", "ack", "ack", "ack"}, nil},
		{true, []string{"held"}, nil},
	} {
		for name, do := range transitions {
			s, id := newStates(1, 1), schemas.ChunkID{1}
			if tc.isQueued {
				s.queue(id)
			}
			for _, before := range tc.before {
				transitions[before](s, id)
			}
			panics := func() (panics bool) {
				defer func() { panics = recover() != nil }()
				do(s, id)
				return false
			}()
			if panics == slices.Contains(tc.allowed, name) {
				t.Errorf("%s after %v (queued: %v) panics: %v", name, tc.before, tc.isQueued, panics)
			}
		}
	}
}

// A chunk that nodes hold shards of is not split again.
func TestChunkWithOldShardsIsNotSplit(t *testing.T) {
	for _, hasShards := range []bool{false, true} {
		s, id := newStates(1, 1), schemas.ChunkID{1}
		s.queue(id)
		s.markWanted(id, hasShards)
		if s.mayBeSplit(id) == hasShards {
			t.Errorf("nodes hold shards: %v, and the chunk may be split: %v", hasShards, !hasShards)
		}
	}
}

// A refused shard goes to a node of the set that no shard was sent to; without one, to the same
// node again, unless enough nodes of the set have other shards.
func TestRerouteShardChoosesNode(t *testing.T) {
	for _, tc := range []struct {
		set   []schemas.NodeID
		need  int
		node  schemas.NodeID
		again bool
	}{
		{[]schemas.NodeID{"a", "b", "c", "d"}, 3, "d", true},
		{[]schemas.NodeID{"a", "b", "c"}, 3, "b", true},
		{[]schemas.NodeID{"a", "c"}, 2, "b", false},
		{[]schemas.NodeID{"a", "c"}, 3, "b", true},
	} {
		s, id := newStates(1, 1), schemas.ChunkID{1}
		s.queue(id)
		s.markWanted(id, false)
		s.markSentAsShards(id, []schemas.NodeID{"a", "b", "c"})
		node, ok := s.rerouteShard(id, 1, tc.set, tc.need)
		if ok != tc.again || node != tc.node {
			t.Errorf("with the set %v, of which %d are needed, it goes to %s: %v", tc.set, tc.need, node, ok)
		}
		if s.chunks[id].nodes[1] != tc.node || s.chunks[id].parts != 3 {
			t.Errorf("with the set %v: the state is %+v", tc.set, s.chunks[id])
		}
	}
}

// A batch holds its budget until the last answer. If one of the answers was a failure, the batch
// is refused once, with all nodes that did not accept it.
func TestBatchIsRefusedAfterItsLastAnswer(t *testing.T) {
	s := newStates(1, 10)
	fits := func() bool { return s.flight.TryAcquire(1) }
	b := &batch{payload: make([]byte, 10)}
	for _, failures := range [][]*replica.PartialFailure{
		{nil, nil},
		{nil, {Nodes: []schemas.NodeID{"a"}, Err: errors.New("x")}},
		{{Nodes: []schemas.NodeID{"a"}, Err: errors.New("x")}, {Nodes: []schemas.NodeID{"b", "c"}, Err: errors.New("y")}},
	} {
		b.failure = nil
		if err := s.dispatch(t.Context(), b, len(failures)); err != nil {
			t.Fatal(err)
		}
		var want []schemas.NodeID
		for i, f := range failures {
			if fits() {
				t.Error("the budget of a batch on its way is free")
			}
			if f != nil {
				want = append(want, f.Nodes...)
			}
			last, refused := s.recordAnswer(b, f)
			if end := i == len(failures)-1; last != end || refused != (end && want != nil) {
				t.Errorf("answer %d of %v: last %v, refused %v", i, failures, last, refused)
			}
		}
		if !fits() {
			t.Error("the budget of an answered batch is not free")
		}
		s.flight.Release(1)
		if want == nil {
			continue
		}
		if got := s.waitRefused(t.Context()); len(got) != 1 || !slices.Equal(got[0].failure.Nodes, want) || fmt.Sprint(got[0].failure) != "x" {
			t.Errorf("the refused batches are %v, want one for %v", got, want)
		}
	}
}

// The states are drained when no more chunks come and none is on its way.
func TestStatesAreDrained(t *testing.T) {
	drained := func(s *states) bool {
		select {
		case <-s.drained:
			return true
		default:
			return false
		}
	}
	empty := newStates(1, 1)
	if empty.close(); !drained(empty) {
		t.Error("an upload without chunks is not drained")
	}
	s := newStates(1, 1)
	s.queue(schemas.ChunkID{1})
	s.queue(schemas.ChunkID{2})
	s.markHeld(schemas.ChunkID{1})
	if s.close(); drained(s) {
		t.Error("a queued chunk is not waited for")
	}
	s.markWanted(schemas.ChunkID{2}, false)
	s.markSentAsReplicas(schemas.ChunkID{2})
	if drained(s) {
		t.Error("a chunk that was sent is not waited for")
	}
	if s.acknowledge(schemas.ChunkID{2}); !drained(s) {
		t.Error("the states are not drained after the last acknowledgement")
	}
}

// Chunks pass all stages in several goroutines at a time, with batches that are refused and
// rerouted. Each chunk is done after all of its parts, no refused batch is forgotten, and in the
// end the budget is free.
func TestChunksPassConcurrently(t *testing.T) {
	const senders, chunks, batchSize, flight = 4, 200, 10, 50
	s := newStates(0, flight)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var sending, answering, rerouting sync.WaitGroup
	// send sends a batch in two requests, which are answered later, in any order. The second node
	// of a set does not accept it.
	send := func(set []schemas.NodeID, id schemas.ChunkID) {
		b := &batch{set: set, ids: []schemas.ChunkID{id}, payload: make([]byte, batchSize)}
		if err := s.dispatch(ctx, b, 2); err != nil {
			t.Error(err)
			return
		}
		for _, failed := range [][]schemas.NodeID{nil, set[1:]} {
			answering.Go(func() {
				var failure *replica.PartialFailure
				if len(failed) > 0 {
					failure = &replica.PartialFailure{Nodes: failed, Err: errors.New("x")}
				}
				if last, refused := s.recordAnswer(b, failure); last && !refused {
					s.acknowledge(b.ids...)
				}
			})
		}
	}
	rerouted := 0
	rerouting.Go(func() {
		for ctx.Err() == nil {
			for _, b := range s.waitRefused(ctx) {
				rerouted++
				node, ok := s.rerouteShard(b.ids[0], 1, []schemas.NodeID{"a", "c"}, 2)
				if !ok || node != "c" {
					t.Errorf("a refused shard goes to %s: %v", node, ok)
				}
				send([]schemas.NodeID{node}, b.ids[0])
			}
		}
	})
	for sender := range senders {
		sending.Go(func() {
			for n := range chunks {
				id := schemas.ChunkID{byte(sender), byte(n)}
				if !s.queue(id) {
					t.Errorf("chunk %s is queued already", id.Short())
				}
				if n%4 == 0 {
					s.markHeld(id)
					continue
				}
				s.markWanted(id, false)
				s.markSentAsShards(id, []schemas.NodeID{"a", "b"})
				send([]schemas.NodeID{"a"}, id)
				send([]schemas.NodeID{"b", "b2"}, id)
			}
		})
	}
	sending.Wait()
	s.close()
	bustest.Receive(t, "the states are drained", s.drained)
	answering.Wait()
	cancel()
	rerouting.Wait()
	if want := senders * chunks * 3 / 4; rerouted != want {
		t.Errorf("%d batches are rerouted, want %d", rerouted, want)
	}
	if len(s.chunks) > 0 || !s.flight.TryAcquire(flight) {
		t.Errorf("%d chunks are left, or some of the budget is not free", len(s.chunks))
	}
}
