package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"servidor-backup/schemas"
)

// ErrUnresponsive is returned for a message that a node has not acknowledged in
// time.
var ErrUnresponsive = errors.New("the storage node does not answer")

// PartialFailure is the result of a message that some nodes of its set do not take, because
// they are unresponsive or down or their disks are full, so that other nodes may take it
// instead. All other nodes of the set have acknowledged it.
type PartialFailure struct {
	Nodes []schemas.NodeID // the nodes that do not take the message
	Err   error            // the reason of the first of them
}

func (e *PartialFailure) Error() string { return e.Err.Error() }
func (e *PartialFailure) Unwrap() error { return e.Err }

// WriterOptions are the options of a [Writer]; the zero value is right for production.
type WriterOptions struct {
	// Resend is the shortest time after which an unacknowledged message is sent again;
	// default 5 s. Puts are idempotent, but a slow node that many sessions wait for cannot
	// take all messages twice.
	Resend time.Duration
	// Unsubscribed is the time after which the Writer gives up a node that has not
	// subscribed to its puts and has never responded; default 4 s. A node that has responded
	// before may be restarting, so the Writer gives it up only after Unresponsive.
	Unsubscribed time.Duration
	// Unresponsive is the time after which the Writer gives up a node that acknowledges none
	// of its messages; default 45 s. A slow disk acknowledges late, but it does acknowledge.
	Unresponsive time.Duration
	// Pace is called before a message is sent for the first time, with its size in bytes.
	// It may wait, and its error ends the Send. nil means no limit.
	Pace func(ctx context.Context, bytes int) error
	// Status is called with what the Writer waits for, and with "" when it goes on.
	Status func(s schemas.Sentence)
}

// Writer publishes bulk messages to replica sets, as many at a time as the
// nodes allow: each node says in every acknowledgement how many bytes this
// sender may have unacknowledged there, and a sender starts with one message.
// So no node is ever sent more than it has memory for, and a slow disk shows as
// a small window, never as a broken connection.
//
// A message is done when every node of its set has acknowledged it. It is sent
// again after a reconnect, when a node has acknowledged a newer message but not
// this one, and when a node does not respond. Writer is safe for concurrent use.
type Writer struct {
	nc    *nats.Conn
	opt   WriterOptions
	sub   *nats.Subscription
	inbox string
	stop  context.CancelFunc
	loop  sync.WaitGroup

	mu              sync.Mutex
	changed         *sync.Cond // signalled when a window opens or the Writer closes
	seq             uint64     // of the last message
	pending         map[uint64]*message
	nodes           map[schemas.NodeID]*receiver
	closed          error            // why nothing can be sent any more
	statusShown     bool             // Status was called with a text, and not with "" since
	nodeMap         *schemas.NodeMap // the newest map known, or nil
	wasDisconnected bool             // the connection was down when resendLoop last looked
}

// message is a payload on its way to the nodes of a set.
type message struct {
	seq               uint64
	subject           string
	payload           []byte
	unacknowledged    []schemas.NodeID // nodes that may still acknowledge it
	partial           *PartialFailure  // nodes that do not take it; nil if there is none
	sent              time.Time        // when it was sent last
	resends           int
	unsubscribedSince time.Time // since when no node of the set is subscribed; zero if one is
	unsubscribedSeen  time.Time // when the server last said that none is subscribed
	done              func(error)
	// A message can finish while its payload is still being passed to the connection. done
	// is called after that, because then the caller may change the payload.
	publishing int // calls of publish under way
	finished   bool
	result     error
}

// receiver is the state of a node.
type receiver struct {
	id           schemas.NodeID
	inflight     int64         // unacknowledged bytes
	window       int64         // bytes that may be unacknowledged
	answered     bool          // the node has responded at least once
	lastResponse time.Time     // or, if later, when the first unacknowledged message was sent
	newestAcked  uint64        // highest seq acknowledged
	ackTime      time.Duration // recent time between sending and acknowledgement, slowly decreasing
}

