package coordinator

import (
	"strings"
	"testing"
	"time"

	"servidor-backup/bus/bustest"
	"servidor-backup/schemas"
)

// state asks for a node's state.
func (w *world) state(name string, want schemas.State, force bool) error {
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

// A node that is down for longer than the grace time is gone, told once; it is up
// again when it speaks.
func TestNodeIsGoneAfterGrace(t *testing.T) {
	w := newWorld(t, 0, Options{Silence: time.Second, Grace: time.Hour})
	w.coordinator(Options{Silence: time.Second, Grace: time.Hour})
	gone := w.events(schemas.EventNodeGone)
	n := w.node()
	id := n.store.NodeID()
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	w.becomes(id, schemas.Down)
	down := w.c.members.nodeMap().Find(id).Since
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
	if since := w.c.members.nodeMap().Find(id).Since; since != down {
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

// orderedCard is a card of the node "abc" with a position in the order of its cards.
func orderedCard(state schemas.State, started int64, seq uint64) *schemas.RegisterRequest {
	return &schemas.RegisterRequest{Protocol: schemas.ProtocolVersion, Started: started, Seq: seq,
		Node: schemas.Node{ID: "abc", Name: "disk", Weight: 1, State: state}}
}

// deliver makes one coordinator handle a heartbeat or a goodbye, and returns when it has.
func (w *world) deliver(c *Coordinator, card *schemas.RegisterRequest) {
	w.t.Helper()
	b, err := schemas.Marshal(card)
	if err != nil {
		w.t.Fatal(err)
	}
	c.members.alive(bustest.Patient(w.t), b)
}

// register makes one coordinator handle a registration.
func (w *world) register(c *Coordinator, card *schemas.RegisterRequest) *schemas.RegisterReply {
	w.t.Helper()
	rep, err := c.members.register(bustest.Patient(w.t), card)
	if err != nil {
		w.t.Fatal(err)
	}
	return rep.(*schemas.RegisterReply)
}

// is checks a node's state in the maps of coordinators; each has seen what all have written.
func (w *world) is(what string, want schemas.State, all ...*Coordinator) {
	w.t.Helper()
	var revision uint64
	for _, c := range all {
		at, err := c.members.kv.Get(bustest.Patient(w.t), "abc", &card{})
		if err != nil {
			w.t.Fatal(err)
		}
		revision = max(revision, at)
	}
	for i, c := range all {
		if err := c.members.reach(bustest.Patient(w.t), revision); err != nil {
			w.t.Fatal(err)
		}
		if n := c.members.nodeMap().Find("abc"); n == nil || n.State != want {
			w.t.Errorf("%s: for coordinator %d the node is %+v, want it to be %s", what, i, n, want)
		}
	}
}

// Two coordinators hear the same heartbeats, but one may handle a heartbeat only after the
// other has handled the goodbye that followed it. The node stays down then, and is up again
// when its next process registers.
func TestOldCardsDoNotBringANodeUp(t *testing.T) {
	w := newWorld(t, 0, Options{Silence: time.Hour})
	fast, slow := w.c, w.coordinator(Options{Silence: time.Hour})
	downs := w.events(schemas.EventNodeDown)
	if rep := w.register(fast, orderedCard(schemas.Up, 100, 1)); rep.Err() != nil {
		t.Fatal(rep.Err())
	}
	w.is("after the registration", schemas.Up, fast, slow)
	w.deliver(fast, orderedCard(schemas.Up, 100, 2))
	w.deliver(fast, orderedCard(schemas.Down, 100, 3))
	w.is("after the goodbye", schemas.Down, fast, slow)
	w.deliver(slow, orderedCard(schemas.Up, 100, 2))
	w.is("after an old heartbeat", schemas.Down, fast, slow)
	rep := w.register(slow, orderedCard(schemas.Up, 100, 2))
	if wantCode(t, rep.Err(), schemas.NotNow); rep.Started != 100 {
		t.Errorf("an old registration is answered with the start %d, want 100", rep.Started)
	}
	w.is("after an old registration", schemas.Down, fast, slow)
	w.deliver(slow, orderedCard(schemas.Down, 100, 3))
	w.is("after the goodbye is handled again", schemas.Down, fast, slow)
	if rep := w.register(slow, orderedCard(schemas.Up, 200, 1)); rep.Err() != nil {
		t.Fatal(rep.Err())
	}
	w.is("after the next process has registered", schemas.Up, fast, slow)
	if e := bustest.Receive(t, "the event", downs); e.Subject != "abc" {
		t.Errorf("the event is %+v", e)
	}
	select {
	case e := <-downs:
		t.Errorf("one event too many: %+v", e)
	default:
	}
}

// A goodbye is the end of one process of the node. It is no end of a later one, even if
// no card of the later one has changed anything but the process.
func TestOldGoodbyeDoesNotTakeANodeDown(t *testing.T) {
	w := newWorld(t, 0, Options{Silence: time.Hour})
	fast, slow := w.c, w.coordinator(Options{Silence: time.Hour})
	for started := range int64(2) {
		if rep := w.register(fast, orderedCard(schemas.Up, 100+started, 1)); rep.Err() != nil {
			t.Fatal(rep.Err())
		}
	}
	w.is("after both registrations", schemas.Up, fast, slow)
	for _, c := range []*Coordinator{slow, fast} {
		w.deliver(c, orderedCard(schemas.Down, 100, 2))
		w.is("after the old goodbye", schemas.Up, fast, slow)
	}
	w.deliver(slow, orderedCard(schemas.Down, 101, 2))
	w.is("after the goodbye of the later process", schemas.Down, fast, slow)
}

// A goodbye counts as well if the node was found silent before: heartbeats that are older
// do not bring it up.
func TestGoodbyeOfASilentNode(t *testing.T) {
	w := newWorld(t, 0, Options{Silence: time.Hour})
	fast, slow := w.c, w.coordinator(Options{Silence: time.Hour})
	if rep := w.register(fast, orderedCard(schemas.Up, 100, 1)); rep.Err() != nil {
		t.Fatal(rep.Err())
	}
	w.is("after the registration", schemas.Up, fast, slow)
	fast.members.move(bustest.Patient(t), "abc", "it has been silent", func(_ *member, c *card) { c.lose() })
	w.deliver(fast, orderedCard(schemas.Down, 100, 3))
	w.is("after the goodbye", schemas.Down, fast, slow)
	w.deliver(slow, orderedCard(schemas.Up, 100, 2))
	w.is("after an old heartbeat", schemas.Down, fast, slow)
}

// What an older card says of free space and trouble does not replace what is known.
func TestOldCardsDoNotReplaceWhatIsKnown(t *testing.T) {
	w := newWorld(t, 0, Options{Silence: time.Hour})
	w.register(w.c, orderedCard(schemas.Up, 100, 1))
	full := orderedCard(schemas.Up, 100, 3)
	full.Node.Trouble, full.Node.Chunks = string(schemas.DiskFull), 7
	w.deliver(w.c, full)
	w.deliver(w.c, orderedCard(schemas.Up, 100, 2))
	w.register(w.c, orderedCard(schemas.Up, 100, 2))
	if n := w.c.members.nodeMap().Find("abc"); n.Trouble != full.Node.Trouble || n.Chunks != 7 {
		t.Errorf("after older cards the node has %d chunks and the trouble %q", n.Chunks, n.Trouble)
	}
}

// Nodes that do not order their cards yet come and go as they say.
func TestCardsWithoutAnOrder(t *testing.T) {
	w := newWorld(t, 0, Options{Silence: time.Hour})
	w.register(w.c, orderedCard(schemas.Up, 100, 5)) // the node is then replaced by an older program
	for range 2 {
		w.deliver(w.c, orderedCard(schemas.Down, 0, 0))
		w.is("after the goodbye", schemas.Down, w.c)
		w.register(w.c, orderedCard(schemas.Up, 0, 0))
		w.is("after the registration", schemas.Up, w.c)
	}
}

// A coordinator that comes up after everything was away for long gives the nodes the
// time to be heard.
func TestGoneNeedsSilence(t *testing.T) {
	w := newWorld(t, 0, Options{Silence: time.Hour, Grace: time.Millisecond})
	n := schemas.Node{ID: "abc", Name: "disk", Weight: 1, State: schemas.Up}
	if err := w.request(schemas.SubjectRegister, &schemas.RegisterRequest{Node: n}, &schemas.RegisterReply{}); err != nil {
		t.Fatal(err)
	}
	n.State = schemas.Down
	w.heartbeat(n)
	w.becomes("abc", schemas.Down)
	late := w.coordinator(Options{Silence: 2 * time.Second, Grace: time.Millisecond})
	tick, bound := time.NewTicker(time.Millisecond), time.After(500*time.Millisecond)
	defer tick.Stop()
	for waiting := true; waiting; {
		select {
		case <-tick.C:
			late.members.mu.Lock()
			k := late.members.nodes["abc"]
			if k.card.State == schemas.Gone && time.Since(k.heard) < 2*time.Second {
				t.Error("the node is gone before it could be heard")
				waiting = false
			}
			late.members.mu.Unlock()
		case <-bound:
			waiting = false
		}
	}
	bustest.Eventually(t, "the node is gone", func() bool { return late.members.nodeMap().Find("abc").State == schemas.Gone })
}

// An operator drains a node and takes that back; the wish outlives the node's
// absence, for which nobody waits.
func TestDrain(t *testing.T) {
	w := newWorld(t, 2, Options{})
	n := w.node()
	id := n.store.NodeID()
	changed := w.events(schemas.EventNodeState)
	if err := w.state(string(id), schemas.Draining, false); err != nil {
		t.Fatal(err)
	}
	if e := bustest.Receive(t, "the event", changed); e.Subject != string(id) {
		t.Errorf("the event is %+v", e)
	}
	if m := w.c.members.nodeMap(); m.Find(id).State != schemas.Draining || len(m.Writable()) != 2 {
		t.Errorf("the map is %+v", m)
	}
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	w.becomes(id, schemas.Gone)
	n = w.nodeOn(n.store)
	w.becomes(id, schemas.Draining)
	if err := w.state(string(id), schemas.Up, false); err != nil {
		t.Fatal(err)
	}
	w.becomes(id, schemas.Up)
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	w.becomes(id, schemas.Down)
}

// Only a node that holds nothing, or is gone, is removed, unless the operator insists;
// and one that was removed does not come back until he says so.
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
		return w.c.members.nodeMap().Find(id).Chunks > 0
	})
	wantCode(t, w.state(string(id), schemas.Removed, false), schemas.NotNow)
	wantCode(t, w.state("nosuch", schemas.Draining, false), schemas.UnknownNode)
	wantCode(t, w.state(string(id), schemas.Down, false), schemas.BadRequest)
	if err := w.state(string(id), schemas.Removed, true); err != nil {
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
	if m := late.members.nodeMap(); m.Find(id) != nil {
		t.Errorf("a new coordinator knows the node: %+v", m)
	}
	if err := late.Stop(); err != nil {
		t.Fatal(err)
	}
	bustest.Eventually(t, "one that does not stop answers", func() bool { return w.state(string(id), schemas.Up, false) == nil })
	w.becomes(id, schemas.Up) // at its next heartbeat

	empty := w.node()
	bustest.Eventually(t, "a node that holds nothing is removed", func() bool {
		return w.state(string(empty.store.NodeID()), schemas.Removed, false) == nil // once it was heard
	})
}

// What nobody has heard since the coordinators started is not taken for empty.
func TestRemoveWhatNobodyKnows(t *testing.T) {
	w := newWorld(t, 1, Options{})
	n := w.node()
	id := n.store.NodeID()
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	w.becomes(id, schemas.Down)
	late := w.coordinator(Options{})
	_, err := late.members.nodeState(bustest.Patient(t), &schemas.NodeStateRequest{Node: string(id), State: schemas.Removed})
	wantCode(t, err, schemas.NotNow)
}

// A name is as good as an id as long as one node has it.
func TestNodesByName(t *testing.T) {
	w := newWorld(t, 0, Options{})
	for _, n := range []schemas.Node{{ID: "a", Name: "disk", Weight: 1}, {ID: "b", Name: "disk", Weight: 1}, {ID: "c", Name: "b", Weight: 1}} {
		if err := w.request(schemas.SubjectRegister, &schemas.RegisterRequest{Node: n}, &schemas.RegisterReply{}); err != nil {
			t.Fatal(err)
		}
	}
	err := w.state("disk", schemas.Draining, false)
	wantCode(t, err, schemas.BadRequest)
	if err != nil && (!strings.Contains(err.Error(), "a") || !strings.Contains(err.Error(), "id")) {
		t.Errorf("the error is %q", err)
	}
	if err := w.state("b", schemas.Draining, false); err != nil { // an id goes over a name
		t.Fatal(err)
	}
	if w.stateOf("b") != schemas.Draining || w.stateOf("c") != schemas.Up {
		t.Errorf("b is %s, c is %s", w.stateOf("b"), w.stateOf("c"))
	}
	// Nobody has heard of it but in its registration, so it holds nothing.
	if err := w.state("b", schemas.Removed, false); err != nil {
		t.Fatal(err)
	}
	if err := w.state("disk", schemas.Draining, false); err != nil { // one is left
		t.Error(err)
	}
}

// That a node refuses puts is a change of the map, and so is its end; but it does not
// go to and fro as fast as the node does.
func TestTroubleIsInTheMap(t *testing.T) {
	w := newWorld(t, 1, Options{Silence: 2 * time.Second})
	n := schemas.Node{ID: "abc", Name: "disk", Weight: 1, State: schemas.Up}
	if err := w.request(schemas.SubjectRegister, &schemas.RegisterRequest{Node: n}, &schemas.RegisterReply{}); err != nil {
		t.Fatal(err)
	}
	writable := func(want int) {
		t.Helper()
		bustest.Eventually(t, "the trouble is noticed", func() bool { return len(w.c.members.nodeMap().Writable()) == want })
	}
	heard := func(chunks int64) {
		t.Helper()
		n.Chunks = chunks
		w.heartbeat(n)
		bustest.Eventually(t, "the heartbeat is heard", func() bool { return w.c.members.nodeMap().Find("abc").Chunks == chunks })
	}
	before := w.c.members.nodeMap().Epoch
	n.Trouble = string(schemas.DiskFull)
	heard(1)
	writable(1)
	_, err := w.c.members.room(schemas.VaultID{}, false) // which takes two
	wantCode(t, err, schemas.DiskFull)
	now := w.c.members.nodeMap().Epoch
	if now <= before {
		t.Errorf("the epoch went from %d to %d", before, now)
	}
	heard(2)
	if m := w.c.members.nodeMap(); m.Epoch != now {
		t.Errorf("a heartbeat without news changed the epoch from %d to %d", now, m.Epoch)
	}
	n.Trouble = ""
	heard(3)
	writable(2)
	w.c.members.mu.Lock()
	eased := w.c.members.nodes["abc"].eased
	w.c.members.mu.Unlock()
	n.Trouble = string(schemas.DiskFull)
	heard(4)
	writable(1)
	n.Trouble = ""
	for chunks := int64(5); len(w.c.members.nodeMap().Writable()) < 2; chunks++ {
		heard(chunks)
	}
	if again := time.Since(eased); again < 2*time.Second {
		t.Errorf("the end of the trouble was believed again after %v", again)
	}
}
