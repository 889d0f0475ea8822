// Package members knows the storage nodes and the policies, which together are the node map.
//
// Both are in one bucket. A node's key is its id and its value a card; policies have keys that
// no node id can be. Any coordinator writes a change that it notices, as a compare-and-set on
// the value before, and every coordinator reads all changes through a watch. Nothing but the
// watch changes the map, and the map's epoch is the revision that the watch has come to. So
// two coordinators with the same epoch have the same map.
//
// What changes every few seconds (free space, counts, signs of life) is not written down:
// every coordinator hears it from the nodes.
//
// # States of a node
//
//	up        has responded lately, and takes new data
//	draining  an administrator wants it empty: it is read from, not written to
//	down      has not responded lately, or has said goodbye; its data is left to it
//	gone      has been down for longer than the grace period; its parts are rebuilt
//	removed   an administrator does not want it any more; its card stays, so that the node does
//	          not come back by itself
//
// # Order
//
// Every coordinator hears every heartbeat, but not at the same time. So a node's cards carry
// an order, and the card in the bucket keeps that of the message that wrote it. A message that
// is older than the card in the bucket changes nothing. Above all, a heartbeat that is handled
// after the goodbye of the same process does not bring the node up again.
package members

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"servidor-backup/bus/kv"
	"servidor-backup/schemas"
)

// Options are what the members need to know of the coordinator.
type Options struct {
	// Log takes what an administrator should know.
	Log *slog.Logger
	// DownAfter is how long a node may send nothing until it is down.
	DownAfter time.Duration
	// Grace is how long a node may be down until it is gone, unless a policy says otherwise.
	Grace time.Duration
	// Event publishes an event.
	Event func(kind, subject, owner, text string, args ...any)
	// System returns the catalogue's id, for the map; "" before it is known. nil
	// is allowed.
	System func() string
	// PolicyWritten is called with the key of each policy that was written.
	PolicyWritten func(key string)
}

// Members are the nodes and policies that one coordinator knows.
type Members struct {
	bucket   *kv.Bucket
	opt      Options
	ready    chan struct{} // closed when the watch has read everything
	lost     chan struct{} // closed by Lose
	loseOnce sync.Once

	mu        sync.Mutex
	epoch     uint64
	changed   chan struct{} // closed and replaced when the epoch changes
	nodes     map[schemas.NodeID]*member
	policy    schemas.Policy
	nicknames map[string]schemas.NicknamePolicy // by key
}

// member is a node: its card, as the watch has brought it, and what this coordinator has heard
// of it.
type member struct {
	card     card
	revision uint64 // of the card
	heard
	troubleEnded time.Time // when the card last lost its trouble
	warned       bool      // it was removed but still sends cards, and that was logged
}

// heard is what this coordinator has heard of a node.
type heard struct {
	latest      schemas.Node // what the node last said of itself
	order       cardOrder    // of latest
	run         uint64       // of the node's folder, with latest
	position    uint64       // likewise
	respondedAt time.Time    // when the node last responded, or since when it could have been heard
	responded   bool         // to this coordinator
}

// unresponsiveFor reports whether the node has not been heard for longer than d.
func (h *heard) unresponsiveFor(d time.Duration, now time.Time) bool {
	return now.Sub(h.respondedAt) > d
}

// New uses bucket. Nothing is known before [Members.Start].
func New(bucket *kv.Bucket, opt Options) *Members {
	return &Members{bucket: bucket, opt: opt, ready: make(chan struct{}), lost: make(chan struct{}), changed: make(chan struct{}),
		nodes: map[schemas.NodeID]*member{}, nicknames: map[string]schemas.NicknamePolicy{}}
}

// Start watches the bucket, listens to heartbeats, looks for nodes that have failed and
// publishes the map, in goroutines of loops, until run ends. It returns when all cards and
// policies have been read; ctx bounds that.
func (m *Members) Start(ctx, run context.Context, nc *nats.Conn, loops *sync.WaitGroup) error {
	heartbeats, err := nc.Subscribe(schemas.SubjectAlive, func(msg *nats.Msg) { m.heartbeat(run, msg.Data) })
	if err != nil {
		return fmt.Errorf("subscribe to heartbeats: %w", err)
	}
	context.AfterFunc(run, func() { _ = heartbeats.Unsubscribe() })
	failed := make(chan error, 1)
	loops.Go(func() { m.watch(run, failed) })
	loops.Go(func() { m.detectFailures(run, nc) })
	select {
	case <-m.ready:
	case err := <-failed:
		return err
	case <-ctx.Done():
		return fmt.Errorf("read the nodes' cards: %w", ctx.Err())
	}
	// No map is given out before it is certain that all cards are of one bucket.
	if lost, err := m.bucket.Lost(ctx); lost || err != nil {
		return errors.Join(errors.New("the nodes' cards were lost while they were read"), err)
	}
	loops.Go(func() { m.publishMap(run, nc) })
	return nil
}