// NewWriter returns a Writer that receives acknowledgements in an inbox of its own on nc.
func NewWriter(nc *nats.Conn, opt WriterOptions) (*Writer, error) {
	if opt.Resend == 0 {
		opt.Resend = 5 * time.Second
	}
	if opt.Unsubscribed == 0 {
		opt.Unsubscribed = 4 * time.Second
	}
	if opt.Unresponsive == 0 {
		opt.Unresponsive = 45 * time.Second
	}
	if opt.Status == nil {
		opt.Status = func(schemas.Sentence) {}
	}
	w := &Writer{
		nc: nc, opt: opt, inbox: nc.NewInbox(),
		pending: map[uint64]*message{}, nodes: map[schemas.NodeID]*receiver{},
	}
	w.changed = sync.NewCond(&w.mu)
	sub, err := nc.Subscribe(w.inbox+".*", w.handleReply)
	if err != nil {
		return nil, fmt.Errorf("subscribe to acknowledgements: %w", err)
	}
	w.sub = sub
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	w.loop.Go(func() { w.resendLoop(ctx) })
	return w, nil
}

// Send waits until the windows of all nodes of set have space for payload, and publishes
// it to them. If Send returns nil, done is called exactly once: with nil after all nodes have
// acknowledged, or with an error. Until then payload must not be changed. done must not
// block and must not call the Writer.
func (w *Writer) Send(ctx context.Context, set []schemas.NodeID, payload []byte, done func(error)) error {
	if len(set) == 0 {
		return schemas.Explain(schemas.NoNode, "no-node-is-up", "no storage node is up")
	}
	if w.opt.Pace != nil {
		if err := w.opt.Pace(ctx, len(payload)); err != nil {
			return err
		}
	}
	m, err := w.admit(ctx, set, payload, done)
	if err != nil {
		return err
	}
	w.publish(m)
	return nil
}

// admit waits for space in the windows of all nodes of set, and registers the message.
func (w *Writer) admit(ctx context.Context, set []schemas.NodeID, payload []byte, done func(error)) (*message, error) {
	defer context.AfterFunc(ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.changed.Broadcast()
	})()
	w.mu.Lock()
	defer w.mu.Unlock()
	size := int64(len(payload))
	for !w.hasSpace(set, size) && ctx.Err() == nil && w.closed == nil {
		w.changed.Wait()
	}
	if err := errors.Join(ctx.Err(), w.closed); err != nil {
		return nil, err
	}
	now := time.Now()
	for _, id := range set {
		r := w.nodes[id]
		if r.inflight == 0 {
			r.lastResponse = now
		}
		r.inflight += size
	}
	w.seq++
	m := &message{seq: w.seq, subject: schemas.PutSubject(set), payload: payload,
		unacknowledged: slices.Clone(set), sent: now, done: done, publishing: 1}
	w.pending[m.seq] = m
	return m, nil
}

// WindowLife is the time for which a window stays valid while nothing is sent to the node.
// After it a session starts again with one message.
const WindowLife = time.Second

// hasSpace reports whether size more bytes may be sent to every node of set. One
// message per node is always allowed. The caller holds the lock.
func (w *Writer) hasSpace(set []schemas.NodeID, size int64) bool {
	for _, id := range set {
		r := w.nodes[id]
		if r == nil {
			r = &receiver{id: id}
			w.nodes[id] = r
		}
		if r.inflight == 0 && time.Since(r.lastResponse) > WindowLife {
			r.window = 0
		}
		if r.inflight > 0 && r.inflight+size > r.window {
			return false
		}
	}
	return true
}

// publish passes m to the connection. The caller has incremented m.publishing.
func (w *Writer) publish(m *message) {
	err := w.nc.PublishRequest(m.subject, w.inbox+"."+strconv.FormatUint(m.seq, 10), m.payload)
	w.mu.Lock()
	defer w.mu.Unlock()
	m.publishing--
	// A message that could not be published because the connection is lost is sent again
	// when it is back. A message that can never be sent fails now.
	if errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, nats.ErrMaxPayload) {
		w.finish(m, fmt.Errorf("send %d bytes to %s: %w", len(m.payload), m.subject, err))
	}
	w.giveUpUnreachable(m)
	if m.finished && m.publishing == 0 {
		m.done(m.result)
	}
}

