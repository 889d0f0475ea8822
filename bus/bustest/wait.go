package bustest

import (
	"context"
	"testing"
	"time"
)

// Timeout bounds every wait of a test. No wait should take so long, even on a busy
// machine.
const Timeout = 45 * time.Second

// Eventually waits until condition holds, and fails the test after [Timeout]. what
// describes the condition.
func Eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(Timeout); !condition(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("still waiting after %v: %s", Timeout, what)
		}
	}
}

// Receive receives one value from c, and fails the test after [Timeout]. what describes
// the value.
func Receive[T any](t testing.TB, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(Timeout):
		t.Fatalf("still waiting after %v: %s", Timeout, what)
	}
	return v
}

// Context returns a context that ends after [Timeout].
func Context(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), Timeout)
	t.Cleanup(cancel)
	return ctx
}
