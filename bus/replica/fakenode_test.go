package replica_test

import (
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"servidor-backup/bus/bustest"
	"servidor-backup/schemas"
)

// fakeNode is a storage node made of plain subscriptions, so that a test decides what
// happens to each put.
type fakeNode struct {
	t  *testing.T
	id schemas.NodeID
	nc *nats.Conn

	subs []*nats.Subscription
	puts chan *fakePut

	mu      sync.Mutex
	unacked map[string]int64 // unacknowledged bytes, by session
	worst   map[string]int64 // the maximum of unacked, by session
}

// fakePut is one delivery of a put to a node.
type fakePut struct {
	*schemas.PutRequest
	node *fakeNode
	msg  *nats.Msg
}

func newFakeNode(t *testing.T, nc *nats.Conn, id schemas.NodeID) *fakeNode {
	t.Helper()
	n := &fakeNode{t: t, id: id, nc: nc, puts: make(chan *fakePut, 4096),
		unacked: map[string]int64{}, worst: map[string]int64{}}
	n.subscribe()
	return n
}

func (n *fakeNode) subscribe() {
	n.t.Helper()
	for _, subject := range schemas.PutSubscriptions(n.id) {
		sub, err := n.nc.Subscribe(subject, n.receive)
		if err != nil {
			n.t.Fatal(err)
		}
		n.subs = append(n.subs, sub)
	}
	n.flush()
}

func (n *fakeNode) unsubscribe() {
	n.t.Helper()
	for _, sub := range n.subs {
		if err := sub.Unsubscribe(); err != nil {
			n.t.Fatal(err)
		}
	}
	n.subs = nil
	n.flush()
}

func (n *fakeNode) flush() {
	n.t.Helper()
	if err := n.nc.FlushTimeout(bustest.Timeout); err != nil {
		n.t.Fatal(err)
	}
}

func (n *fakeNode) receive(m *nats.Msg) {
	put, err := schemas.DecodePut(m.Data)
	if err != nil {
		n.t.Errorf("node %s received a malformed put: %v", n.id, err)
		return
	}
	for i := range put.Chunks {
		if put.Chunks[i].Checksum() != put.Chunks[i].Sum {
			n.t.Errorf("chunk %s arrived with a wrong checksum", put.Chunks[i].ID.Short())
		}
	}
	n.mu.Lock()
	n.unacked[put.Session] += int64(len(m.Data))
	n.worst[put.Session] = max(n.worst[put.Session], n.unacked[put.Session])
	n.mu.Unlock()
	n.puts <- &fakePut{put, n, m}
}

// worstOf is the largest number of bytes that the session ever had unacknowledged at the
// node.
func (n *fakeNode) worstOf(session string) int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.worst[session]
}

// answer acknowledges the put, or refuses it if code is not empty, with a new window.
func (p *fakePut) answer(window int64, code schemas.Code) {
	rep := schemas.PutReply{Reply: schemas.OK, Node: p.node.id, Window: window}
	if code != "" {
		rep.Reply = schemas.Fail(schemas.Errorf(code, "refused by the test"))
	}
	b, err := schemas.Marshal(&rep)
	if err != nil {
		p.node.t.Error(err)
	}
	p.node.mu.Lock()
	p.node.unacked[p.Session] -= int64(len(p.msg.Data))
	p.node.mu.Unlock()
	if err := p.msg.Respond(b); err != nil && !p.node.nc.IsClosed() {
		p.node.t.Errorf("answer a put: %v", err)
	}
}

func (p *fakePut) ack() { p.answer(wide, "") }

// wide is a window that no test fills.
const wide = 64 << 20

// next waits for the next put.
func (n *fakeNode) next() *fakePut {
	n.t.Helper()
	return bustest.Receive(n.t, "a put at node "+string(n.id), n.puts)
}

// serve calls handle for every put until the test ends.
func (n *fakeNode) serve(handle func(*fakePut)) {
	var loop sync.WaitGroup
	loop.Go(func() {
		for {
			select {
			case <-n.t.Context().Done():
				return
			case p := <-n.puts:
				handle(p)
			}
		}
	})
	n.t.Cleanup(loop.Wait)
}
