package upload

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
)

// transitions are those of a chunk after queue, by name.
var transitions = map[string]func(s *states, id schemas.ChunkID){
	"held":     func(s *states, id schemas.ChunkID) { s.held(id) },
	"want":     func(s *states, id schemas.ChunkID) { s.want(id, false) },
	"replicas": func(s *states, id schemas.ChunkID) { s.sendReplicas(id) },
	"shards":   func(s *states, id schemas.ChunkID) { s.sendShards(id, []schemas.NodeID{"a", "b", "c"}) },
	"ack":      func(s *states, id schemas.ChunkID) { s.acknowledge(id) },
	"reroute":  func(s *states, id schemas.ChunkID) { s.reroute(id, 0, []schemas.NodeID{"a", "d"}, 1) },
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

// A transition from a stage that does not lead there is a bug, and is not passed over.
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

// A chunk of which nodes hold shards is not split again.
func TestChunkWithOldShardsIsSentWhole(t *testing.T) {
	for _, whole := range []bool{false, true} {
		s, id := newStates(1, 1), schemas.ChunkID{1}
		s.queue(id)
		s.want(id, whole)
		if s.mayBeSplit(id) == whole {
			t.Errorf("held in shards: %v, and may be split: %v", whole, !whole)
		}
	}
}

// A refused shard goes to a node of the set that has none; without one, to the same node
// again, unless enough others are in place.
func TestRerouteChoosesANode(t *testing.T) {
	for _, tc := range []struct {
		set    []schemas.NodeID
		need   int
		node   schemas.NodeID
		goesOn bool
	}{
		{[]schemas.NodeID{"a", "b", "c", "d"}, 3, "d", true},
		{[]schemas.NodeID{"a", "b", "c"}, 3, "b", true},
		{[]schemas.NodeID{"a", "c"}, 2, "b", false},
		{[]schemas.NodeID{"a", "c"}, 3, "b", true},
	} {
		s, id := newStates(1, 1), schemas.ChunkID{1}
		s.queue(id)
		s.want(id, false)
		s.sendShards(id, []schemas.NodeID{"a", "b", "c"})
		node, ok := s.reroute(id, 1, tc.set, tc.need)
		if ok != tc.goesOn || node != tc.node {
			t.Errorf("with the set %v, of which %d are needed: %s, %v", tc.set, tc.need, node, ok)
		}
		if s.chunks[id].nodes[1] != tc.node || s.chunks[id].parts != 3 {
			t.Errorf("with the set %v: the state is %+v", tc.set, s.chunks[id])
		}
	}
}

// A batch holds its budget until the last answer. If one of the answers was a failure, the
// batch is refused once, with all nodes that did not take it.
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
			last, refused := s.answer(b, f)
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
		if got := s.nextRefused(t.Context()); len(got) != 1 || !slices.Equal(got[0].failure.Nodes, want) || fmt.Sprint(got[0].failure) != "x" {
			t.Errorf("the refused batches are %v, want one for %v", got, want)
		}
	}
}

// The upload has ended when no more chunks come and none is on its way.
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
		t.Error("without chunks there is something to wait for")
	}
	s := newStates(1, 1)
	s.queue(schemas.ChunkID{1})
	s.queue(schemas.ChunkID{2})
	s.held(schemas.ChunkID{1})
	if s.close(); drained(s) {
		t.Error("a chunk on its way is not waited for")
	}
	s.want(schemas.ChunkID{2}, false)
	s.sendReplicas(schemas.ChunkID{2})
	if drained(s) {
		t.Error("a chunk that was sent is not waited for")
	}
	if s.acknowledge(schemas.ChunkID{2}); !drained(s) {
		t.Error("there is something to wait for after the last acknowledgement")
	}
}
