package node

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"servidor-backup/bus"
	"servidor-backup/schemas"
)

// One process serves a node. The store's lock keeps other processes from its folder, but a copy
// of the folder has a lock of its own: a cloned disk, a virtual machine that was started twice.
// Two processes on two copies would each acknowledge what the other does not hold.
//
// So a process asks on storage.serving.N, before it serves, whether another one does, and ends if
// there is an answer. A process that was killed gives none, and usually the server says at once
// that nobody listens, so a restart does not wait. Two processes that start together both hear
// nobody. But one of them registers first. From then on it tells the subject of itself with each
// of its cards, and the other one ends. The same is true when one of them was out of reach while
// the other one began.

// askTime is how long another process has for its answer. If its host died, the server may think
// for minutes that it is there.
const askTime = time.Second

// RunningError says that another process serves the node, from a copy of the folder or from the
// folder of which this one is a copy.
type RunningError struct {
	Node  schemas.NodeID
	Host  string    // of the other process; may be ""
	Since time.Time // when the other process started or registered
}

func (e *RunningError) Error() string {
	return fmt.Sprintf("node %s is running already (%s, since %s): this folder is a copy of its folder; give it an empty folder, or stop the other one",
		e.Node, cmp.Or(e.Host, "another process"), e.Since.Format(time.DateTime))
}

// claim is a process's claim to serve a node.
type claim struct {
	nc      *nats.Conn
	node    schemas.NodeID
	host    string
	process string        // random
	began   int64         // when the process started, Unix ns
	since   atomic.Int64  // when it registered first, as the coordinators order processes; 0: not yet
	again   wakeup        // to register again
	lost    chan struct{} // closed when another process serves the node
	by      *RunningError // the other process
	once    sync.Once     // for lost and by
	heard   *nats.Subscription
}

func newClaim(nc *nats.Conn, id schemas.NodeID, host string) *claim {
	return &claim{nc: nc, node: id, host: host, process: nuid.Next(), began: time.Now().UnixNano(), again: newWakeup(), lost: make(chan struct{})}
}

// make makes sure that no other process serves the node, and answers later processes that want
// to. Its error is a [RunningError], or the connection's.
func (c *claim) make(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	var rep schemas.ServingReply
	err := bus.Request(ctx, c.nc, schemas.ServingSubject(c.node), &schemas.ServingRequest{Process: c.process, Host: c.host}, &rep)
	if err == nil {
		return &RunningError{c.node, rep.Host, time.Unix(0, rep.Started)}
	}
	c.heard, err = c.nc.Subscribe(schemas.ServingSubject(c.node), c.hear)
	return err
}

// end gives the claim up: the next process may begin.
func (c *claim) end() {
	if c.heard != nil {
		_ = c.heard.Unsubscribe()
	}
}

// registered notes that the node has registered as a process that started at that time.
func (c *claim) registered(started int64) { c.since.CompareAndSwap(0, started) }

// isLost reports whether another process serves the node.
func (c *claim) isLost() bool {
	select {
	case <-c.lost:
		return true
	default:
		return false
	}
}

// announce tells other processes that this one serves the node.
func (c *claim) announce() {
	b, err := schemas.Marshal(&schemas.ServingRequest{Process: c.process, Since: c.since.Load(), Host: c.host})
	if err == nil {
		_ = c.nc.Publish(schemas.ServingSubject(c.node), b)
	}
}

// hear handles what a process asks or says on the node's subject.
func (c *claim) hear(m *nats.Msg) {
	var other schemas.ServingRequest
	if c.isLost() || schemas.Unmarshal(m.Data, &other) != nil || other.Process == c.process {
		return
	}
	since := c.since.Load()
	switch {
	case m.Reply != "":
		if b, err := schemas.Marshal(&schemas.ServingReply{Reply: schemas.OK, Host: c.host, Started: c.began}); err == nil {
			_ = m.Respond(b)
		}
	case since == 0 || cmp.Or(cmp.Compare(other.Since, since), cmp.Compare(other.Process, c.process)) < 0:
		c.once.Do(func() {
			c.by = &RunningError{c.node, other.Host, time.Unix(0, other.Since)}
			close(c.lost)
		})
	default:
		c.announce()
		c.again.send() // the other one's card must not stay the last one
	}
}
