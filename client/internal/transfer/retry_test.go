package transfer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"servidor-backup/bus"
	"servidor-backup/schemas"
)

// newRetry makes a policy with a limit of 20 seconds.
func newRetry(responded bool, status func(string)) *Retry {
	said := func(s schemas.Sentence) { status(s.Text) }
	return &Retry{Responded: func() bool { return responded }, Limit: 20 * time.Second, Status: said}
}

// How long a question is repeated depends on the error, and on whether a node has ever
// responded.
func TestRetryGivesUp(t *testing.T) {
	for name, tc := range map[string]struct {
		err       error
		responded bool
		limit     time.Duration // 0: the question is not repeated
	}{
		"no node responds any more":     {bus.ErrNoResponders, true, 20 * time.Second},
		"no node ever responded":        {bus.ErrNoResponders, false, firstResponseLimit},
		"a node is late":                {context.DeadlineExceeded, false, 20 * time.Second},
		"a node shuts down":             {schemas.Errorf(schemas.NodeClosed, "x"), true, 20 * time.Second},
		"a node is unavailable":         {schemas.Errorf(schemas.Unavailable, "x"), true, 20 * time.Second},
		"no node is up any more":        {schemas.Errorf(schemas.NoNode, "x"), true, 20 * time.Second},
		"no node is up from the start":  {schemas.Errorf(schemas.NoNode, "x"), false, 0},
		"a chunk is not found":          {schemas.Errorf(schemas.NotHeld, "x"), true, 0},
		"another error, of the request": {errors.New("x"), true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start, tries := time.Now(), 0
				err := newRetry(tc.responded, func(string) {}).Do(t.Context(), func() error {
					tries++
					return fmt.Errorf("get: %w", tc.err)
				})
				if !errors.Is(err, tc.err) {
					t.Errorf("it ends with %v, want %v", err, tc.err)
				}
				took := time.Since(start)
				if tc.limit == 0 && tries != 1 || took < tc.limit || took > tc.limit+retryPause {
					t.Errorf("it ends after %d tries and %v, want %v", tries, took, tc.limit)
				}
			})
		})
	}
}

// A question that is answered at last succeeds; the status is set and taken back at each try.
func TestRetrySucceedsWhenNodeResponds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said []string
		tries := 0
		err := newRetry(true, func(text string) { said = append(said, text) }).Do(t.Context(), func() error {
			if tries++; tries < 3 {
				return bus.ErrNoResponders
			}
			return nil
		})
		const waiting = "waiting for a storage node"
		if want := []string{waiting, "", waiting, ""}; err != nil || tries != 3 || !slices.Equal(said, want) {
			t.Errorf("after %d tries: %v; the status was %q, want %q", tries, err, said, want)
		}
	})
}

func TestRetryCanBeInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- newRetry(true, func(string) {}).Do(ctx, func() error { return bus.ErrNoResponders })
		}()
		synctest.Wait() // for the pause
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("it ends with %v, want %v", err, context.Canceled)
		}
	})
}
