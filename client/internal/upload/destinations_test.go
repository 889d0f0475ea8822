package upload

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"servidor-backup/bus/bustest"
	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
)

// fakeNodes is a map of nodes and the number of replicas that chunks have. A test may change it
// while no goroutine chooses.
type fakeNodes struct {
	replicas  uint8
	responded bool
	nodeMap   *schemas.NodeMap
}

func (f *fakeNodes) Map() *schemas.NodeMap { return f.nodeMap }
func (f *fakeNodes) Responded() bool       { return f.responded }

func (f *fakeNodes) DurabilityOn(schemas.VaultID, int) schemas.Durability {
	return schemas.Durability{K: 1, M: f.replicas - 1}
}

// set changes the state of a node; trouble is why it accepts no data, if it is up.
func (f *fakeNodes) set(id schemas.NodeID, state schemas.State, trouble string) {
	next := &schemas.NodeMap{Epoch: f.nodeMap.Epoch + 1, Nodes: slices.Clone(f.nodeMap.Nodes)}
	n := next.Find(id)
	n.State, n.Trouble = state, trouble
	f.nodeMap = next
}

// newFakeNodes makes nodes that are up and have responded.
func newFakeNodes(replicas uint8, ids ...schemas.NodeID) *fakeNodes {
	f := &fakeNodes{replicas: replicas, responded: true, nodeMap: &schemas.NodeMap{Epoch: 1}}
	for _, id := range ids {
		f.nodeMap.Nodes = append(f.nodeMap.Nodes, schemas.Node{ID: id, Name: string(id), State: schemas.Up, Weight: 1})
	}
	return f
}

// chosen returns the nodes for a chunk, sorted.
func chosen(t *testing.T, ds *destinations) []schemas.NodeID {
	t.Helper()
	_, set, err := ds.choose(t.Context(), nil, schemas.ChunkID{1}, schemas.Durability.Replicas)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(set)
	return set
}

// A node that did not accept data is avoided for a while, as long as there are enough others. If
// it becomes unreachable and comes back, it is not avoided any more.
func TestRefusingNodeIsAvoided(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := newFakeNodes(2, "a", "b", "c")
		ds := newDestinations(nodes, schemas.VaultID{}, func(schemas.Sentence) {})
		refuse := func(id schemas.NodeID) {
			t.Helper()
			if err := ds.noteFailure(&replica.PartialFailure{Nodes: []schemas.NodeID{id}, Err: errors.New("x")}); err != nil {
				t.Fatal(err)
			}
		}
		first := chosen(t, ds)
		refuse(first[0])
		if set := chosen(t, ds); slices.Contains(set, first[0]) || len(set) != 2 {
			t.Errorf("after %s refused, the nodes are %v", first[0], set)
		}
		time.Sleep(avoidTime + time.Second) // of the test's clock
		if set := chosen(t, ds); !slices.Equal(set, first) {
			t.Errorf("when the time is over, the nodes are %v, want %v", set, first)
		}
		refuse(first[0])
		nodes.set(first[0], schemas.Down, "")
		if set := chosen(t, ds); slices.Contains(set, first[0]) {
			t.Errorf("while %s is down, the nodes are %v", first[0], set)
		}
		nodes.set(first[0], schemas.Up, "")
		if set := chosen(t, ds); !slices.Equal(set, first) {
			t.Errorf("when %s is up again, the nodes are %v, want %v", first[0], set, first)
		}
	})
}

// If too few nodes are left, a node that did not answer is tried again soon; the status says what
// is waited for.
func TestAvoidedNodeIsTriedSoonIfNeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said bustest.Statuses
		ds := newDestinations(newFakeNodes(2, "a", "b"), schemas.VaultID{}, said.Add)
		if err := ds.noteFailure(&replica.PartialFailure{Nodes: []schemas.NodeID{"b"}, Err: errors.New("x")}); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if set := chosen(t, ds); len(set) != 2 {
			t.Errorf("the nodes are %v", set)
		}
		if took := time.Since(start); took < shortAvoidTime || took > shortAvoidTime+2*pollTime {
			t.Errorf("that took %v, want %v", took, shortAvoidTime)
		}
		if want := []string{"waiting for storage nodes: 1 of 2 are up (b: silent)", ""}; !slices.Equal(said.All(), want) {
			t.Errorf("the status was %q, want %q", said.All(), want)
		}
	})
}

// Too few nodes are waited for as long as there is a prospect of more.
func TestTooFewNodes(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*fakeNodes)
		code   schemas.Code
		after  time.Duration
		text   string
	}{
		"a node is down":      {func(f *fakeNodes) { f.set("b", schemas.Down, "") }, schemas.NoNode, giveUpAfter, "b: down"},
		"a disk is full":      {func(f *fakeNodes) { f.set("b", schemas.Up, string(schemas.DiskFull)) }, schemas.DiskFull, 0, "storage node b"},
		"no node responded":   {func(f *fakeNodes) { f.replicas, f.responded = 3, false }, schemas.NoNode, 0, "2 of 3 are up"},
		"too few of them all": {func(f *fakeNodes) { f.replicas = 3 }, schemas.NoNode, giveUpAfter, "2 of 3 are up"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				nodes := newFakeNodes(2, "a", "b")
				tc.change(nodes)
				start := time.Now()
				_, _, err := newDestinations(nodes, schemas.VaultID{}, func(schemas.Sentence) {}).
					choose(t.Context(), nil, schemas.ChunkID{1}, schemas.Durability.Replicas)
				took := time.Since(start)
				if schemas.CodeOf(err) != tc.code || !strings.Contains(err.Error(), tc.text) {
					t.Errorf("it ends with %v, want %s and %q", err, tc.code, tc.text)
				}
				if took < tc.after || took > tc.after+2*pollTime {
					t.Errorf("it ends after %v, want %v", took, tc.after)
				}
			})
		})
	}
}

// Nodes that refuse everything end the upload; nodes that accept something meanwhile do not.
func TestFailuresWithoutProgressEndUpload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ds := newDestinations(newFakeNodes(1, "a", "b"), schemas.VaultID{}, func(schemas.Sentence) {})
		failure := &replica.PartialFailure{Nodes: []schemas.NodeID{"a"}, Err: errors.New("x")}
		for _, tc := range []struct {
			pass     time.Duration
			progress bool
			fails    bool
		}{
			{0, false, false}, {giveUpAfter / 2, false, false}, {giveUpAfter / 2, true, false},
			{giveUpAfter, false, false}, {1, false, true},
		} {
			time.Sleep(tc.pass) // of the test's clock
			if tc.progress {
				ds.noteProgress()
			}
			if err := ds.noteFailure(failure); (err != nil) != tc.fails {
				t.Errorf("after %v more: %v", tc.pass, err)
			}
		}
	})
}

func TestChoosingCanBeInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("the upload failed")
		done := make(chan error, 1)
		go func() {
			_, _, err := newDestinations(newFakeNodes(2, "a"), schemas.VaultID{}, func(schemas.Sentence) {}).
				choose(ctx, nil, schemas.ChunkID{1}, schemas.Durability.Replicas)
			done <- err
		}()
		synctest.Wait()
		cancel(cause)
		if err := <-done; !errors.Is(err, cause) {
			t.Errorf("it ends with %v, want %v", err, cause)
		}
	})
}
