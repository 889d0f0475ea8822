package replica_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"servidor-backup/bus/bustest"
	"servidor-backup/bus/embedded"
	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
)

// quiet are options under which nothing is sent again, or given up, in the time
// of a test.
var quiet = replica.WriterOptions{Resend: time.Minute, Unsubscribed: time.Minute, Unresponsive: time.Minute}

// sending is a sender under test.
type sending struct {
	*replica.Writer
	t       *testing.T
	session string
}

func newSender(t *testing.T, nc *nats.Conn, session string, opt replica.WriterOptions) *sending {
	t.Helper()
	s, err := replica.NewWriter(nc, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return &sending{s, t, session}
}

// payload is a put of one chunk of so many bytes.
func (s *sending) payload(size int) []byte {
	chunk := newChunk(size)
	b := schemas.NewPut(nil, s.session, vault)
	b.Add(&chunk)
	return b.Put()
}

// send sends a small put and returns where its end is told.
func (s *sending) send(set ...schemas.NodeID) <-chan error {
	s.t.Helper()
	done := make(chan error, 2) // a second call is seen by the test, not a deadlock
	if err := s.Send(bustest.Patient(s.t), set, s.payload(100), func(err error) { done <- err }); err != nil {
		s.t.Fatalf("send: %v", err)
	}
	return done
}

func (s *sending) delivered(what string, done <-chan error) {
	s.t.Helper()
	if err := bustest.Receive(s.t, what, done); err != nil {
		s.t.Errorf("%s: %v", what, err)
	}
}

func stillOpen(t *testing.T, what string, done <-chan error) {
	t.Helper()
	select {
	case err := <-done:
		t.Errorf("%s is done already: %v", what, err)
	default:
	}
}

// A session starts with one message, then never has more unacknowledged than
// the node allows, and makes full use of that. Two sessions do not take from
// each other.
func TestSenderKeepsToTheWindow(t *testing.T) {
	s := bustest.Server(t)
	const messages, size, slots = 24, 50_000, 3
	node := newFakeNode(t, bustest.Connect(t, s), "n1")
	var sessions sync.WaitGroup
	for _, name := range []string{"one", "two"} {
		nc := bustest.Connect(t, s)
		snd := newSender(t, nc, name, quiet)
		payloads := make([][]byte, messages)
		for i := range payloads {
			payloads[i] = snd.payload(size)
		}
		sessions.Go(func() {
			var acked sync.WaitGroup
			acked.Add(messages)
			for _, p := range payloads {
				err := snd.Send(bustest.Patient(t), []schemas.NodeID{"n1"}, p, func(err error) {
					if err != nil {
						t.Errorf("session %s: %v", name, err)
					}
					acked.Done()
				})
				if err != nil {
					t.Errorf("session %s: %v", name, err)
					acked.Done()
				}
			}
			acked.Wait()
		})
	}
	window := int64(slots * len(newSender(t, node.nc, "one", quiet).payload(size)))

	waiting, acked := map[string][]*fakePut{}, map[string]int{}
	for acked["one"]+acked["two"] < 2*messages {
		p := node.next()
		name, allowed := p.Session, slots
		waiting[name] = append(waiting[name], p)
		if acked[name] == 0 {
			allowed = 1
			for range 3 { // what else the session would send now is here after this
				node.flush()
			}
			if node.worstOf(name) > int64(len(p.msg.Data)) {
				t.Errorf("session %s began with more than one message", name)
			}
		}
		// The node answers only a session that has filled its window.
		for len(waiting[name]) > 0 && len(waiting[name]) >= min(allowed, messages-acked[name]) {
			waiting[name][0].answer(window, "")
			waiting[name] = waiting[name][1:]
			acked[name]++
			allowed = slots
		}
	}
	sessions.Wait()
	for _, name := range []string{"one", "two"} {
		if worst := node.worstOf(name); worst > window {
			t.Errorf("session %s had %d bytes unacknowledged, %d were allowed", name, worst, window)
		}
	}
}

// A put to two nodes is published once, reaches both, and is done when both
// have synced it, not before.
func TestSenderWaitsForTheWholeSet(t *testing.T) {
	s := bustest.Server(t)
	a, b := newFakeNode(t, bustest.Connect(t, s), "a"), newFakeNode(t, bustest.Connect(t, s), "b")
	snd := newSender(t, bustest.Connect(t, s), "s", quiet)
	both := snd.send("a", "b")
	a.next().ack()
	// What a acknowledges next comes after its first acknowledgement.
	one := snd.send("a")
	a.next().ack()
	snd.delivered("the put to one", one)
	stillOpen(t, "the put to two nodes", both)
	b.next().ack()
	snd.delivered("the put to two", both)
	stillOpen(t, "a put that was done once", both)
}

// A message that is lost on the way there or back is sent again, and done once.
func TestSenderSendsAgain(t *testing.T) {
	s := bustest.Server(t)
	node := newFakeNode(t, bustest.Connect(t, s), "n1")
	snd := newSender(t, bustest.Connect(t, s), "s", replica.WriterOptions{Resend: 20 * time.Millisecond, Unresponsive: time.Minute})
	seen := map[schemas.ChunkID]int{}
	node.serve(func(p *fakePut) {
		id := p.Chunks[0].ID
		if seen[id]++; seen[id] > 1 || len(seen)%2 == 1 { // every other one is dropped once
			p.ack()
		}
	})
	var done []<-chan error
	for range 20 {
		done = append(done, snd.send("n1"))
	}
	for i, d := range done {
		snd.delivered(fmt.Sprintf("put %d", i), d)
	}
	for i, d := range done {
		stillOpen(t, fmt.Sprintf("put %d, done once,", i), d)
	}
}

// A node that answers all the time but never got one message is sent that one
// again: what is newer has been acknowledged.
func TestSenderNoticesOneLostMessage(t *testing.T) {
	s := bustest.Server(t)
	node := newFakeNode(t, bustest.Connect(t, s), "n1")
	snd := newSender(t, bustest.Connect(t, s), "s", replica.WriterOptions{Resend: 100 * time.Millisecond, Unresponsive: time.Minute})
	warm := snd.send("n1")
	node.next().ack()
	snd.delivered("the first put", warm)
	done := snd.send("n1")
	lost := node.next().Chunks[0].ID
	bustest.Eventually(t, "the lost message comes again", func() bool {
		snd.send("n1")
		p := node.next()
		p.ack()
		return p.Chunks[0].ID == lost
	})
	snd.delivered("the put that was lost", done)
}

// A node that is shutting down is waited for: it may come back.
func TestSenderWaitsForANodeThatCloses(t *testing.T) {
	s := bustest.Server(t)
	node := newFakeNode(t, bustest.Connect(t, s), "n1")
	snd := newSender(t, bustest.Connect(t, s), "s", replica.WriterOptions{Resend: 20 * time.Millisecond, Unresponsive: time.Minute})
	done := snd.send("n1")
	node.next().answer(wide, schemas.NodeClosed)
	again := node.next()
	stillOpen(t, "a put that was not taken", done)
	again.ack()
	snd.delivered("the put", done)
}

// A refusal ends the message with the node's reason, and the session goes on.
func TestSenderReportsRefusals(t *testing.T) {
	s := bustest.Server(t)
	node := newFakeNode(t, bustest.Connect(t, s), "n1")
	snd := newSender(t, bustest.Connect(t, s), "s", quiet)
	for _, code := range []schemas.Code{schemas.DiskFull, schemas.DiskFailed, schemas.BadChunk, schemas.BadRequest} {
		done := snd.send("n1")
		node.next().answer(0, code)
		bustest.WantCode(t, bustest.Receive(t, "the refusal", done), code)
	}
	done := snd.send("n1")
	node.next().ack()
	snd.delivered("the put after the refusals", done)
}

// Answers that make no sense are passed over.
func TestSenderIgnoresNonsense(t *testing.T) {
	s := bustest.Server(t)
	node, other := newFakeNode(t, bustest.Connect(t, s), "n1"), newFakeNode(t, bustest.Connect(t, s), "n2")
	snd := newSender(t, bustest.Connect(t, s), "s", quiet)
	warm := snd.send("n2")
	other.next().ack()
	snd.delivered("the put to the other", warm)
	done := snd.send("n1")
	p := node.next()
	for _, nonsense := range []string{"", "x", "\xc1", "\x80"} {
		if err := p.msg.Respond([]byte(nonsense)); err != nil {
			t.Fatal(err)
		}
	}
	(&fakePut{p.PutRequest, other, p.msg}).ack() // not of this set
	if err := node.nc.Publish(p.msg.Reply+"x", nil); err != nil {
		t.Fatal(err)
	}
	node.flush()
	other.flush()
	stillOpen(t, "a put that no node has acknowledged", done)
	p.ack()
	snd.delivered("the put", done)
}

// A node that is not there, or says nothing, ends the message in bounded time,
// and the sender says for whom it waits.
func TestSenderGivesUp(t *testing.T) {
	for name, there := range map[string]bool{"absent": false, "silent": true} {
		t.Run(name, func(t *testing.T) {
			s := bustest.Server(t)
			if there {
				newFakeNode(t, bustest.Connect(t, s), "n1")
			}
			var said bustest.Statuses
			opt := replica.WriterOptions{Resend: 40 * time.Millisecond, Unsubscribed: 100 * time.Millisecond, Unresponsive: time.Minute, Status: said.Add}
			if there {
				opt.Unsubscribed, opt.Unresponsive = time.Minute, 100*time.Millisecond
			}
			snd := newSender(t, bustest.Connect(t, s), "s", opt)
			bustest.WantIs(t, bustest.Receive(t, "the failure", snd.send("n1")), replica.ErrUnresponsive)
			if !said.Contains("n1") {
				t.Errorf("nothing was said of n1: %q", said.All())
			}
		})
	}
}

// What some nodes of a set do not take ends when all others have it, with their
// names: those that the newest map says are away, and those that have no room.
func TestSenderNamesWhoDoesNotTakeIt(t *testing.T) {
	s := bustest.Server(t)
	nodes := map[schemas.NodeID]*fakeNode{}
	m := &schemas.NodeMap{Epoch: 2}
	for _, id := range []schemas.NodeID{"a", "b", "c"} {
		nodes[id] = newFakeNode(t, bustest.Connect(t, s), id)
		m.Nodes = append(m.Nodes, schemas.Node{ID: id, Name: "disk-" + string(id), State: schemas.Up})
	}
	snd := newSender(t, bustest.Connect(t, s), "s", quiet)
	snd.SetMap(m)
	wantNodes := func(err error, cause error, want ...schemas.NodeID) {
		t.Helper()
		var some *replica.PartialFailure
		if !errors.As(err, &some) || !slices.Equal(some.Nodes, want) || !errors.Is(err, cause) {
			t.Errorf("the error is %v, want one about %v", err, want)
		}
	}

	done := snd.send("a", "b", "c")
	nodes["a"].next().ack()
	nodes["b"].next().answer(0, schemas.DiskFull)
	last := nodes["c"].next()
	nodes["b"].flush()
	stillOpen(t, "a put that c may still acknowledge", done)
	last.ack()
	wantNodes(bustest.Receive(t, "the end", done), &schemas.Error{Code: schemas.DiskFull}, "b")

	done = snd.send("a", "b")
	nodes["a"].next().ack()
	nodes["b"].next()
	down := *m
	down.Epoch, down.Nodes = 3, slices.Clone(m.Nodes)
	down.Nodes[1].State, down.Nodes[2].State = schemas.Down, schemas.Gone
	stillOpen(t, "a put that b has not acknowledged", done)
	snd.SetMap(&down)
	err := bustest.Receive(t, "the end", done)
	wantNodes(err, replica.ErrUnresponsive, "b")
	if err != nil && !strings.Contains(err.Error(), "disk-b is down") {
		t.Errorf("%q does not say that the node is down", err)
	}
	snd.SetMap(m) // older, and nothing new
	wantNodes(bustest.Receive(t, "the end", snd.send("b", "c")), replica.ErrUnresponsive, "b", "c")

	// What failed left its room.
	down.Epoch = 4
	down.Nodes = m.Nodes
	snd.SetMap(&down)
	done = snd.send("b")
	nodes["b"].next().ack() // what failed is there, too
	nodes["b"].next().ack()
	snd.delivered("a put to a node that is back", done)
}

// A node that has answered before is restarting: it is given more time than one
// that was never seen.
func TestSenderWaitsForARestart(t *testing.T) {
	s := bustest.Server(t)
	node := newFakeNode(t, bustest.Connect(t, s), "n1")
	var said bustest.Statuses
	snd := newSender(t, bustest.Connect(t, s), "s", replica.WriterOptions{
		Resend: 100 * time.Millisecond, Unsubscribed: time.Millisecond, Unresponsive: bustest.Patience / 2, Status: said.Add})
	first := snd.send("n1")
	node.next().ack()
	snd.delivered("the first put", first)
	node.unsubscribe()
	done := snd.send("n1")
	bustest.Eventually(t, "a status", func() bool { return said.Contains("waiting for storage node n1") })
	stillOpen(t, "a put to a node that restarts", done)
	node.subscribe()
	node.next().ack()
	snd.delivered("the put", done)
	if last := said.Last(); last != "" {
		t.Errorf("the last status is %q, want that it goes on", last)
	}
}

// After the connection was away everything unacknowledged is sent again, and
// the time without a connection is nobody's silence.
func TestSenderSurvivesReconnect(t *testing.T) {
	dir := t.TempDir()
	s := bustest.StartServer(t, embedded.Options{Dir: dir, Listen: bustest.FreeAddress(t)})
	nc := bustest.Dial(t, s.URL())
	node := newFakeNode(t, nc, "n1") // on the sender's own connection: both are back at once
	const silent = time.Second
	snd := newSender(t, nc, "s", replica.WriterOptions{Resend: time.Minute, Unsubscribed: silent, Unresponsive: silent})
	warm := snd.send("n1")
	node.next().ack()
	snd.delivered("the first put", warm)
	var done []<-chan error
	sent := time.Now()
	for range 3 {
		done = append(done, snd.send("n1"))
		node.next() // and says nothing
	}
	bustest.Restart(t, s, dir, nc, func() {
		bustest.Eventually(t, "it was away for longer than a node may be", func() bool { return time.Since(sent) > silent*3/2 })
	})
	for range done {
		node.next().ack()
	}
	for i, d := range done {
		snd.delivered(fmt.Sprintf("put %d", i), d)
	}
}

// When the connection is closed for good, nobody waits for ever.
func TestSenderEndsWithTheConnection(t *testing.T) {
	s := bustest.Server(t)
	node := newFakeNode(t, bustest.Connect(t, s), "n1")
	nc := bustest.Connect(t, s)
	snd := newSender(t, nc, "s", quiet)
	done := snd.send("n1")
	node.next()
	nc.Close()
	bustest.WantIs(t, bustest.Receive(t, "the failure", done), nats.ErrConnectionClosed)
	bustest.WantIs(t, snd.Send(bustest.Patient(t), []schemas.NodeID{"n1"}, snd.payload(1), func(error) {}), nats.ErrConnectionClosed)
}

// Close tells everyone who waits: those whose message is pending, and those who
// wait for room.
func TestSenderClose(t *testing.T) {
	s := bustest.Server(t)
	node := newFakeNode(t, bustest.Connect(t, s), "n1")
	snd := newSender(t, bustest.Connect(t, s), "s", quiet)
	pending := snd.send("n1")
	node.next()
	blocked := make(chan error, 1)
	go func() {
		blocked <- snd.Send(bustest.Patient(t), []schemas.NodeID{"n1"}, snd.payload(1), func(error) {})
	}()
	snd.Close()
	if err := bustest.Receive(t, "the pending put", pending); err == nil {
		t.Error("a put that nobody acknowledged is a success")
	}
	if err := bustest.Receive(t, "the put that waits for room", blocked); err == nil {
		t.Error("a put was taken by a closed sender")
	}
	snd.Close() // again is nothing
	stillOpen(t, "the put, done once,", pending)
}

// What cannot be sent says so: too large, to nobody, or after the context's end.
func TestSenderRefuses(t *testing.T) {
	s := bustest.Server(t)
	node := newFakeNode(t, bustest.Connect(t, s), "n1")
	snd := newSender(t, bustest.Connect(t, s), "s", quiet)
	bustest.WantCode(t, snd.Send(bustest.Patient(t), nil, snd.payload(1), func(error) {}), schemas.NoNode)
	huge := make(chan error, 1)
	if err := snd.Send(bustest.Patient(t), []schemas.NodeID{"n1"}, make([]byte, 2<<20), func(err error) { huge <- err }); err != nil {
		t.Fatal(err)
	}
	bustest.WantIs(t, bustest.Receive(t, "the failure", huge), nats.ErrMaxPayload)
	pending := snd.send("n1") // what failed left its room
	p := node.next()
	ctx, cancel := context.WithCancel(t.Context())
	blocked := make(chan error, 1)
	go func() { blocked <- snd.Send(ctx, []schemas.NodeID{"n1"}, snd.payload(1), func(error) {}) }()
	cancel()
	bustest.WantIs(t, bustest.Receive(t, "the end of waiting", blocked), context.Canceled)
	p.ack()
	snd.delivered("the put before", pending)
}

// done gives the payload back: whoever reuses it then changes nothing that is
// still on its way, though every message is sent again. The node checks every
// checksum.
func TestSenderGivesPayloadsBack(t *testing.T) {
	s := bustest.Server(t)
	node := newFakeNode(t, bustest.Connect(t, s), "n1")
	seen := map[schemas.ChunkID]int{}
	node.serve(func(p *fakePut) {
		id := p.Chunks[0].ID
		if seen[id]++; seen[id] > 1 {
			p.ack()
		}
	})
	snd := newSender(t, bustest.Connect(t, s), "s", replica.WriterOptions{Resend: time.Millisecond, Unresponsive: time.Minute})
	free := make(chan []byte, 8)
	for range cap(free) {
		free <- nil
	}
	for range 150 {
		chunk := newChunk(10_000)
		b := schemas.NewPut(bustest.Receive(t, "a free buffer", free), "s", vault)
		b.Add(&chunk)
		payload := b.Put()
		err := snd.Send(bustest.Patient(t), []schemas.NodeID{"n1"}, payload, func(err error) {
			if err != nil {
				t.Error(err)
			}
			clear(payload)
			free <- payload
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for range cap(free) {
		bustest.Receive(t, "the last buffers", free)
	}
}
