package bustest

import (
	"context"
	"testing"
	"time"
)

// Patience bounds every wait of a test; none is expected to take so long, whatever
// else the machine has to do.
const Patience = 45 * time.Second

// Eventually waits until is holds; what says what is waited for.
func Eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(Patience); !is(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("still waiting after %v: %s", Patience, what)
		}
	}
}

// Receive takes one value from c.
func Receive[T any](t testing.TB, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(Patience):
		t.Fatalf("still waiting after %v: %s", Patience, what)
	}
	return v
}

// Patient is a context that ends before the test hangs.
func Patient(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	t.Cleanup(cancel)
	return ctx
}
