// Package heal keeps the parts that a storage node holds in order: it moves them to the
// nodes that they are assigned to, rebuilds missing and damaged ones, and drops those that
// are no longer wanted.
//
// No list of work is kept, and no node hands out work: each node looks after the chunks that
// it holds parts of. A survey goes through the node's index and asks, for each chunk, the
// nodes that the chunk is assigned to which parts they hold. What the node then knows of a
// chunk is an observation, and a pure function turns it into a plan, in which each job names
// the node that does it. Nodes with the same observation make the same plan. Where their
// observations differ, a part may be sent twice, which is harmless as puts are idempotent.
// Only drops need agreement: the rules are above the function drops.
//
// The words of this package:
//
//   - A part is a whole replica of a chunk or one of its shards; the shards that make a chunk
//     together are a stripe.
//   - The assigned nodes of a chunk are those that placement ranks first under the newest
//     map. A node that is down stays assigned until it is gone.
//   - A chunk is complete when it is assigned to as many nodes as its durability wants, and
//     each of them holds its part.
//   - A part on a node that need not hold it is surplus. Surveys report surplus parts as
//     misplaced.
//   - The margin of a chunk is how many more nodes can be lost before it is.
//   - The counter of a chunk is the node that counts it in its survey, and that makes the
//     parts that no node holds.
//   - A node pins a part when it answers a question that is not a Look: it keeps the part
//     through its generation of collections and, if the question names an epoch, does not drop
//     the part by a decision of an earlier epoch.
package heal

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/time/rate"

	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
	"servidor-backup/storage"
)

// senderPrefix begins the name by which a healer is known to the nodes that it sends parts to.
// Its puts have the name in the field in which a client's puts have their session.
const senderPrefix = "heal "

// Options describe a [Healer]. All fields but Rate must be set.
type Options struct {
	// Name is the node's name, for events.
	Name string
	// Rate bounds the parts that are made and moved, in bytes per second; 0 is no bound.
	Rate int64
	// Survey is the time between a survey and the next one, if nothing happens.
	Survey time.Duration
	// Settle is how long changes that may be under way are left alone: the time from a
	// change of the map to the survey, and the time that a part must be missing before it is
	// healed.
	Settle time.Duration
	// Log takes what an administrator should know.
	Log *slog.Logger
	// Event publishes an event about the node.
	Event func(kind, format string, args ...any)
}

// Healer heals the chunks that one node holds parts of. Its methods may be called at any
// time, from any goroutine.
type Healer struct {
	nc       *nats.Conn
	store    *storage.Store
	id       schemas.NodeID // of the store
	opt      Options
	writer   *replica.Writer
	limiter  *rate.Limiter
	view     atomic.Pointer[View]
	wake     wakeup
	received wakeup
	stored   atomic.Int64 // parts that were put since the start

	mu     sync.Mutex
	status schemas.Survey
	// surveyed is what stored was when the survey began of which status has the figures.
	surveyed int64
}

// New returns the healer of a node. The connection and the store stay the caller's. The
// healer must be closed.
func New(nc *nats.Conn, store *storage.Store, opt Options) (*Healer, error) {
	h := &Healer{nc: nc, store: store, id: store.NodeID(), opt: opt,
		wake: newWakeup(), received: newWakeup(), limiter: rate.NewLimiter(rate.Inf, 0)}
	if opt.Rate > 0 {
		h.limiter = rate.NewLimiter(rate.Limit(opt.Rate), schemas.MaxBatch)
	}
	var err error
	h.writer, err = replica.NewWriter(nc, replica.WriterOptions{Pace: h.pace})
	if err != nil {
		return nil, err
	}
	return h, nil
}

// Close ends all sending to other nodes. Run may still be running, and ends when its context
// does.
func (h *Healer) Close() { h.writer.Close() }

// pace waits until the given number of bytes may be made or moved.
func (h *Healer) pace(ctx context.Context, bytes int) error {
	for bytes > 0 {
		n := min(bytes, schemas.MaxBatch)
		if err := h.limiter.WaitN(ctx, n); err != nil {
			return err
		}
		bytes -= n
	}
	return nil
}

// Wake asks for a survey soon: something has happened to the parts of this node.
func (h *Healer) Wake() { h.wake.send() }

// Received tells the healer that a put of the named sender was stored, of so many parts. If
// another node's healer sent it, this node may be the one to count the chunks now, so a survey
// is due.
func (h *Healer) Received(sender string, parts int) {
	h.stored.Add(int64(parts))
	if strings.HasPrefix(sender, senderPrefix) {
		h.received.send()
	}
}

// Status returns what the last survey has found, and how the present one goes.
func (h *Healer) Status() schemas.Survey {
	h.mu.Lock()
	defer h.mu.Unlock()
	status := h.status
	status.Levels = slices.Clone(status.Levels)
	status.Newer = h.stored.Load() - h.surveyed
	return status
}

// report changes the status.
func (h *Healer) report(change func(r *schemas.Survey)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(&h.status)
}

// Run surveys and heals until ctx ends: soon after something has happened, and from time to
// time.
func (h *Healer) Run(ctx context.Context) {
	s := newSchedule(&h.opt)
	for {
		timer := time.NewTimer(time.Until(s.due))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-h.wake:
			timer.Stop()
			s.woken(time.Now())
			continue
		case <-h.received:
			timer.Stop()
			s.received()
			continue
		case <-timer.C:
		}
		began := time.Now()
		changed, err := h.survey(ctx, s.repeat)
		if ctx.Err() != nil {
			return
		}
		if err != nil && !errors.Is(err, errMapChanged) {
			h.opt.Log.Error("the parts that this node holds could not be surveyed", "error", err)
		}
		s.surveyed(time.Now(), time.Since(began), err, changed, h.unsettled())
	}
}

// unsettled reports whether the last survey has found a chunk that is not as it ought to be.
func (h *Healer) unsettled() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := &h.status
	return r.Misplaced > 0 || r.ToHeal > 0 || slices.ContainsFunc(r.Levels, func(l schemas.Level) bool {
		return l.Margin < int(l.Durability.M)
	})
}
