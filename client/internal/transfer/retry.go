package transfer

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"servidor-backup/bus"
	"servidor-backup/schemas"
)

const (
	// firstResponseLimit is how long a question is repeated while no node has ever
	// responded, although the map says that some are up.
	firstResponseLimit = 4 * time.Second
	// retryPause is the time from a failure to the next try.
	retryPause = 200 * time.Millisecond
)

// Retry is the retry policy for questions to storage nodes, which may be restarting or be
// replaced by others. A question without an answer is asked again: its answer may have been
// lost with the connection, and the node map may be a newer one by then. All questions of a
// backup or restore share a policy. It is safe for concurrent use.
type Retry struct {
	Responded func() bool              // reports whether any storage node has responded so far
	Limit     time.Duration            // how long a question is repeated
	Status    func(s schemas.Sentence) // is told what the policy waits for, and nothing afterwards
	// Connected reports whether the connection to the server is there. While it is lost, the time
	// does not count: whoever watches the server ends ctx. nil stands for always.
	Connected func() bool

	back atomic.Int64 // when the connection was last found to be lost, Unix ns
}

// Do calls try until it succeeds, until it fails for another reason than unresponsive nodes,
// or until the nodes have been unresponsive for Limit; less if no node ever responded.
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

// Pause is for a question that was first asked at start and has now failed with err. If the
// question is worth repeating, it waits for a moment and returns nil; otherwise it returns
// the error to give up with.
func (p *Retry) Pause(ctx context.Context, start time.Time, err error) error {
	limit := p.Limit
	if errors.Is(err, bus.ErrNoResponders) && !p.Responded() {
		limit = firstResponseLimit
	}
	if p.Connected != nil && !p.Connected() {
		p.back.Store(time.Now().UnixNano())
	}
	if back := time.Unix(0, p.back.Load()); back.After(start) {
		start = back
	}
	again := IsUnresponsive(err) || schemas.CodeOf(err) == schemas.NoNode && p.Responded()
	if !again || ctx.Err() != nil || time.Since(start) > limit {
		return err
	}
	p.Status(schemas.Say("waiting-for-some-node", "waiting for a storage node"))
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(retryPause):
	}
	p.Status(schemas.Sentence{})
	return nil
}

// IsUnresponsive reports whether err may pass by itself: no node answers, or the node that
// answers is shutting down.
func IsUnresponsive(err error) bool {
	switch schemas.CodeOf(err) {
	case schemas.Unavailable, schemas.NodeClosed:
		return true
	}
	return errors.Is(err, bus.ErrNoResponders) || errors.Is(err, context.DeadlineExceeded)
}
