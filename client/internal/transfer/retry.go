package transfer

import (
	"context"
	"errors"
	"time"

	"servidor-backup/bus"
	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
)

const (
	// absentTime is for how long a node is asked that has not answered yet, although
	// the map says that it is up.
	absentTime = 4 * time.Second
	// retryPause is how long a question waits before it is asked again.
	retryPause = 200 * time.Millisecond
)

// Retry waits for storage nodes that restart or are replaced by others: a question
// that is not answered is asked again, because the answer may have been lost with the
// connection, and because the map may be another one by then. All questions of a backup or
// restore share a policy.
type Retry struct {
	Reader *replica.Reader
	Limit  time.Duration // for how long a question is asked again
	Status func(text string)
}

// Do calls try until it succeeds, fails for another reason than unresponsive nodes, or no
// node has answered for long enough: less when no node ever did.
func (p *Retry) Do(ctx context.Context, try func() error) error {
	for start := time.Now(); ; {
		err := try()
		if err == nil {
			return nil
		}
		if err = p.Pause(ctx, start, err); err != nil {
			return err
		}
	}
}

// Pause is called when a question that was first asked at start has failed with err. It
// waits and returns nil if the question is to be asked again; otherwise it returns the
// error to give up with.
func (p *Retry) Pause(ctx context.Context, start time.Time, err error) error {
	limit := p.Limit
	if errors.Is(err, bus.ErrNoResponders) && !p.Reader.Responded() {
		limit = absentTime
	}
	again := IsUnresponsive(err) || schemas.CodeOf(err) == schemas.NoNode && p.Reader.Responded()
	if !again || ctx.Err() != nil || time.Since(start) > limit {
		return err
	}
	p.Status("waiting for a storage node")
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(retryPause):
	}
	p.Status("")
	return nil
}

// IsUnresponsive reports whether err passes when a node is back: no node answers, or one
// answers only that it is leaving.
func IsUnresponsive(err error) bool {
	switch schemas.CodeOf(err) {
	case schemas.Unavailable, schemas.NodeClosed:
		return true
	}
	return errors.Is(err, bus.ErrNoResponders) || errors.Is(err, context.DeadlineExceeded)
}
