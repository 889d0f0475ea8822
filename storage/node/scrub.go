package node

import (
	"context"
	"errors"
	"sync"
	"time"

	"servidor-backup/schemas"
	"servidor-backup/storage"
)

// scrubber reads everything back in the background, at the pace at which it is done
// once in a period; or at once and as fast as it goes, when it is asked to.
type scrubber struct {
	n   *Node
	now chan struct{} // has something when it is asked to

	mu    sync.Mutex
	state schemas.ScrubStatus
}

func newScrubber(n *Node) *scrubber {
	s := &scrubber{n: n, now: make(chan struct{}, 1)}
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

func (s *scrubber) note(change func(state *schemas.ScrubStatus)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.state)
}

// scrub begins a round now.
func (n *Node) scrub(context.Context, *schemas.ScrubRequest) (any, error) {
	select {
	case n.scrubber.now <- struct{}{}:
	default:
	}
	return &schemas.ScrubReply{Reply: schemas.OK}, nil
}

// errNow ends a round, or the rest between two, because one is to begin now.
var errNow = errors.New("a scrub was asked for")

// loop does one round after the other.
func (s *scrubber) loop(ctx context.Context) {
	from, ended := s.n.store.ScrubPosition()
	hurry := false
	for ctx.Err() == nil {
		var err error
		if !hurry {
			err = s.rest(ctx, from, ended)
		}
		if err == nil {
			err = s.round(ctx, from, hurry)
		}
		switch {
		case errors.Is(err, errNow):
			from, hurry = 0, true
			continue
		case ctx.Err() != nil:
			return
		case err != nil:
			s.n.opt.Log.Error("what this node holds could not be read back", "error", err)
			ended = time.Now() // and not again at once
		default:
			ended = time.Now()
			s.note(func(state *schemas.ScrubStatus) { state.Done, state.Ended = 1, ended.UnixNano() })
			s.remember(0, ended)
		}
		from, hurry = 0, false
	}
}

// rest waits until a round is due: half a period after the last one, as it takes the
// other half. One that was begun before a restart goes on. Neither begins at once:
// commands that run a node for a moment have something else to do.
func (s *scrubber) rest(ctx context.Context, from uint32, ended time.Time) error {
	var wait time.Duration
	if from == 0 {
		wait = time.Until(ended.Add(s.n.opt.ScrubPeriod / 2))
	}
	return s.wait(ctx, max(wait, s.n.opt.Settle))
}

// wait ends early, with errNow, when a round is asked for.
func (s *scrubber) wait(ctx context.Context, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.now:
		return errNow
	case <-timer.C:
		return nil
	}
}

const (
	// slowest is the least that is read, in bytes per second, so that a store in which
	// there is little is done soon.
	slowest = 64 << 10
	// nap is how much time a round at its pace is ahead before it waits.
	nap = 50 * time.Millisecond
)

// round reads everything from a segment on.
func (s *scrubber) round(ctx context.Context, from uint32, hurry bool) error {
	perSecond := max(slowest, float64(s.n.store.Stats().Bytes)/(s.n.opt.ScrubPeriod/2).Seconds())
	_, ended := s.n.store.ScrubPosition()
	s.note(func(state *schemas.ScrubStatus) { state.Running, state.Done = true, 0 })
	defer s.note(func(state *schemas.ScrubStatus) { state.Running = false })
	ahead := time.Duration(0)
	how := storage.ScrubOptions{
		From: from,
		Progress: func(done float64, at uint32) {
			s.note(func(state *schemas.ScrubStatus) { state.Done = done })
			if at != from {
				from = at
				s.remember(at, ended)
			}
		},
		Found: func(p storage.Problem) {
			s.note(func(state *schemas.ScrubStatus) { state.Found++ })
			s.n.opt.Log.Error("the scrub found damage", "problem", p.String())
			s.n.damaged(schemas.Corrupt)
		},
		Pace: func(ctx context.Context, bytes int64) error {
			if ahead += time.Duration(float64(bytes) / perSecond * float64(time.Second)); hurry || ahead < nap {
				return ctx.Err()
			}
			defer func() { ahead = 0 }()
			return s.wait(ctx, ahead)
		},
	}
	_, err := s.n.store.Scrub(ctx, how)
	return err
}

func (s *scrubber) remember(from uint32, ended time.Time) {
	if err := s.n.store.SetScrubPosition(from, ended); err != nil {
		s.n.opt.Log.Warn("how far the scrub has come could not be noted", "error", err)
	}
}

// damaged has a chunk replaced that could not be read for that reason, and tells of it,
// but not of each if there are many.
func (n *Node) damaged(why schemas.Code) {
	if why != schemas.Corrupt {
		return
	}
	n.keeper.soon()
	now := time.Now().UnixNano()
	if last := n.told.Load(); now-last > int64(time.Second) && n.told.CompareAndSwap(last, now) {
		n.event(schemas.EventDamageFound, "storage node %s has found damage", n.opt.Name)
	}
}
