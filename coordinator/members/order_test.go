package members

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"servidor-backup/bus/bustest"
	"servidor-backup/bus/embedded"
	"servidor-backup/bus/kv"
	"servidor-backup/schemas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is the members of several coordinators, on one server, and what they publish.
type fixture struct {
	t      *testing.T
	server *embedded.Server
	all    []*Members
	events chan schemas.Event
}

// newFixture starts the members of that many coordinators.
func newFixture(t *testing.T, count int, opt Options) *fixture {
	t.Helper()
	f := &fixture{t: t, server: bustest.Server(t), events: make(chan schemas.Event, 1000)}
	for range count {
		f.start(opt)
	}
	return f
}

// start starts the members of one more coordinator.
func (f *fixture) start(opt Options) *Members {
	f.t.Helper()
	nc := bustest.Connect(f.t, f.server)
	bucket, err := kv.Open(bustest.Context(f.t), nc, kv.Config{Name: "cards"})
	if err != nil {
		f.t.Fatal(err)
	}
	opt.Log = slog.New(slog.DiscardHandler)
	opt.PolicyWritten = func(string) {}
	opt.Event = func(kind, subject, _, _ string, _ ...any) { f.events <- schemas.Event{Kind: kind, Subject: subject} }
	m := New(bucket, opt)
	run, stop := context.WithCancel(context.Background())
	var loops sync.WaitGroup
	f.t.Cleanup(func() {
		stop()
		loops.Wait()
	})
	if err := m.Start(bustest.Context(f.t), run, nc, &loops); err != nil {
		f.t.Fatal(err)
	}
	f.all = append(f.all, m)
	return m
}

// orderedCard is a card of the node "abc" with a position in the order of its cards.
func orderedCard(state schemas.State, started int64, seq uint64) *schemas.RegisterRequest {
	return &schemas.RegisterRequest{Protocol: schemas.ProtocolVersion, Started: started, Seq: seq,
		Node: schemas.Node{ID: "abc", Name: "disk", Weight: 1, State: state}}
}

// deliver makes one coordinator handle a heartbeat or a goodbye, and returns when it has.
func (f *fixture) deliver(m *Members, card *schemas.RegisterRequest) {
	f.t.Helper()
	b, err := schemas.Marshal(card)
	if err != nil {
		f.t.Fatal(err)
	}
	m.heartbeat(bustest.Context(f.t), b)
}

// register makes one coordinator handle a registration.
func (f *fixture) register(m *Members, card *schemas.RegisterRequest) *schemas.RegisterReply {
	f.t.Helper()
	rep, err := m.Register(bustest.Context(f.t), card)
	if err != nil {
		f.t.Fatal(err)
	}
	return rep.(*schemas.RegisterReply)
}

// mustRegister is register of a card that must be accepted.
func (f *fixture) mustRegister(m *Members, card *schemas.RegisterRequest) {
	f.t.Helper()
	if rep := f.register(m, card); rep.Err() != nil {
		f.t.Fatal(rep.Err())
	}
}

// wantState checks the node's state in the maps of all coordinators, after each has seen what
// any of them has written.
func (f *fixture) wantState(when string, want schemas.State) {
	f.t.Helper()
	revision, err := f.all[0].bucket.Get(bustest.Context(f.t), "abc", &card{})
	if err != nil {
		f.t.Fatal(err)
	}
	for i, m := range f.all {
		if err := m.waitFor(bustest.Context(f.t), revision); err != nil {
			f.t.Fatal(err)
		}
		if n := m.Map().Find("abc"); n == nil || n.State != want {
			f.t.Errorf("%s: for coordinator %d the node is %+v, want it to be %s", when, i, n, want)
		}
	}
}

