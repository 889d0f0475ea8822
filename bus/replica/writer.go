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

// PartialFailure is the end of a message that some nodes of its set do not take, and
// other nodes may: they are silent, or down, or have no room. All others of the set
// have acknowledged it.
type PartialFailure struct {
	Nodes []schemas.NodeID // that do not take it
	Err   error            // why, of the first
}

func (e *PartialFailure) Error() string { return e.Err.Error() }
func (e *PartialFailure) Unwrap() error { return e.Err }

// WriterOptions tune a [Sender]; the zero value is right for production.
type WriterOptions struct {
	// Resend is after how long an unacknowledged message may be sent again at the
	// earliest; default 5 s. Puts are idempotent, but the more senders wait for a
	// slow node, the less can it take all of it twice.
	Resend time.Duration
	// Absent is for how long nobody may be subscribed for a node that has not
	// answered yet; default 4 s. One that has answered before may be
	// restarting, and is given Silent.
	Unsubscribed time.Duration
	// Silent is for how long a node may leave all its messages unacknowledged;
	// default 45 s. A slow disk acknowledges late, but it does acknowledge.
	Unresponsive time.Duration
	// Pace is called before a message of so many bytes is sent for the first
	// time, and may wait; nil is fine.
	Pace func(ctx context.Context, bytes int) error
	// Status is told what the sender waits for, and "" when it goes on.
	Status func(text string)
}

// Writer publishes bulk messages to replica sets, as many at a time as the
// receivers allow: each node says in every acknowledgement how many bytes this
// session may have unacknowledged there, and a session begins with one message.
// So no node is ever sent more than it has memory for, and a slow disk shows as
// a small window, never as a broken connection.
//
// A message is done when every node of its set has acknowledged it. It is sent
// again after a reconnect, when a node has acknowledged something newer but not
// it, and when a node is silent.
type Writer struct {
	nc    *nats.Conn
	opt   WriterOptions
	sub   *nats.Subscription
	inbox string
	stop  context.CancelFunc
	loop  sync.WaitGroup

	mu      sync.Mutex
	room    *sync.Cond // signalled when a window opens or the sender closes
	seq     uint64
	pending map[uint64]*message
	nodes   map[schemas.NodeID]*receiver
	closed  error
	waiting bool             // a Status is on the screen
	nodeMap *schemas.NodeMap // the newest that is known; nil is none
	away    bool             // the connection was down when last looked at
}

type message struct {
	seq     uint64
	subject string
	payload []byte
	missing []schemas.NodeID // who has not acknowledged yet
	failed  *PartialFailure  // who will not
	sent    time.Time        // the last time
	again   int              // how often it was sent once more
	nobody  time.Time        // since when no one is subscribed; zero if someone is
	refused time.Time        // when that was heard last
	done    func(error)
	// A message can be finished while its payload is still being handed to the
	// connection; done waits for that, because it gives the payload back.
	publishing int
	finished   bool
	result     error
}

type receiver struct {
	id       schemas.NodeID
	inflight int64
	window   int64
	answered bool          // ever
	heard    time.Time     // last acknowledgement, or when the first unacknowledged message was sent
	newest   uint64        // highest seq acknowledged
	takes    time.Duration // how long acknowledgements have been taking
}

// NewWriter makes a sender with an inbox of its own on nc.
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
		opt.Status = func(string) {}
	}
	s := &Writer{
		nc: nc, opt: opt, inbox: nc.NewInbox(),
		pending: map[uint64]*message{}, nodes: map[schemas.NodeID]*receiver{},
	}
	s.room = sync.NewCond(&s.mu)
	sub, err := nc.Subscribe(s.inbox+".*", s.acknowledged)
	if err != nil {
		return nil, fmt.Errorf("subscribe to acknowledgements: %w", err)
	}
	s.sub = sub
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.loop.Go(func() { s.watch(ctx) })
	return s, nil
}

// Send waits until every node of set has room, and publishes payload to them.
// done is called exactly once if Send returns nil: after all nodes have
// acknowledged, or with the reason why they will not. Until then payload must
// not be changed. done must not block, nor call the sender.
func (s *Writer) Send(ctx context.Context, set []schemas.NodeID, payload []byte, done func(error)) error {
	if len(set) == 0 {
		return schemas.Errorf(schemas.NoNode, "no storage node is up")
	}
	if s.opt.Pace != nil {
		if err := s.opt.Pace(ctx, len(payload)); err != nil {
			return err
		}
	}
	m, err := s.admit(ctx, set, payload, done)
	if err != nil {
		return err
	}
	s.publish(m)
	return nil
}

func (s *Writer) admit(ctx context.Context, set []schemas.NodeID, payload []byte, done func(error)) (*message, error) {
	defer context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.room.Broadcast()
	})()
	s.mu.Lock()
	defer s.mu.Unlock()
	size := int64(len(payload))
	for !s.hasRoom(set, size) && ctx.Err() == nil && s.closed == nil {
		s.room.Wait()
	}
	if err := errors.Join(ctx.Err(), s.closed); err != nil {
		return nil, err
	}
	now := time.Now()
	for _, id := range set {
		r := s.nodes[id]
		if r.inflight == 0 {
			r.heard = now
		}
		r.inflight += size
	}
	s.seq++
	m := &message{seq: s.seq, subject: schemas.PutSubject(set), payload: payload,
		missing: slices.Clone(set), sent: now, done: done, publishing: 1}
	s.pending[m.seq] = m
	return m, nil
}

// WindowLife is for how long a window is good when nothing is sent to the node: a
// session that comes back later begins anew, with one message.
const WindowLife = time.Second

