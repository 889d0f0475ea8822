package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
)

// The keeper looks after what the node holds: that all chunks are at home, whole, as
// docs/keeping.md says. A survey first goes through the index and counts, and gives up
// what others have; then once for each number of losses that chunks would survive,
// the fewest first, if there is something for this node to do about such chunks.
// Nothing is remembered of it but sums, so it takes little memory, and a crash costs
// the way that the survey had come.

// surveyShare is the least that lies between two surveys, in times of how long
// one takes, unless something has happened.
const surveyShare = 20

// givenShare is how many times Settle lies between surveys at least while others bring
// things.
const givenShare = 5

type keeper struct {
	n      *Node
	wake   chan struct{}
	given  chan struct{} // others have brought something
	sender *replica.Writer
	pace   *rate.Limiter
	state  schemas.Survey
	mu     sync.Mutex // of state
}

func newKeeper(n *Node) (*keeper, error) {
	k := &keeper{n: n, wake: make(chan struct{}, 1), given: make(chan struct{}, 1), pace: rate.NewLimiter(rate.Inf, 0)}
	if n.opt.HealRate > 0 {
		k.pace = rate.NewLimiter(rate.Limit(n.opt.HealRate), schemas.MaxBatch)
	}
	var err error
	k.sender, err = replica.NewWriter(n.nc, replica.WriterOptions{Pace: k.pay})
	return k, err
}

// close ends what is under way to other nodes.
func (k *keeper) close() { k.sender.Close() }

// pay waits until so many bytes may be made or moved.
func (k *keeper) pay(ctx context.Context, bytes int) error {
	for bytes > 0 {
		some := min(bytes, schemas.MaxBatch)
		if err := k.pace.WaitN(ctx, some); err != nil {
			return err
		}
		bytes -= some
	}
	return nil
}

// soon asks for a survey.
func (k *keeper) soon() { signal(k.wake) }

// brought notes that another node has brought something home, which this one may be the
// one to count now.
func (k *keeper) brought() { signal(k.given) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// loop surveys soon after something has happened, and from time to time.
func (k *keeper) loop(ctx context.Context) {
	due := time.Now().Add(k.n.opt.Survey)
	patience := k.n.opt.Settle // until a look at what was not as it should be, and may be by then
	relook := false
	var rested time.Time // when it is time for a survey just because something was brought
	for {
		timer := time.NewTimer(time.Until(due))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-k.wake:
			timer.Stop()
			if soon := time.Now().Add(k.n.opt.Settle); soon.Before(due) {
				due = soon
			}
			patience, relook = k.n.opt.Settle, false
			continue
		case <-k.given:
			timer.Stop()
			if rested.Before(due) {
				due = rested
			}
			continue
		case <-timer.C:
		}
		began := time.Now()
		changed, err := k.survey(ctx, relook)
		took := time.Since(began)
		wait := max(k.n.opt.Survey, surveyShare*took)
		rested = time.Now().Add(max(givenShare*k.n.opt.Settle, surveyShare*took))
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, errMoved):
			wait = k.n.opt.Settle
		case err != nil:
			k.n.opt.Log.Error("what this node holds could not be surveyed", "error", err)
		case changed:
			wait = k.n.opt.Settle // so that what is counted is how things are now
		case k.unsettled():
			// Others have something to do, or did not answer. They do not say when
			// that is over.
			patience = longer(patience, wait)
			wait, relook = patience, true
		default:
			patience, relook = k.n.opt.Settle, false
		}
		due = time.Now().Add(wait)
	}
}

// longer is twice as long, and never more than most: a node may have to wait for days.
func longer(patience, most time.Duration) time.Duration { return min(2*patience, most) }

// unsettled reports whether something was not as it should be.
func (k *keeper) unsettled() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.state.Misplaced > 0 || k.state.ToHeal > 0 || slices.ContainsFunc(k.state.Levels, func(l schemas.Level) bool {
		return l.Margin < int(l.Durability.M)
	})
}

// status is how the survey goes.
func (k *keeper) status() schemas.Survey {
	k.mu.Lock()
	defer k.mu.Unlock()
	state := k.state
	state.Levels = slices.Clone(state.Levels)
	return state
}

// note changes the status.
func (k *keeper) note(change func(s *schemas.Survey)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change(&k.state)
}

// errMoved ends a survey of a map that is not the newest any more.
var errMoved = errors.New("the map has changed")

// survey looks at all that the node holds and heals what it can. changed says that
// things are not any more as they were counted.
func (k *keeper) survey(ctx context.Context, relook bool) (changed bool, err error) {
	k.n.askMap(ctx, k.n.view.Load().epoch()+1) // changes may have been missed
	v := k.n.view.Load()
	if v == nil {
		return false, nil
	}
	s := &survey{k: k, v: v, levels: map[schemas.Level]int64{}, work: map[int]int64{}}
	s.failed = map[schemas.NodeID]error{}
	s.relook, s.asleep = relook, map[schemas.NodeID]bool{}
	k.note(func(now *schemas.Survey) { now.Running, now.Done = true, 0 })
	defer k.note(func(now *schemas.Survey) { now.Running = false })
	if err := s.pass(ctx, s.count); err != nil {
		return s.changed(), err
	}
	k.note(s.counted)
	s.began = time.Now()
	spares := slices.Sorted(maps.Keys(s.work))
	for _, spare := range spares {
		s.passes = len(spares)
		if err := s.heal(ctx, spare); err != nil {
			return s.changed(), err
		}
	}
	k.note(func(now *schemas.Survey) {
		now.Done, now.Left, now.Waiting = 1, 0, s.waiting()
		if s.healed > 0 && now.ToHeal <= 0 {
			k.n.event(schemas.EventHealed, "storage node %s has nothing more to heal", k.n.opt.Name)
		}
	})
	return s.changed(), nil
}

// counted is what the first pass has found out.
func (s *survey) counted(now *schemas.Survey) {
	now.Epoch, now.Ended = s.v.epoch(), time.Now().UnixNano()
	now.Misplaced, now.ToHeal, now.Left = s.strays, 0, 0
	for _, n := range s.work {
		now.ToHeal += n
	}
	now.Levels = now.Levels[:0:0]
	for level, n := range s.levels {
		level.Chunks = n
		now.Levels = append(now.Levels, level)
	}
	slices.SortFunc(now.Levels, func(a, b schemas.Level) int {
		return cmp.Or(cmp.Compare(a.Durability.K, b.Durability.K), cmp.Compare(a.Durability.M, b.Durability.M), cmp.Compare(a.Margin, b.Margin))
	})
}

// waiting says why some of it could not be healed, or nothing.
func (s *survey) waiting() string {
	if len(s.failed) == 0 {
		return s.trouble
	}
	node := slices.Min(slices.Collect(maps.Keys(s.failed)))
	name := string(node)
	if card := s.v.m.Find(node); card != nil {
		name = card.Name
	}
	return fmt.Sprintf("storage node %s: %v", name, s.failed[node])
}
