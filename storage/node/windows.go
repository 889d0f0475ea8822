package node

import (
	"sync"
	"time"

	"servidor-backup/schemas"
)

// sessionIdle is after how long without a put a session no longer counts.
const sessionIdle = 15 * time.Second

// windows shares the node's budget of unacknowledged bytes among the sessions
// that are sending. It is the whole of flow control: what a window does not
// allow is not sent.
type windows struct {
	budget int64

	mu       sync.Mutex
	sessions map[string]time.Time // last put
	swept    time.Time
}

func newWindows(budget int64) *windows {
	return &windows{budget: budget, sessions: map[string]time.Time{}}
}

// of notes that session is sending and returns its window: an equal share of
// the budget, but never less than one message.
func (w *windows) of(session string, now time.Time) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sessions[session] = now
	if now.Sub(w.swept) > time.Second {
		w.swept = now
		for s, last := range w.sessions {
			if now.Sub(last) > sessionIdle {
				delete(w.sessions, s)
			}
		}
	}
	return max(w.budget/int64(len(w.sessions)), schemas.MaxBatch)
}