// Two coordinators hear the same heartbeats, but one may handle a heartbeat only after the
// other has handled the goodbye that followed it. The node stays down then, and is up again
// when its next process registers.
func TestOldCardsDoNotBringANodeUp(t *testing.T) {
	f := newFixture(t, 2, Options{DownAfter: time.Hour})
	fast, slow := f.all[0], f.all[1]
	f.mustRegister(fast, orderedCard(schemas.Up, 100, 1))
	f.wantState("after the registration", schemas.Up)
	f.deliver(fast, orderedCard(schemas.Up, 100, 2))
	f.deliver(fast, orderedCard(schemas.Down, 100, 3))
	f.wantState("after the goodbye", schemas.Down)
	f.deliver(slow, orderedCard(schemas.Up, 100, 2))
	f.wantState("after an old heartbeat", schemas.Down)
	rep := f.register(slow, orderedCard(schemas.Up, 100, 2))
	if schemas.CodeOf(rep.Err()) != schemas.NotNow || rep.Started != 100 {
		t.Errorf("an old registration is answered with %v and the start %d, want 100", rep.Err(), rep.Started)
	}
	f.wantState("after an old registration", schemas.Down)
	f.deliver(slow, orderedCard(schemas.Down, 100, 3))
	f.wantState("after the goodbye is handled again", schemas.Down)
	f.mustRegister(slow, orderedCard(schemas.Up, 200, 1))
	f.wantState("after the next process has registered", schemas.Up)
	var got []string
	for len(f.events) > 0 {
		got = append(got, (<-f.events).Kind)
	}
	if want := []string{schemas.EventNodeRegistered, schemas.EventNodeDown, schemas.EventNodeRegistered}; !slices.Equal(got, want) {
		t.Errorf("the events are %v, want %v", got, want)
	}
}

// A goodbye is the end of one process of the node. It is no end of a later one, even if
// no card of the later one has changed anything but the process.
func TestOldGoodbyeDoesNotTakeANodeDown(t *testing.T) {
	f := newFixture(t, 2, Options{DownAfter: time.Hour})
	fast, slow := f.all[0], f.all[1]
	for started := range int64(2) {
		f.mustRegister(fast, orderedCard(schemas.Up, 100+started, 1))
	}
	f.wantState("after both registrations", schemas.Up)
	for _, c := range []*Members{slow, fast} {
		f.deliver(c, orderedCard(schemas.Down, 100, 2))
		f.wantState("after the old goodbye", schemas.Up)
	}
	f.deliver(slow, orderedCard(schemas.Down, 101, 2))
	f.wantState("after the goodbye of the later process", schemas.Down)
}

// A goodbye counts as well if the node was found unresponsive before: heartbeats that are older
// do not bring it up.
func TestGoodbyeOfASilentNode(t *testing.T) {
	f := newFixture(t, 2, Options{DownAfter: time.Hour})
	fast, slow := f.all[0], f.all[1]
	f.mustRegister(fast, orderedCard(schemas.Up, 100, 1))
	f.wantState("after the registration", schemas.Up)
	fast.changeCard(bustest.Context(t), "abc", "it has not responded", func(_ *heard, c *card) { c.markUnreachable() })
	f.deliver(fast, orderedCard(schemas.Down, 100, 3))
	f.wantState("after the goodbye", schemas.Down)
	f.deliver(slow, orderedCard(schemas.Up, 100, 2))
	f.wantState("after an old heartbeat", schemas.Down)
}

// What an older card says of free space and trouble does not replace what is known.
func TestOldCardsDoNotReplaceWhatIsKnown(t *testing.T) {
	f := newFixture(t, 1, Options{DownAfter: time.Hour})
	m := f.all[0]
	f.register(m, orderedCard(schemas.Up, 100, 1))
	full := orderedCard(schemas.Up, 100, 3)
	full.Node.Trouble, full.Node.Chunks = string(schemas.DiskFull), 7
	f.deliver(m, full)
	f.deliver(m, orderedCard(schemas.Up, 100, 2))
	f.register(m, orderedCard(schemas.Up, 100, 2))
	if n := m.Map().Find("abc"); n.Trouble != full.Node.Trouble || n.Chunks != 7 {
		t.Errorf("after older cards the node has %d chunks and the trouble %q", n.Chunks, n.Trouble)
	}
}

// Nodes that do not order their cards yet come and go as they say.
func TestCardsWithoutAnOrder(t *testing.T) {
	f := newFixture(t, 1, Options{DownAfter: time.Hour})
	m := f.all[0]
	f.register(m, orderedCard(schemas.Up, 100, 5)) // the node is then replaced by an older program
	for range 2 {
		f.deliver(m, orderedCard(schemas.Down, 0, 0))
		f.wantState("after the goodbye", schemas.Down)
		f.register(m, orderedCard(schemas.Up, 0, 0))
		f.wantState("after the registration", schemas.Up)
	}
}
