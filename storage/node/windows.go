package node

import (
	"sync"
	"time"

	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
)

// sessionIdle is after how long without a put a session no longer counts. A
// sender that has been idle for [replica.WindowLife], which is less, begins anew with
// one message, so nobody comes back with a window that others have by then.
const sessionIdle = 3 * replica.WindowLife

// windows shares the node's budget of unacknowledged bytes among the sessions
// that are sending. It is the whole of flow control: what a window does not
// allow is not sent.
type windows struct {
	budget int64

	mu       sync.Mutex
	sessions map[string]*session
	given    int64 // sum of the sessions' windows
	swept    time.Time
}

type session struct {
	last   time.Time // put
	window int64     // as it was told last
}

func newWindows(budget int64) *windows {
	return &windows{budget: budget, sessions: map[string]*session{}}
}

// of notes that session is sending and returns its window: an equal share of
// the budget, but never less than one message. Others whose windows are still
// larger than their share are first waited for, and a window at most doubles at
// a time: of many who begin together, the first to be heard would else be given
// everything, and be served before all others.
func (w *windows) of(name string, now time.Time) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.sessions[name]
	if s == nil {
		s = &session{window: schemas.MaxBatch} // with which it began
		w.sessions[name] = s
		w.given += s.window
	}
	s.last = now
	w.sweep(now)
	share := w.budget / int64(len(w.sessions))
	free := w.budget - (w.given - s.window)
	w.given -= s.window
	s.window = max(min(share, free, 2*s.window), schemas.MaxBatch)
	w.given += s.window
	return s.window
}

// sweep forgets who has stopped sending.
func (w *windows) sweep(now time.Time) {
	if now.Sub(w.swept) <= time.Second {
		return
	}
	w.swept = now
	for name, s := range w.sessions {
		if now.Sub(s.last) > sessionIdle {
			w.given -= s.window
			delete(w.sessions, name)
		}
	}
}
