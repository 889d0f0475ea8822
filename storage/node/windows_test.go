package node

import (
	"testing"
	"time"

	"servidor-backup/schemas"
)

// The sessions that send share the budget, and never more than it. A session that has stopped
// does not count, and none gets less than one message.
func TestWindowsShareTheBudget(t *testing.T) {
	const message = schemas.MaxBatch
	const budget = 8 * message
	w := newWindows(budget)
	start := time.Now()
	for _, step := range []struct {
		session string
		at      time.Duration
		want    int64
	}{
		{"a", 0, 2 * message},
		{"a", time.Second, 4 * message},
		{"a", time.Second, budget},
		{"a", time.Second, budget},
		{"b", 2 * time.Second, message}, // session a has the whole budget
		{"b", 2 * time.Second, message},
		{"a", 3 * time.Second, budget / 2},
		{"b", 3 * time.Second, 2 * message},
		{"b", 3 * time.Second, budget / 2},
		{"c", 4 * time.Second, message},
		{"a", 4 * time.Second, budget / 3},
		{"b", 4 * time.Second, budget / 3},
		{"c", 4 * time.Second, 2 * message},
		{"c", 4 * time.Second, budget / 3},
		{"d", 5 * time.Second, message},
		{"d", 20*time.Second + senderIdle, 2 * message}, // all other sessions have stopped
		{"d", 20*time.Second + senderIdle, 4 * message},
		{"d", 20*time.Second + senderIdle, budget},
		{"a", 21*time.Second + senderIdle, message},
	} {
		if got := w.grant(step.session, start.Add(step.at)); got != step.want {
			t.Errorf("after %v session %s has a window of %d, want %d", step.at, step.session, got, step.want)
		}
	}
	if n := len(w.senders); n != 2 {
		t.Errorf("%d sessions are remembered, want 2", n)
	}
}
