package node

import (
	"sync"
	"time"

	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
)

// sessionIdle is the time without a put after which a session no longer counts. A sender that
// has paused for [replica.WindowLife], which is less, begins again with one message; so no sender
// uses a window that other sessions have been given.
const sessionIdle = 3 * replica.WindowLife

// windows shares the node's budget of unacknowledged bytes among the sessions that send. It is
// flow control for senders that obey it; putBudget bounds the others.
type windows struct {
	budget int64

	mu       sync.Mutex
	sessions map[string]*session
	granted  int64 // sum of the sessions' windows
	pruned   time.Time
}

type session struct {
	last   time.Time // put
	window int64     // as last granted
}

func newWindows(budget int64) *windows {
	return &windows{budget: budget, sessions: map[string]*session{}}
}

// grant records that a session has sent a put, and returns its window: an equal share of the
// budget, but never less than one message. A window grows only by what sessions with more
// than their share have given back, and at most doubles at a time. Otherwise the first of many
// sessions that begin together would be granted everything, and be served before all others.
func (w *windows) grant(name string, now time.Time) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.sessions[name]
	if s == nil {
		s = &session{window: schemas.MaxBatch} // which any session may send at first
		w.sessions[name] = s
		w.granted += s.window
	}
	s.last = now
	w.prune(now)
	share := w.budget / int64(len(w.sessions))
	free := w.budget - (w.granted - s.window)
	w.granted -= s.window
	s.window = max(min(share, free, 2*s.window), schemas.MaxBatch)
	w.granted += s.window
	return s.window
}

// prune forgets the sessions that have stopped sending.
func (w *windows) prune(now time.Time) {
	if now.Sub(w.pruned) <= time.Second {
		return
	}
	w.pruned = now
	for name, s := range w.sessions {
		if now.Sub(s.last) > sessionIdle {
			w.granted -= s.window
			delete(w.sessions, name)
		}
	}
}
