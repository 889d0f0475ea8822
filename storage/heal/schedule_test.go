package heal

import (
	"testing"
	"time"
)

// However often a survey leaves the same chunks unsettled, the next one comes later, but
// never later than the bound.
func TestRetryIsBounded(t *testing.T) {
	pause := 2 * time.Second
	for range 1000 {
		next := doubled(pause, 10*time.Minute)
		if next < pause || next > 10*time.Minute {
			t.Fatalf("after %v comes %v", pause, next)
		}
		pause = next
	}
}
