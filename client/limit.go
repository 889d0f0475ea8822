package client

import (
	"context"
	"time"

	"golang.org/x/time/rate"

	"servidor-backup/schemas"
)

// throttle bounds how many bytes a second go one way; nil is no limit. It is
// safe for concurrent use.
type throttle struct {
	tokens *rate.Limiter
	// turns bounds the answers that are asked for and not paid yet: what was
	// asked for comes as fast as it can.
	turns chan struct{}
}

// savedUp is what may be made good after a moment in which less went, as a part
// of a second; nothing else ever exceeds the rate.
const savedUp = 20

// newThrottle allows so many bytes a second; 0 is no limit.
func newThrottle(perSecond int64) *throttle {
	if perSecond <= 0 {
		return nil
	}
	burst := int(min(max(perSecond/savedUp, 1), 1<<30))
	t := &throttle{tokens: rate.NewLimiter(rate.Limit(perSecond), burst)}
	t.tokens.AllowN(time.Now(), burst) // nothing is saved up at the start
	t.turns = make(chan struct{}, min(max(perSecond/4/schemas.MaxBatch, 1), fetchSlots))
	return t
}

// wait waits until n more bytes may go.
func (t *throttle) wait(ctx context.Context, n int) error {
	for t != nil && n > 0 {
		part := min(n, t.tokens.Burst())
		if err := t.tokens.WaitN(ctx, part); err != nil {
			return err
		}
		n -= part
	}
	return nil
}

// ask calls request, which returns how many bytes came, when it is its turn, and
// returns when as many may come again.
func (t *throttle) ask(ctx context.Context, request func() (bytes int, err error)) error {
	if t == nil {
		_, err := request()
		return err
	}
	if !push(ctx, t.turns, struct{}{}) {
		return ctx.Err()
	}
	defer func() { <-t.turns }()
	n, err := request()
	if err != nil {
		return err
	}
	return t.wait(ctx, n)
}
