package coordinator

import (
	"strings"
	"testing"
	"time"

	"servidor-backup/bus/bustest"
	"servidor-backup/schemas"
)

// setState asks a coordinator to change a node's state.
func (w *world) setState(name string, want schemas.State, force bool) error {
	w.t.Helper()
	return w.request(schemas.SubjectNodeState, &schemas.NodeStateRequest{Node: name, State: want, Force: force}, &schemas.NodeStateReply{})
}

func (w *world) becomes(id schemas.NodeID, want schemas.State) {
	w.t.Helper()
	bustest.Eventually(w.t, "node "+string(id)+" is "+string(want), func() bool { return w.stateOf(id) == want })
}

// heartbeat publishes a card as a node would.
func (w *world) heartbeat(n schemas.Node) {
	w.t.Helper()
	b, err := schemas.Marshal(&schemas.RegisterRequest{Protocol: schemas.ProtocolVersion, Node: n})
	if err == nil {
		err = w.nc.Publish(schemas.SubjectAlive, b)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// A node that is down for longer than the grace period is gone, which is published once. It is up
// again when it responds.
func TestNodeIsGoneAfterGrace(t *testing.T) {
	w := newWorld(t, 0, Options{DownAfter: time.Second, Grace: time.Hour})
	w.coordinator(Options{DownAfter: time.Second, Grace: time.Hour})
	gone := w.events(schemas.EventNodeGone)
	n := w.node()
	id := n.store.NodeID()
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	w.becomes(id, schemas.Down)
	down := w.c.members.Map().Find(id).Since
	if down == 0 {
		t.Error("the card does not say since when the node is down")
	}
	grace := int64(time.Millisecond)
	if _, err := w.policy("", &schemas.Policy{Grace: &grace}); err != nil {
		t.Fatal(err)
	}
	if e := bustest.Receive(t, "the event", gone); e.Subject != string(id) {
		t.Errorf("the event is %+v", e)
	}
	w.becomes(id, schemas.Gone)
	if since := w.c.members.Map().Find(id).Since; since != down {
		t.Errorf("it is gone since %d, and was down since %d", since, down)
	}
	w.nodeOn(n.store)
	w.becomes(id, schemas.Up)
	select {
	case e := <-gone:
		t.Errorf("one event too many: %+v", e)
	default:
	}
}

// An administrator drains a node and takes that back. A draining node that leaves is gone at
// once, and draining again when it comes back.
func TestDrain(t *testing.T) {
	w := newWorld(t, 2, Options{})
	n := w.node()
	id := n.store.NodeID()
	changed := w.events(schemas.EventNodeState)
	if err := w.setState(string(id), schemas.Draining, false); err != nil {
		t.Fatal(err)
	}
	if e := bustest.Receive(t, "the event", changed); e.Subject != string(id) {
		t.Errorf("the event is %+v", e)
	}
	if m := w.c.members.Map(); m.Find(id).State != schemas.Draining || len(m.Writable()) != 2 {
		t.Errorf("the map is %+v", m)
	}
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	w.becomes(id, schemas.Gone)
	n = w.nodeOn(n.store)
	w.becomes(id, schemas.Draining)
	if err := w.setState(string(id), schemas.Up, false); err != nil {
		t.Fatal(err)
	}
	w.becomes(id, schemas.Up)
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	w.becomes(id, schemas.Down)
}

// Only a node that is empty or gone is removed, unless the administrator forces it. A removed
// node does not come back until the administrator takes it back.
func TestRemove(t *testing.T) {
	w := newWorld(t, 2, Options{})
	n := w.node()
	id := n.store.NodeID()
	b := []byte("x")
	for i := range 20 {
		b[0] = byte(i)
		w.transmit(nickname, "f", string(b))
	}
	bustest.Eventually(t, "the coordinator hears that the node holds something", func() bool {
		return w.c.members.Map().Find(id).Chunks > 0
	})
	wantCode(t, w.setState(string(id), schemas.Removed, false), schemas.NotNow)
	wantCode(t, w.setState("nosuch", schemas.Draining, false), schemas.UnknownNode)
	wantCode(t, w.setState(string(id), schemas.Down, false), schemas.BadRequest)
	if err := w.setState(string(id), schemas.Removed, true); err != nil {
		t.Fatal(err)
	}
	if got := w.stateOf(id); got != "" {
		t.Fatalf("the node that was removed is %s", got)
	}
	card := schemas.Node{ID: id, Name: "again", Weight: 1, State: schemas.Up}
	w.heartbeat(card) // it still runs
	err := w.request(schemas.SubjectRegister, &schemas.RegisterRequest{Node: card}, &schemas.RegisterReply{})
	wantCode(t, err, schemas.NotNow)
	if err != nil && !strings.Contains(err.Error(), "removed") {
		t.Errorf("the node is told %q", err)
	}
	if got := w.stateOf(id); got != "" {
		t.Errorf("the node that was removed came back by itself: %s", got)
	}
	late := w.coordinator(Options{})
	if m := late.members.Map(); m.Find(id) != nil {
		t.Errorf("a new coordinator knows the node: %+v", m)
	}
	if err := late.Stop(); err != nil {
		t.Fatal(err)
	}
	bustest.Eventually(t, "one that does not stop answers", func() bool { return w.setState(string(id), schemas.Up, false) == nil })
	w.becomes(id, schemas.Up) // at its next heartbeat

	empty := w.node()
	bustest.Eventually(t, "a node that holds nothing is removed", func() bool {
		return w.setState(string(empty.store.NodeID()), schemas.Removed, false) == nil // once it has responded
	})
}

// A node that has not responded since the coordinator started is not taken for empty.
func TestRemoveOfAnUnknownNode(t *testing.T) {
	w := newWorld(t, 1, Options{})
	n := w.node()
	id := n.store.NodeID()
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	w.becomes(id, schemas.Down)
	late := w.coordinator(Options{})
	_, err := late.members.SetState(bustest.Context(t), &schemas.NodeStateRequest{Node: string(id), State: schemas.Removed})
	wantCode(t, err, schemas.NotNow)
}

// A node can be called by its name as long as no other node has the same one.
func TestNodesByName(t *testing.T) {
	w := newWorld(t, 0, Options{})
	for _, n := range []schemas.Node{{ID: "a", Name: "disk", Weight: 1}, {ID: "b", Name: "disk", Weight: 1}, {ID: "c", Name: "b", Weight: 1}} {
		if err := w.request(schemas.SubjectRegister, &schemas.RegisterRequest{Node: n}, &schemas.RegisterReply{}); err != nil {
			t.Fatal(err)
		}
	}
	err := w.setState("disk", schemas.Draining, false)
	wantCode(t, err, schemas.BadRequest)
	if err != nil && (!strings.Contains(err.Error(), "a") || !strings.Contains(err.Error(), "id")) {
		t.Errorf("the error is %q", err)
	}
	if err := w.setState("b", schemas.Draining, false); err != nil { // an id is preferred to a name
		t.Fatal(err)
	}
	if w.stateOf("b") != schemas.Draining || w.stateOf("c") != schemas.Up {
		t.Errorf("b is %s, c is %s", w.stateOf("b"), w.stateOf("c"))
	}
	// Only its registration is known, which says that it holds nothing.
	if err := w.setState("b", schemas.Removed, false); err != nil {
		t.Fatal(err)
	}
	if err := w.setState("disk", schemas.Draining, false); err != nil { // one is left
		t.Error(err)
	}
}

// The status counts the coordinators that answer.
func TestStatusListsCoordinators(t *testing.T) {
	w := newWorld(t, 1, Options{Version: "v1"})
	w.coordinator(Options{Version: "v2"})
	got := w.status().Coordinators
	if len(got) != 2 || got[0].ID == got[1].ID {
		t.Fatalf("%+v", got)
	}
	if versions := got[0].Version + got[1].Version; versions != "v1v2" && versions != "v2v1" {
		t.Errorf("the versions are %q", versions)
	}
}

// The status tells how many parts no survey has looked at yet: nothing is called intact that
// was not looked at.
func TestStatusTellsWhatNoSurveyHasSeen(t *testing.T) {
	w := newWorld(t, 1, Options{})
	w.put(w.Data(10), w.Data(10), w.Data(10))
	survey := func() schemas.Survey { return w.status().Nodes[0].Survey }
	if got := survey(); got.Ended == 0 && got.Newer != 3 {
		t.Errorf("%d parts are newer than the survey, want 3", got.Newer)
	}
	bustest.Eventually(t, "a survey has seen all parts", func() bool {
		got := survey()
		return got.Ended > 0 && got.Newer == 0
	})
}
