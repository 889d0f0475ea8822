package node

import (
	"testing"
	"time"

	"servidor-backup/schemas"
)

// The budget is shared among the sessions that send; who has stopped does not
// count, and nobody gets less than one message.
func TestWindowsShareTheBudget(t *testing.T) {
	const budget = 4 * schemas.MaxBatch
	w := newWindows(budget)
	start := time.Now()
	for _, step := range []struct {
		session string
		at      time.Duration
		want    int64
	}{
		{"a", 0, budget},
		{"a", time.Second, budget},
		{"b", 2 * time.Second, budget / 2},
		{"a", 3 * time.Second, budget / 2},
		{"c", 4 * time.Second, budget / 3},
		{"d", 5 * time.Second, budget / 4},
		{"e", 6 * time.Second, schemas.MaxBatch},
		{"f", 7 * time.Second, schemas.MaxBatch},
		{"f", 20*time.Second + sessionIdle, budget}, // all others have stopped
		{"a", 21*time.Second + sessionIdle, budget / 2},
	} {
		if got := w.of(step.session, start.Add(step.at)); got != step.want {
			t.Errorf("after %v session %s has a window of %d, want %d", step.at, step.session, got, step.want)
		}
	}
	if n := len(w.sessions); n != 2 {
		t.Errorf("%d sessions are remembered, want 2", n)
	}
}
