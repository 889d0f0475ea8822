package transfer

import (
	"context"
	"time"

	"golang.org/x/time/rate"

	"servidor-backup/schemas"
)

// Throttle limits the bytes per second in one direction; a nil Throttle does not limit. It
// is safe for concurrent use.
//
// A sender calls Wait before each message. A receiver cannot slow down an answer that it has
// asked for, so it calls Enter before a request, which bounds the requests under way, Wait
// for the bytes that came, and then Leave.
type Throttle struct {
	tokens   *rate.Limiter
	requests chan struct{} // has an element for each request between Enter and Leave
}

const (
	// burstShare is the part of a second whose bytes may be made up for after a pause: one
	// divided by it. Nothing else exceeds the rate.
	burstShare = 20
	// maxRequests bounds the requests between Enter and Leave, whatever the rate.
	maxRequests = 12
)

// NewThrottle allows perSecond bytes a second; 0 is no limit.
func NewThrottle(perSecond int64) *Throttle {
	if perSecond <= 0 {
		return nil
	}
	burst := int(min(max(perSecond/burstShare, 1), 1<<30))
	t := &Throttle{tokens: rate.NewLimiter(rate.Limit(perSecond), burst)}
	t.tokens.AllowN(time.Now(), burst) // there was no pause before the start
	t.requests = make(chan struct{}, min(max(perSecond/4/schemas.MaxBatch, 1), maxRequests))
	return t
}

// Wait waits until n more bytes are allowed.
func (t *Throttle) Wait(ctx context.Context, n int) error {
	for t != nil && n > 0 {
		part := min(n, t.tokens.Burst())
		if err := t.tokens.WaitN(ctx, part); err != nil {
			return err
		}
		n -= part
	}
	return nil
}

// Enter waits until a request may be sent. If it returns nil, Leave must be called when the
// bytes of the answer have been waited for.
func (t *Throttle) Enter(ctx context.Context) error {
	if t == nil {
		return nil
	}
	select {
	case t.requests <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Leave ends what Enter began.
func (t *Throttle) Leave() {
	if t != nil {
		<-t.requests
	}
}
