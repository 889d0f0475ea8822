package node

import (
	"sync"
	"time"

	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
)

// senderIdle is the time without a put after which a sender no longer counts. A sender that
// has paused for [replica.WindowLife], which is less, begins again with one message; so no sender
// uses a window that other senders have been given.
const senderIdle = 3 * replica.WindowLife

// windows shares the node's budget of unacknowledged bytes among the senders. It is flow
// control for senders that obey it; putBudget bounds the others.
type windows struct {
	budget int64

	mu      sync.Mutex
	senders map[string]*sender
	granted int64 // sum of the senders' windows
	pruned  time.Time
}

// sender is a session or the healer of another node.
type sender struct {
	last   time.Time // put
	window int64     // as last granted
}

func newWindows(budget int64) *windows {
	return &windows{budget: budget, senders: map[string]*sender{}}
}

// grant records that a sender has sent a put, and returns its window: an equal share of the
// budget, but never less than one message. A window grows only by what senders with more
// than their share have given back, and at most doubles at a time. Otherwise the first of many
// senders that begin together would be granted everything, and be served before all others.
func (w *windows) grant(name string, now time.Time) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.senders[name]
	if s == nil {
		s = &sender{window: schemas.MaxBatch} // which any sender may send at first
		w.senders[name] = s
		w.granted += s.window
	}
	s.last = now
	w.prune(now)
	share := w.budget / int64(len(w.senders))
	free := w.budget - (w.granted - s.window)
	w.granted -= s.window
	s.window = max(min(share, free, 2*s.window), schemas.MaxBatch)
	w.granted += s.window
	return s.window
}

// prune forgets the senders that have stopped sending.
func (w *windows) prune(now time.Time) {
	if now.Sub(w.pruned) <= time.Second {
		return
	}
	w.pruned = now
	for name, s := range w.senders {
		if now.Sub(s.last) > senderIdle {
			w.granted -= s.window
			delete(w.senders, name)
		}
	}
}
