package transfer

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"servidor-backup/schemas"
)

// From the start on, bytes take the time that the rate says, in parts of any size.
func TestThrottleKeepsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate, total = 1 << 20, 3 << 20
		throttle, start := NewThrottle(rate), time.Now()
		for _, n := range []int{1 << 20, 1, 1<<20 - 1, 0, 1 << 19, 1 << 19} {
			if err := throttle.Wait(t.Context(), n); err != nil {
				t.Fatal(err)
			}
		}
		const want = total / rate * time.Second
		if took := time.Since(start); took < want-time.Millisecond || took > want+time.Millisecond {
			t.Errorf("%d bytes took %v, want %v", total, took, want)
		}
	})
}

// After a pause, the bytes of a twentieth of a second may be made up for, and no more.
func TestThrottleMakesUpForLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate = 1 << 20
		throttle := NewThrottle(rate)
		time.Sleep(time.Hour) // of the test's clock
		start := time.Now()
		if err := throttle.Wait(t.Context(), rate); err != nil {
			t.Fatal(err)
		}
		const want = time.Second - time.Second/burstShare
		if took := time.Since(start); took < want-time.Millisecond || took > want+time.Millisecond {
			t.Errorf("the bytes of a second took %v after a pause, want %v", took, want)
		}
	})
}

// A request waits while as many are under way as the rate is worth; at least one may be.
func TestThrottleBoundsRequests(t *testing.T) {
	for _, tc := range []struct {
		rate int64
		want int
	}{
		{1, 1},
		{8 * schemas.MaxBatch, 2},
		{1 << 40, maxRequests},
	} {
		synctest.Test(t, func(t *testing.T) {
			throttle := NewThrottle(tc.rate)
			entered := 0
			for range tc.want {
				if err := throttle.Enter(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			go func() {
				if err := throttle.Enter(t.Context()); err != nil {
					t.Error(err)
				}
				entered++
			}()
			if synctest.Wait(); entered != 0 {
				t.Errorf("at %d bytes a second, more than %d requests are under way", tc.rate, tc.want)
			}
			throttle.Leave()
			if synctest.Wait(); entered != 1 {
				t.Errorf("at %d bytes a second, a request waits although another has ended", tc.rate)
			}
		})
	}
}

func TestThrottleCanBeInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		throttle := NewThrottle(1)
		if err := throttle.Enter(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		waited, entered := make(chan error, 1), make(chan error, 1)
		go func() { waited <- throttle.Wait(ctx, 1<<20) }()
		go func() { entered <- throttle.Enter(ctx) }()
		synctest.Wait()
		cancel()
		if err := <-waited; !errors.Is(err, context.Canceled) {
			t.Errorf("Wait ends with %v", err)
		}
		if err := <-entered; !errors.Is(err, context.Canceled) {
			t.Errorf("Enter ends with %v", err)
		}
	})
}

func TestNoThrottleDoesNotWait(t *testing.T) {
	for _, rate := range []int64{0, -1} {
		throttle := NewThrottle(rate)
		if throttle != nil {
			t.Fatalf("there is a throttle of %d bytes a second", rate)
		}
		if err := throttle.Enter(t.Context()); err != nil {
			t.Error(err)
		}
		if err := throttle.Wait(t.Context(), 1<<30); err != nil {
			t.Error(err)
		}
		throttle.Leave()
	}
}
