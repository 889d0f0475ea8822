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

// quiet are options with which nothing is sent again or given up during a test.
var quiet = replica.WriterOptions{Resend: time.Minute, Unsubscribed: time.Minute, Unresponsive: time.Minute}

// testWriter is a Writer under test, which sends puts of one session.
type testWriter struct {
	*replica.Writer
	t       *testing.T
	session string
}

func newTestWriter(t *testing.T, nc *nats.Conn, session string, opt replica.WriterOptions) *testWriter {
	t.Helper()
	s, err := replica.NewWriter(nc, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return &testWriter{s, t, session}
}

// payload is a put of one chunk with size bytes of content.
func (w *testWriter) payload(size int) []byte {
	chunk := newChunk(size)
	b := schemas.NewPut(nil, w.session, vault)
	b.Add(&chunk)
	return b.Put()
}

// send sends a small put and returns the channel that receives its result.
func (w *testWriter) send(set ...schemas.NodeID) <-chan error {
	w.t.Helper()
	done := make(chan error, 2) // so that a wrong second call fails the test and does not block
	if err := w.Send(bustest.Context(w.t), set, w.payload(100), func(err error) { done <- err }); err != nil {
		w.t.Fatalf("send: %v", err)
	}
	return done
}

func (w *testWriter) delivered(what string, done <-chan error) {
	w.t.Helper()
	if err := bustest.Receive(w.t, what, done); err != nil {
		w.t.Errorf("%s: %v", what, err)
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

// A session starts with one message, then never has more bytes unacknowledged than
// the node allows, and fills its window. Two sessions do not share a window.
func TestWriterKeepsWithinTheWindow(t *testing.T) {
	s := bustest.Server(t)
	const messages, size, slots = 24, 50_000, 3
	node := newFakeNode(t, bustest.Connect(t, s), "n1")
	var sessions sync.WaitGroup
	for _, name := range []string{"one", "two"} {
		nc := bustest.Connect(t, s)
		w := newTestWriter(t, nc, name, quiet)
		payloads := make([][]byte, messages)
		for i := range payloads {
			payloads[i] = w.payload(size)
		}
		sessions.Go(func() {
			var acked sync.WaitGroup
			acked.Add(messages)
			for _, p := range payloads {
				err := w.Send(bustest.Context(t), []schemas.NodeID{"n1"}, p, func(err error) {
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
	window := int64(slots * len(newTestWriter(t, node.nc, "one", quiet).payload(size)))

	waiting, acked := map[string][]*fakePut{}, map[string]int{}
	for acked["one"]+acked["two"] < 2*messages {
		p := node.next()
		name, allowed := p.Session, slots
		waiting[name] = append(waiting[name], p)
		if acked[name] == 0 {
			allowed = 1
			for range 3 { // further messages of the session would have arrived after this
				node.flush()
			}
			if node.worstOf(name) > int64(len(p.msg.Data)) {
				t.Errorf("session %s started with more than one message", name)
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

// A put to two nodes is published once, reaches both, and is done only when both
// have acknowledged it.
func TestWriterWaitsForTheWholeSet(t *testing.T) {
	s := bustest.Server(t)
	a, b := newFakeNode(t, bustest.Connect(t, s), "a"), newFakeNode(t, bustest.Connect(t, s), "b")
	w := newTestWriter(t, bustest.Connect(t, s), "s", quiet)
	both := w.send("a", "b")
	a.next().ack()
	// When this put is done, the first acknowledgement of a has arrived, too.
	one := w.send("a")
	a.next().ack()
	w.delivered("the put to one", one)
	stillOpen(t, "the put to two nodes", both)
	b.next().ack()
	w.delivered("the put to two", both)
	stillOpen(t, "the put to two, after it was done once,", both)
}

// A message that is lost, or whose acknowledgement is lost, is sent again. It is done once.
func TestWriterResendsLostMessages(t *testing.T) {
	s := bustest.Server(t)
	node := newFakeNode(t, bustest.Connect(t, s), "n1")
	w := newTestWriter(t, bustest.Connect(t, s), "s", replica.WriterOptions{Resend: 20 * time.Millisecond, Unresponsive: time.Minute})
	seen := map[schemas.ChunkID]int{}
	node.serve(func(p *fakePut) {
		id := p.Chunks[0].ID
		if seen[id]++; seen[id] > 1 || len(seen)%2 == 1 { // every second message is dropped once
			p.ack()
		}
	})
	var done []<-chan error
	for range 20 {
		done = append(done, w.send("n1"))
	}
	for i, d := range done {
		w.delivered(fmt.Sprintf("put %d", i), d)
	}
	for i, d := range done {
		stillOpen(t, fmt.Sprintf("put %d, after it was done once,", i), d)
	}
}

// A message that a responding node never received is sent again, because the node has
// acknowledged newer ones.
func TestWriterNoticesOneLostMessage(t *testing.T) {
	s := bustest.Server(t)
	node := newFakeNode(t, bustest.Connect(t, s), "n1")
	w := newTestWriter(t, bustest.Connect(t, s), "s", replica.WriterOptions{Resend: 100 * time.Millisecond, Unresponsive: time.Minute})
	warm := w.send("n1")
	node.next().ack()
	w.delivered("the first put", warm)
	done := w.send("n1")
	lost := node.next().Chunks[0].ID
	bustest.Eventually(t, "the lost message comes again", func() bool {
		w.send("n1")
		p := node.next()
		p.ack()
		return p.Chunks[0].ID == lost
	})
	w.delivered("the put that was lost", done)
}

// A node that is shutting down is not given up at once: it may come back.
func TestWriterWaitsForANodeThatCloses(t *testing.T) {
	s := bustest.Server(t)
	node := newFakeNode(t, bustest.Connect(t, s), "n1")
	w := newTestWriter(t, bustest.Connect(t, s), "s", replica.WriterOptions{Resend: 20 * time.Millisecond, Unresponsive: time.Minute})
	done := w.send("n1")
	node.next().answer(wide, schemas.NodeClosed)
	again := node.next()
	stillOpen(t, "a put that the closing node refused", done)
	again.ack()
	w.delivered("the put", done)
}

// A refusal ends the message with the node's error, and the session goes on.
func TestWriterReportsRefusals(t *testing.T) {
	s := bustest.Server(t)
	node := newFakeNode(t, bustest.Connect(t, s), "n1")
	w := newTestWriter(t, bustest.Connect(t, s), "s", quiet)
	for _, code := range []schemas.Code{schemas.DiskFull, schemas.DiskFailed, schemas.BadChunk, schemas.BadRequest} {
		done := w.send("n1")
		node.next().answer(0, code)
		bustest.WantCode(t, bustest.Receive(t, "the refusal", done), code)
	}
	done := w.send("n1")
	node.next().ack()
	w.delivered("the put after the refusals", done)
}

// Malformed answers, and answers of other nodes, are ignored.
func TestWriterIgnoresNonsense(t *testing.T) {
	s := bustest.Server(t)
	node, other := newFakeNode(t, bustest.Connect(t, s), "n1"), newFakeNode(t, bustest.Connect(t, s), "n2")
	w := newTestWriter(t, bustest.Connect(t, s), "s", quiet)
	warm := w.send("n2")
	other.next().ack()
	w.delivered("the put to the other", warm)
	done := w.send("n1")
	p := node.next()
	for _, nonsense := range []string{"", "x", "\xc1", "\x80"} {
		if err := p.msg.Respond([]byte(nonsense)); err != nil {
			t.Fatal(err)
		}
	}
	(&fakePut{p.PutRequest, other, p.msg}).ack() // from a node that is not of this set
	if err := node.nc.Publish(p.msg.Reply+"x", nil); err != nil {
		t.Fatal(err)
	}
	node.flush()
	other.flush()
	stillOpen(t, "a put that no node has acknowledged", done)
	p.ack()
	w.delivered("the put", done)
}

// A node that is not subscribed, or is unresponsive, is given up after a timeout. Meanwhile
// the Writer reports that it waits for the node.
func TestWriterGivesUpANodeAfterItsTimeout(t *testing.T) {
	for name, subscribed := range map[string]bool{"not subscribed": false, "unresponsive": true} {
		t.Run(name, func(t *testing.T) {
			s := bustest.Server(t)
			if subscribed {
				newFakeNode(t, bustest.Connect(t, s), "n1")
			}
			var said bustest.Statuses
			opt := replica.WriterOptions{Resend: 40 * time.Millisecond, Unsubscribed: 100 * time.Millisecond, Unresponsive: time.Minute, Status: said.Add}
			if subscribed {
				opt.Unsubscribed, opt.Unresponsive = time.Minute, 100*time.Millisecond
			}
			w := newTestWriter(t, bustest.Connect(t, s), "s", opt)
			bustest.WantIs(t, bustest.Receive(t, "the failure", w.send("n1")), replica.ErrUnresponsive)
			if !said.Contains("n1") {
				t.Errorf("no status names n1: %q", said.All())
			}
		})
	}
}

// A message that some nodes do not take ends when all other nodes of the set have
// acknowledged it. The error names the nodes that do not take it: those that the newest map
// says are not reachable, and those whose disks are full.
func TestWriterNamesTheNodesThatDoNotTakeAMessage(t *testing.T) {
	s := bustest.Server(t)
	nodes := map[schemas.NodeID]*fakeNode{}
	m := &schemas.NodeMap{Epoch: 2}
	for _, id := range []schemas.NodeID{"a", "b", "c"} {
		nodes[id] = newFakeNode(t, bustest.Connect(t, s), id)
		m.Nodes = append(m.Nodes, schemas.Node{ID: id, Name: "disk-" + string(id), State: schemas.Up})
	}
	w := newTestWriter(t, bustest.Connect(t, s), "s", quiet)
	w.SetMap(m)
	wantNodes := func(err error, cause error, want ...schemas.NodeID) {
		t.Helper()
		var partial *replica.PartialFailure
		if !errors.As(err, &partial) || !slices.Equal(partial.Nodes, want) || !errors.Is(err, cause) {
			t.Errorf("the error is %v, want a partial failure of %v", err, want)
		}
	}

	done := w.send("a", "b", "c")
	nodes["a"].next().ack()
	nodes["b"].next().answer(0, schemas.DiskFull)
	last := nodes["c"].next()
	nodes["b"].flush()
	stillOpen(t, "a put that c may still acknowledge", done)
	last.ack()
	wantNodes(bustest.Receive(t, "the end", done), &schemas.Error{Code: schemas.DiskFull}, "b")

	done = w.send("a", "b")
	nodes["a"].next().ack()
	nodes["b"].next()
	down := *m
	down.Epoch, down.Nodes = 3, slices.Clone(m.Nodes)
	down.Nodes[1].State, down.Nodes[2].State = schemas.Down, schemas.Gone
	stillOpen(t, "a put that b has not acknowledged", done)
	w.SetMap(&down)
	err := bustest.Receive(t, "the end", done)
	wantNodes(err, replica.ErrUnresponsive, "b")
	if err != nil && !strings.Contains(err.Error(), "disk-b is down") {
		t.Errorf("%q does not say that the node is down", err)
	}
	w.SetMap(m) // an older map, which is ignored
	wantNodes(bustest.Receive(t, "the end", w.send("b", "c")), replica.ErrUnresponsive, "b", "c")

	// Failed messages do not fill the window.
	down.Epoch = 4
	down.Nodes = m.Nodes
	w.SetMap(&down)
	done = w.send("b")
	nodes["b"].next().ack() // of the put that failed
	nodes["b"].next().ack()
	w.delivered("a put to a node that is up again", done)
}

// A node that has responded before may be restarting: it gets more time than a node that
// has never responded.
func TestWriterWaitsForARestart(t *testing.T) {
	s := bustest.Server(t)
	node := newFakeNode(t, bustest.Connect(t, s), "n1")
	var said bustest.Statuses
	w := newTestWriter(t, bustest.Connect(t, s), "s", replica.WriterOptions{
		Resend: 100 * time.Millisecond, Unsubscribed: time.Millisecond, Unresponsive: bustest.Timeout / 2, Status: said.Add})
	first := w.send("n1")
	node.next().ack()
	w.delivered("the first put", first)
	node.unsubscribe()
	done := w.send("n1")
	bustest.Eventually(t, "a status", func() bool { return said.Contains("waiting for storage node n1") })
	stillOpen(t, "a put to a node that restarts", done)
	node.subscribe()
	node.next().ack()
	w.delivered("the put", done)
	if last := said.Last(); last != "" {
		t.Errorf("the last status is %q, want that it goes on", last)
	}
}

// After a reconnect everything unacknowledged is sent again. The time without a connection
// does not count for the timeouts of nodes.
func TestWriterSurvivesReconnect(t *testing.T) {
	dir := t.TempDir()
	s := bustest.StartServer(t, embedded.Options{Dir: dir, Listen: bustest.FreeAddress(t)})
	nc := bustest.Dial(t, s.URL())
	node := newFakeNode(t, nc, "n1") // on the Writer's connection: both are back at once
	const timeout = time.Second
	w := newTestWriter(t, nc, "s", replica.WriterOptions{Resend: time.Minute, Unsubscribed: timeout, Unresponsive: timeout})
	warm := w.send("n1")
	node.next().ack()
	w.delivered("the first put", warm)
	var done []<-chan error
	sent := time.Now()
	for range 3 {
		done = append(done, w.send("n1"))
		node.next() // without an answer
	}
	bustest.Restart(t, s, dir, nc, func() {
		bustest.Eventually(t, "the time without a connection exceeds the timeout", func() bool { return time.Since(sent) > timeout*3/2 })
	})
	for range done {
		node.next().ack()
	}
	for i, d := range done {
		w.delivered(fmt.Sprintf("put %d", i), d)
	}
}

// When the connection is closed, pending and later messages fail.
func TestWriterFailsWhenTheConnectionIsClosed(t *testing.T) {
	s := bustest.Server(t)
	node := newFakeNode(t, bustest.Connect(t, s), "n1")
	nc := bustest.Connect(t, s)
	w := newTestWriter(t, nc, "s", quiet)
	done := w.send("n1")
	node.next()
	nc.Close()
	bustest.WantIs(t, bustest.Receive(t, "the failure", done), nats.ErrConnectionClosed)
	bustest.WantIs(t, w.Send(bustest.Context(t), []schemas.NodeID{"n1"}, w.payload(1), func(error) {}), nats.ErrConnectionClosed)
}

// Close fails pending messages, and messages that wait for space in a window.
func TestCloseFailsPendingAndBlockedMessages(t *testing.T) {
	s := bustest.Server(t)
	node := newFakeNode(t, bustest.Connect(t, s), "n1")
	w := newTestWriter(t, bustest.Connect(t, s), "s", quiet)
	pending := w.send("n1")
	node.next()
	blocked := make(chan error, 1)
	go func() {
		blocked <- w.Send(bustest.Context(t), []schemas.NodeID{"n1"}, w.payload(1), func(error) {})
	}()
	w.Close()
	if err := bustest.Receive(t, "the pending put", pending); err == nil {
		t.Error("a put that no node acknowledged succeeded")
	}
	if err := bustest.Receive(t, "the put that waits for space", blocked); err == nil {
		t.Error("a closed Writer accepted a put")
	}
	w.Close() // a second Close does nothing
	stillOpen(t, "the put, after it was done once,", pending)
}

// Send fails for a message that is too large, has no nodes, or waits when its context ends.
func TestSendFailsForWhatCannotBeSent(t *testing.T) {
	s := bustest.Server(t)
	node := newFakeNode(t, bustest.Connect(t, s), "n1")
	w := newTestWriter(t, bustest.Connect(t, s), "s", quiet)
	bustest.WantCode(t, w.Send(bustest.Context(t), nil, w.payload(1), func(error) {}), schemas.NoNode)
	huge := make(chan error, 1)
	if err := w.Send(bustest.Context(t), []schemas.NodeID{"n1"}, make([]byte, 2<<20), func(err error) { huge <- err }); err != nil {
		t.Fatal(err)
	}
	bustest.WantIs(t, bustest.Receive(t, "the failure", huge), nats.ErrMaxPayload)
	pending := w.send("n1") // the failed message does not fill the window
	p := node.next()
	ctx, cancel := context.WithCancel(t.Context())
	blocked := make(chan error, 1)
	go func() { blocked <- w.Send(ctx, []schemas.NodeID{"n1"}, w.payload(1), func(error) {}) }()
	cancel()
	bustest.WantIs(t, bustest.Receive(t, "the end of waiting", blocked), context.Canceled)
	p.ack()
	w.delivered("the put before", pending)
}

// After done was called, the caller may reuse the payload: nothing that is still on its way
// changes, although every message is sent again. The node checks all checksums.
func TestPayloadMayBeReusedAfterDone(t *testing.T) {
	s := bustest.Server(t)
	node := newFakeNode(t, bustest.Connect(t, s), "n1")
	seen := map[schemas.ChunkID]int{}
	node.serve(func(p *fakePut) {
		id := p.Chunks[0].ID
		if seen[id]++; seen[id] > 1 {
			p.ack()
		}
	})
	w := newTestWriter(t, bustest.Connect(t, s), "s", replica.WriterOptions{Resend: time.Millisecond, Unresponsive: time.Minute})
	free := make(chan []byte, 8)
	for range cap(free) {
		free <- nil
	}
	for range 150 {
		chunk := newChunk(10_000)
		b := schemas.NewPut(bustest.Receive(t, "a free buffer", free), "s", vault)
		b.Add(&chunk)
		payload := b.Put()
		err := w.Send(bustest.Context(t), []schemas.NodeID{"n1"}, payload, func(err error) {
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