// handleReply handles an answer of a node, or the server's report that no node is
// subscribed.
func (w *Writer) handleReply(a *nats.Msg) {
	seq, err := strconv.ParseUint(a.Subject[strings.LastIndexByte(a.Subject, '.')+1:], 10, 64)
	if err != nil {
		return
	}
	if len(a.Data) == 0 && a.Header.Get("Status") == "503" {
		w.noteUnsubscribed(seq)
		return
	}
	var rep schemas.PutReply
	if schemas.Unmarshal(a.Data, &rep) != nil {
		return // not from a node; the message will be sent again
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.nodes[rep.Node]
	if r == nil {
		return
	}
	r.answered, r.lastResponse = true, time.Now()
	if rep.Window > 0 {
		r.window = rep.Window
	}
	w.clearStatus()
	w.changed.Broadcast()
	m := w.pending[seq]
	if m == nil {
		return // a second answer, to a message that was sent again
	}
	if err := rep.Err(); err != nil {
		switch schemas.CodeOf(err) {
		case schemas.NodeClosed: // wait: the node may be restarting
		case schemas.DiskFull, schemas.DiskFailed:
			w.giveUpNode(m, rep.Node, fmt.Errorf("storage node %s: %w", rep.Node, err))
		default:
			w.finish(m, fmt.Errorf("storage node %s: %w", rep.Node, err))
		}
		return
	}
	r.newestAcked = max(r.newestAcked, seq)
	if m.resends == 0 {
		r.ackTime = max(time.Since(m.sent), r.ackTime*7/8)
	}
	m.unsubscribedSince = time.Time{}
	w.removeNode(m, rep.Node)
}

// removeNode records that no answer of a node to m is awaited any more, and finishes m
// after the last one. The caller holds the lock.
func (w *Writer) removeNode(m *message, node schemas.NodeID) {
	if i := slices.Index(m.unacknowledged, node); i >= 0 {
		m.unacknowledged = slices.Delete(m.unacknowledged, i, i+1)
		w.nodes[node].inflight -= int64(len(m.payload))
		w.changed.Broadcast()
	}
	switch {
	case len(m.unacknowledged) > 0:
	case m.partial != nil:
		w.finish(m, m.partial)
	default:
		w.finish(m, nil)
	}
}

// giveUpNode records that a node does not take m. The caller holds the lock.
func (w *Writer) giveUpNode(m *message, node schemas.NodeID, err error) {
	if !slices.Contains(m.unacknowledged, node) {
		return
	}
	if m.partial == nil {
		m.partial = &PartialFailure{Err: err}
	}
	m.partial.Nodes = append(m.partial.Nodes, node)
	w.removeNode(m, node)
}

// SetMap gives the Writer a node map, which must not be changed any more: acknowledgements
// of nodes that are down or gone are not waited for. m may be nil.
func (w *Writer) SetMap(m *schemas.NodeMap) {
	if m == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.nodeMap != nil && m.Epoch < w.nodeMap.Epoch {
		return
	}
	w.nodeMap = m
	for _, m := range w.pending {
		w.giveUpUnreachable(m)
	}
}

// giveUpUnreachable gives up the nodes that are not reachable according to the map. The
// caller holds the lock.
func (w *Writer) giveUpUnreachable(m *message) {
	if w.nodeMap == nil || w.pending[m.seq] == nil {
		return
	}
	for _, id := range slices.Clone(m.unacknowledged) {
		if n := w.nodeMap.Find(id); n == nil {
			w.giveUpNode(m, id, fmt.Errorf("%w: %s is no longer in the node map", ErrUnresponsive, id))
		} else if !n.State.Reachable() {
			w.giveUpNode(m, id, fmt.Errorf("%w: %s is %s", ErrUnresponsive, n.Name, n.State))
		}
	}
}

// noteUnsubscribed records that no node of a message's set is subscribed.
func (w *Writer) noteUnsubscribed(seq uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if m := w.pending[seq]; m != nil {
		m.unsubscribedSeen = time.Now()
		if m.unsubscribedSince.IsZero() {
			m.unsubscribedSince = m.unsubscribedSeen
		}
	}
}

// finish ends m with a result. The caller holds the lock.
func (w *Writer) finish(m *message, err error) {
	if _, open := w.pending[m.seq]; !open {
		return
	}
	delete(w.pending, m.seq)
	for _, id := range m.unacknowledged {
		w.nodes[id].inflight -= int64(len(m.payload))
	}
	w.changed.Broadcast()
	if m.publishing > 0 {
		m.finished, m.result = true, err
		return
	}
	m.done(err)
}

// Close ends the Writer. The done functions of unacknowledged messages are called with an
// error.
func (w *Writer) Close() {
	w.stop()
	w.loop.Wait()
	_ = w.sub.Unsubscribe() // fails only when the connection is closed already
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fail(errors.New("the writer is closed"))
}

// fail fails all pending and all later messages. The caller holds the lock.
func (w *Writer) fail(why error) {
	w.closed = why
	for _, m := range w.pending {
		w.finish(m, why)
	}
	w.changed.Broadcast()
}
