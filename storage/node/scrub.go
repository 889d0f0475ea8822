package node

import (
	"context"
	"errors"
	"sync"
	"time"

	"servidor-backup/schemas"
	"servidor-backup/storage"
)

const (
	// minScrubRate is the least rate of a round, in bytes per second, so that a small store
	// is read back soon.
	minScrubRate = 64 << 10
	// scrubLead is how far a round is ahead of its pace, in time, when it pauses.
	scrubLead = 50 * time.Millisecond
	// retryScrub is the pause after a round that has failed.
	retryScrub = time.Hour
	// damageEvents is the least time between two events about damage.
	damageEvents = time.Second
)

// errScrubNow ends a round, or the pause between two, because a round is to begin now.
var errScrubNow = errors.New("a scrub was requested")

// scrubber reads the whole store back in the background, once in a period; or at once and
// without a pause, on request.
type scrubber struct {
	n   *Node
	now wakeup // on request

	mu    sync.Mutex
	state schemas.ScrubStatus
}

func newScrubber(n *Node) *scrubber {
	s := &scrubber{n: n, now: newWakeup()}
	if _, ended := n.store.ScrubPosition(); !ended.IsZero() {
		s.state.Ended = ended.UnixNano()
	}
	return s
}

func (s *scrubber) status() schemas.ScrubStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// report changes the status.
func (s *scrubber) report(change func(state *schemas.ScrubStatus)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.state)
}

// scrub starts a round now.
func (n *Node) scrub(context.Context, *schemas.ScrubRequest) (any, error) {
	n.scrubber.now.send()
	return &schemas.ScrubReply{Reply: schemas.OK}, nil
}

// loop does one round after the other until ctx ends.
func (s *scrubber) loop(ctx context.Context) {
	from, ended := s.n.store.ScrubPosition()
	hurry := false
	for ctx.Err() == nil {
		var err error
		if !hurry {
			err = s.pause(ctx, from, ended)
		}
		if err == nil {
			err = s.round(ctx, from, hurry)
		}
		switch {
		case errors.Is(err, errScrubNow):
			from, hurry = 0, true
			continue
		case ctx.Err() != nil:
			return
		case err != nil:
			s.n.opt.Log.Error("the store could not be read back", "error", err)
			// Mostly the disk's, which may be full for a moment: the round goes on soon.
			if errors.Is(s.wait(ctx, min(retryScrub, s.n.opt.ScrubPeriod/2)), errScrubNow) {
				from, hurry = 0, true
				continue
			}
			from, ended = s.n.store.ScrubPosition()
			hurry = false
			continue
		default:
			ended = time.Now()
			s.report(func(state *schemas.ScrubStatus) { state.Done, state.Ended = 1, ended.UnixNano() })
			s.save(0, ended)
		}
		from, hurry = 0, false
	}
}

// pause waits until a round is due: half a period after the last one, as the round takes the
// other half. A round that was interrupted by a restart is due soon, but never at once: a
// command that runs a node for a moment has other work.
func (s *scrubber) pause(ctx context.Context, from uint32, ended time.Time) error {
	var wait time.Duration
	if from == 0 {
		wait = time.Until(ended.Add(s.n.opt.ScrubPeriod / 2))
	}
	return s.wait(ctx, max(wait, s.n.opt.Settle))
}

// wait waits. It ends early, with errScrubNow, when a round is requested.
func (s *scrubber) wait(ctx context.Context, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.now:
		return errScrubNow
	case <-timer.C:
		return nil
	}
}

// round reads back all segments from the given one on, within half a period, or without a
// pause.
func (s *scrubber) round(ctx context.Context, from uint32, hurry bool) error {
	perSecond := max(minScrubRate, float64(s.n.store.Stats().Bytes)/(s.n.opt.ScrubPeriod/2).Seconds())
	_, ended := s.n.store.ScrubPosition()
	s.report(func(state *schemas.ScrubStatus) { state.Running, state.Done = true, 0 })
	defer s.report(func(state *schemas.ScrubStatus) { state.Running = false })
	lead := time.Duration(0)
	how := storage.ScrubOptions{
		From: from,
		Progress: func(done float64, segment uint32) {
			s.report(func(state *schemas.ScrubStatus) { state.Done = done })
			if segment != from {
				from = segment
				s.save(segment, ended)
			}
		},
		Found: func(p storage.Problem) {
			s.report(func(state *schemas.ScrubStatus) { state.Found++ })
			s.n.opt.Log.Error("the scrub found damage", "problem", p.String())
			s.n.readFailed(schemas.Corrupt)
		},
		Pace: func(ctx context.Context, bytes int64) error {
			if lead += time.Duration(float64(bytes) / perSecond * float64(time.Second)); hurry || lead < scrubLead {
				return ctx.Err()
			}
			defer func() { lead = 0 }()
			return s.wait(ctx, lead)
		},
	}
	_, err := s.n.store.Scrub(ctx, how)
	return err
}

// save saves how far the scrub has come, for after a restart.
func (s *scrubber) save(from uint32, ended time.Time) {
	if err := s.n.store.SetScrubPosition(from, ended); err != nil {
		s.n.opt.Log.Warn("the progress of the scrub could not be saved", "error", err)
	}
}

// readFailed is called when a chunk could not be read, with the reason. If the chunk is
// damaged, readFailed wakes the healer, tells the coordinators at once that the node knows of
// damage, unless they know, and publishes an event, but not more than one in damageEvents.
func (n *Node) readFailed(why schemas.Code) {
	if why != schemas.Corrupt {
		return
	}
	n.healer.Wake()
	if !n.damaged.Load() {
		n.news.send()
	}
	now := time.Now().UnixNano()
	if last := n.damageTold.Load(); now-last > int64(damageEvents) && n.damageTold.CompareAndSwap(last, now) {
		n.event(schemas.EventDamageFound, "storage node %s has found damage", n.opt.Name)
	}
}
