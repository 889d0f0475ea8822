package transfer

import (
	"context"
	"time"

	"golang.org/x/time/rate"

	"servidor-backup/schemas"
)

// Throttle bounds how many bytes a second go one way; nil is no limit. It is
// safe for concurrent use.
type Throttle struct {
	tokens *rate.Limiter
	// turns bounds the answers that are asked for and not paid yet: what was
	// asked for comes as fast as it can.
	turns chan struct{}
}

// savedUp is what may be made good after a moment in which less went, as a part
// of a second; nothing else ever exceeds the rate.
const savedUp = 20

// maxTurns is how many answers are asked for at a time at most, whatever the rate.
const maxTurns = 12

// NewThrottle allows so many bytes a second; 0 is no limit.
func NewThrottle(perSecond int64) *Throttle {
	if perSecond <= 0 {
		return nil
	}
	burst := int(min(max(perSecond/savedUp, 1), 1<<30))
	t := &Throttle{tokens: rate.NewLimiter(rate.Limit(perSecond), burst)}
	t.tokens.AllowN(time.Now(), burst) // nothing is saved up at the start
	t.turns = make(chan struct{}, min(max(perSecond/4/schemas.MaxBatch, 1), maxTurns))
	return t
}

// Wait waits until n more bytes may go.
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

// Enter waits for the turn to ask for an answer, which must be ended with leave.
// What came is paid for in between, with wait.
func (t *Throttle) Enter(ctx context.Context) error {
	if t == nil {
		return nil
	}
	select {
	case t.turns <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Leave ends what enter began.
func (t *Throttle) Leave() {
	if t != nil {
		<-t.turns
	}
}
