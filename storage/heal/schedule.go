package heal

import (
	"errors"
	"time"
)

// pauseFactor is how many times longer the pause between two surveys is, at least, than the
// survey before it took, unless something happens.
const pauseFactor = 20

// recountFactor is the least pause between two surveys, in units of Settle, while other
// nodes send parts.
const recountFactor = 5

// schedule decides when the next survey begins.
type schedule struct {
	opt *Options
	due time.Time
	// recount is when a survey may begin only because other nodes have sent parts.
	recount time.Time
	// retry is the pause before the next survey that looks again at what the last one left
	// unsettled, or after one that has failed. It doubles each time.
	retry time.Duration
	// repeat is set if the next survey is one that looks again.
	repeat bool
}

func newSchedule(opt *Options) *schedule {
	return &schedule{opt: opt, due: time.Now().Add(opt.Survey), retry: opt.Settle}
}

// woken is called when something has happened to the parts of the node.
func (s *schedule) woken(now time.Time) {
	if soon := now.Add(s.opt.Settle); soon.Before(s.due) {
		s.due = soon
	}
	s.retry, s.repeat = s.opt.Settle, false
}

// received is called when another node has sent a part.
func (s *schedule) received() {
	if s.recount.Before(s.due) {
		s.due = s.recount
	}
}

// surveyed is called at the end of a survey, with its duration and result, and whether it has
// left anything unsettled.
func (s *schedule) surveyed(now time.Time, took time.Duration, err error, changed, unsettled bool) {
	pause := max(s.opt.Survey, pauseFactor*took)
	s.recount = now.Add(max(recountFactor*s.opt.Settle, pauseFactor*took))
	switch {
	case errors.Is(err, errMapChanged):
		pause = s.opt.Settle
	case err != nil:
		// Mostly the disk's, which may be full for a moment. Nothing tells when that is over.
		s.retry = doubled(s.retry, pause)
		pause = s.retry
	case changed:
		pause = s.opt.Settle // so that the counts become those of now
	case unsettled:
		// Other nodes have something to do, or did not respond. They do not tell when that
		// is over.
		s.retry = doubled(s.retry, pause)
		pause, s.repeat = s.retry, true
	default:
		s.retry, s.repeat = s.opt.Settle, false
	}
	s.due = now.Add(pause)
}

// doubled returns twice the pause, but never more than most: a node may have to wait for
// days.
func doubled(pause, most time.Duration) time.Duration { return min(2*pause, most) }