// hasRoom reports whether every node of set may be sent size more bytes. One
// message is always allowed.
func (s *Writer) hasRoom(set []schemas.NodeID, size int64) bool {
	for _, id := range set {
		r := s.nodes[id]
		if r == nil {
			r = &receiver{id: id}
			s.nodes[id] = r
		}
		if r.inflight == 0 && time.Since(r.heard) > WindowLife {
			r.window = 0
		}
		if r.inflight > 0 && r.inflight+size > r.window {
			return false
		}
	}
	return true
}

// publish hands m, whose publishing was counted, to the connection.
func (s *Writer) publish(m *message) {
	err := s.nc.PublishRequest(m.subject, s.inbox+"."+strconv.FormatUint(m.seq, 10), m.payload)
	s.mu.Lock()
	defer s.mu.Unlock()
	m.publishing--
	// What could not be published because the connection is down is sent
	// again when it is back; what can never be sent fails now.
	if errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, nats.ErrMaxPayload) {
		s.finish(m, fmt.Errorf("send %d bytes to %s: %w", len(m.payload), m.subject, err))
	}
	s.withoutAbsent(m)
	if m.finished && m.publishing == 0 {
		m.done(m.result)
	}
}

// acknowledged handles one answer from one node.
func (s *Writer) acknowledged(a *nats.Msg) {
	seq, err := strconv.ParseUint(a.Subject[strings.LastIndexByte(a.Subject, '.')+1:], 10, 64)
	if err != nil {
		return
	}
	if len(a.Data) == 0 && a.Header.Get("Status") == "503" {
		s.absent(seq)
		return
	}
	var rep schemas.PutReply
	if schemas.Unmarshal(a.Data, &rep) != nil {
		return // not from a node; the message will be sent again
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.nodes[rep.Node]
	if r == nil {
		return
	}
	r.answered, r.heard = true, time.Now()
	if rep.Window > 0 {
		r.window = rep.Window
	}
	s.goesOn()
	s.room.Broadcast()
	m := s.pending[seq]
	if m == nil {
		return // an answer to a message that was sent twice
	}
	if err := rep.Err(); err != nil {
		switch schemas.CodeOf(err) {
		case schemas.NodeClosed: // a node that restarts is waited for
		case schemas.DiskFull, schemas.DiskFailed:
			s.without(m, rep.Node, fmt.Errorf("storage node %s: %w", rep.Node, err))
		default:
			s.finish(m, fmt.Errorf("storage node %s: %w", rep.Node, err))
		}
		return
	}
	r.newest = max(r.newest, seq)
	if m.again == 0 {
		r.takes = max(time.Since(m.sent), r.takes*7/8)
	}
	m.nobody = time.Time{}
	s.settle(m, rep.Node)
}

// settle notes that nothing more is expected of a node. The caller holds the lock.
func (s *Writer) settle(m *message, node schemas.NodeID) {
	if i := slices.Index(m.missing, node); i >= 0 {
		m.missing = slices.Delete(m.missing, i, i+1)
		s.nodes[node].inflight -= int64(len(m.payload))
		s.room.Broadcast()
	}
	switch {
	case len(m.missing) > 0:
	case m.failed != nil:
		s.finish(m, m.failed)
	default:
		s.finish(m, nil)
	}
}

// without notes that a node does not take m. The caller holds the lock.
func (s *Writer) without(m *message, node schemas.NodeID, err error) {
	if !slices.Contains(m.missing, node) {
		return
	}
	if m.failed == nil {
		m.failed = &PartialFailure{Err: err}
	}
	m.failed.Nodes = append(m.failed.Nodes, node)
	s.settle(m, node)
}

// SetMap tells the sender which nodes there are: what is on its way to one that is
// down or gone is not waited for.
func (s *Writer) SetMap(m *schemas.NodeMap) {
	if m == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.nodeMap != nil && m.Epoch < s.nodeMap.Epoch {
		return
	}
	s.nodeMap = m
	for _, m := range s.pending {
		s.withoutAbsent(m)
	}
}

// withoutAbsent gives up on the nodes that the map says are away. The caller holds
// the lock.
func (s *Writer) withoutAbsent(m *message) {
	if s.nodeMap == nil || s.pending[m.seq] == nil {
		return
	}
	for _, id := range slices.Clone(m.missing) {
		if n := s.nodeMap.Find(id); n == nil {
			s.without(m, id, fmt.Errorf("%w: %s is not known any more", ErrUnresponsive, id))
		} else if !n.State.Reachable() {
			s.without(m, id, fmt.Errorf("%w: %s is %s", ErrUnresponsive, n.Name, n.State))
		}
	}
}

// absent notes that no node of the set is subscribed.
func (s *Writer) absent(seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.pending[seq]; m != nil {
		m.refused = time.Now()
		if m.nobody.IsZero() {
			m.nobody = m.refused
		}
	}
}

// finish ends m. The caller holds the lock.
func (s *Writer) finish(m *message, err error) {
	if _, open := s.pending[m.seq]; !open {
		return
	}
	delete(s.pending, m.seq)
	for _, id := range m.missing {
		s.nodes[id].inflight -= int64(len(m.payload))
	}
	s.room.Broadcast()
	if m.publishing > 0 {
		m.finished, m.result = true, err
		return
	}
	m.done(err)
}

// Close ends the sender. What is still unacknowledged is reported as an error
// to its done function.
func (s *Writer) Close() {
	s.stop()
	s.loop.Wait()
	_ = s.sub.Unsubscribe() // fails only when the connection is closed already
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end(errors.New("the sender is closed"))
}

// end fails what is pending and what will be sent. The caller holds the lock.
func (s *Writer) end(why error) {
	s.closed = why
	for _, m := range s.pending {
		s.finish(m, why)
	}
	s.room.Broadcast()
}