// watch follows the bucket, and starts again when the watch fails.
func (m *Members) watch(run context.Context, failed chan<- error) {
	for {
		err := m.bucket.Watch(run, ">", m.apply)
		if run.Err() != nil {
			return
		}
		select {
		case failed <- err:
		default:
		}
		select {
		case <-run.Done():
			return
		case <-time.After(time.Second):
		}
	}
}

// apply applies an entry that the watch brings; nil says that all that was there has come.
func (m *Members) apply(e *kv.Entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e == nil {
		select {
		case <-m.ready:
		default:
			close(m.ready)
		}
		return
	}
	if e.Revision <= m.epoch || m.isLost() {
		return // known from before the watch started again, or of no use any more
	}
	if m.isForeign(e) {
		m.Lose()
		return
	}
	m.epoch = e.Revision
	close(m.changed)
	m.changed = make(chan struct{})
	if strings.HasPrefix(e.Key, PolicyPrefix) {
		m.applyPolicy(e)
		return
	}
	m.applyCard(e)
}

// applyCard applies a node's card, under the lock.
func (m *Members) applyCard(e *kv.Entry) {
	id := schemas.NodeID(e.Key)
	if e.Deleted {
		delete(m.nodes, id)
		return
	}
	var c card
	if err := e.Decode(&c); err != nil || c.ID != id {
		m.opt.Log.Error("a node's card cannot be read", "key", e.Key, "error", err)
		return
	}
	n := m.nodes[id]
	if n == nil {
		// The time without a response begins now: a coordinator that has just started gives every
		// node the time to be heard before it marks the node as down.
		n = &member{heard: heard{latest: c.Node, respondedAt: time.Now()}}
		m.nodes[id] = n
	}
	if !n.card.State.Reachable() && c.State.Reachable() {
		n.respondedAt = time.Now() // by another coordinator
	}
	if n.card.Trouble != "" && c.Trouble == "" {
		n.troubleEnded = time.Now()
	}
	if n.card.State == schemas.Removed && c.State != schemas.Removed {
		n.warned = false
	}
	n.card, n.revision = c, e.Revision
}

// waitFor waits until the watch has come to a revision that was written.
func (m *Members) waitFor(ctx context.Context, revision uint64) error {
	for {
		m.mu.Lock()
		epoch, changed := m.epoch, m.changed
		m.mu.Unlock()
		if epoch >= revision {
			return nil
		}
		select {
		case <-changed:
		case <-m.lost:
			return schemas.Explain(schemas.Unavailable, "coordinator-starts-over", "the catalogue is lost, this coordinator starts over: ask again")
		case <-ctx.Done():
			return schemas.Explain(schemas.Unavailable, "node-map-behind", "the node map does not come up to date").Because(ctx.Err())
		}
	}
}

// Lost is closed when the bucket is lost, or another one of the coordinator's: what is known
// here does not hold any more.
func (m *Members) Lost() <-chan struct{} { return m.lost }

// Lose closes [Members.Lost].
func (m *Members) Lose() { m.loseOnce.Do(func() { close(m.lost) }) }

func (m *Members) isLost() bool {
	select {
	case <-m.lost:
		return true
	default:
		return false
	}
}

// maxGap is more than the number of revisions that are written while a coordinator does not
// watch. A bucket that is recreated begins later by the microseconds that the one before has
// existed. A coordinator that has missed more revisions than this starts over for nothing,
// which does no harm.
const maxGap = 10_000

// isForeign reports whether an entry is of another bucket of the same name, under the lock:
// the watch may continue in a new bucket without saying so, and then there would be two maps
// with one epoch. The first entries that are read may lie further apart; Start checks the
// bucket once more before it returns.
func (m *Members) isForeign(e *kv.Entry) bool {
	select {
	case <-m.ready:
		return m.epoch > 0 && e.Revision > m.epoch+maxGap
	default:
		return false
	}
}
