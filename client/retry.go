package client

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

// retryPolicy waits for storage nodes that restart or are replaced by others: a question
// that is not answered is asked again, because the answer may have been lost with the
// connection, and because the map may be another one by then. All questions of a backup or
// restore share a policy.
type retryPolicy struct {
	holders *replica.Reader
	limit   time.Duration // for how long a question is asked again
	status  func(text string)
}

// do calls try until it succeeds, fails for another reason than unresponsive nodes, or no
// node has answered for long enough: less when no node ever did.
func (p *retryPolicy) do(ctx context.Context, try func() error) error {
	for start := time.Now(); ; {
		err := try()
		if err == nil {
			return nil
		}
		if err = p.pause(ctx, start, err); err != nil {
			return err
		}
	}
}

// pause is called when a question that was first asked at start has failed with err. It
// waits and returns nil if the question is to be asked again; otherwise it returns the
// error to give up with.
func (p *retryPolicy) pause(ctx context.Context, start time.Time, err error) error {
	limit := p.limit
	if errors.Is(err, bus.ErrNoResponders) && !p.holders.Responded() {
		limit = absentTime
	}
	again := isUnresponsive(err) || schemas.CodeOf(err) == schemas.NoNode && p.holders.Responded()
	if !again || ctx.Err() != nil || time.Since(start) > limit {
		return err
	}
	p.status("waiting for a storage node")
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(retryPause):
	}
	p.status("")
	return nil
}

// isUnresponsive reports whether err passes when a node is back: no node answers, or one
// answers only that it is leaving.
func isUnresponsive(err error) bool {
	switch schemas.CodeOf(err) {
	case schemas.Unavailable, schemas.NodeClosed:
		return true
	}
	return errors.Is(err, bus.ErrNoResponders) || errors.Is(err, context.DeadlineExceeded)
}
