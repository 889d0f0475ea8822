package coordinator

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// JetStream may lose its data while coordinators run: its servers come back with nothing, or
// an administrator deletes the streams. Then nothing that a coordinator knows holds any more. So it
// stops and another one starts in its place, as if everything had just been started. It finds that
// the nodes have copies of a catalogue, and refuses requests until that is rebuilt (copies.go).
//
// No bucket is made in place of one that still exists. A bucket is taken to be lost only after
// that was said several times in a row (kv.Bucket.Lost), and a coordinator that starts looks
// once more and uses a bucket that it finds. If even that is wrong, JetStream refuses a second
// stream of the same name.

const (
	// guardEvery is how often a coordinator checks that its buckets exist.
	guardEvery = 2 * time.Second
	// guardChecks is how many checks in a row must find a bucket lost.
	guardChecks = 3
	// restartRetry is how long to wait after a failed restart.
	restartRetry = time.Second
)

// Running is a coordinator in whose place another one starts when its buckets are lost.
type Running struct {
	end         context.CancelFunc
	supervising sync.WaitGroup

	mu  sync.Mutex
	now *Coordinator // nil if it was lost, and Stop was called before another one had started
}

// Run starts a coordinator like [Start], and starts another one in its place when its buckets
// are lost.
func Run(ctx context.Context, nc *nats.Conn, opt Options) (*Running, error) {
	c, err := Start(ctx, nc, opt)
	if err != nil {
		return nil, err
	}
	run, end := context.WithCancel(context.Background())
	r := &Running{end: end, now: c}
	r.supervising.Go(func() {
		for c != nil && c.waitUntilLost(run) {
			c = c.restart(run)
			r.mu.Lock()
			r.now = c
			r.mu.Unlock()
		}
	})
	return r, nil
}

// BackUp waits until the nodes have copies of all that this coordinator has written to the
// catalogue, or have refused them. Call it before the nodes stop.
func (r *Running) BackUp(ctx context.Context) error {
	r.mu.Lock()
	c := r.now
	r.mu.Unlock()
	if c == nil {
		return nil
	}
	return c.catalog.FlushBackup(ctx)
}

// Stop ends the coordinator after the requests under way.
func (r *Running) Stop() error {
	r.end()
	r.supervising.Wait()
	if r.now == nil {
		return nil
	}
	return r.now.Stop()
}

// waitUntilLost waits until the coordinator's buckets are lost, and reports true; or until run
// ends.
func (c *Coordinator) waitUntilLost(run context.Context) bool {
	select {
	case <-c.members.Lost():
		return true
	case <-run.Done():
		return false
	}
}

// restart stops the coordinator and starts another one in its place; nil if run ends first.
func (c *Coordinator) restart(run context.Context) *Coordinator {
	log := c.opt.Log
	log.Warn("buckets of the catalogue are lost: this coordinator starts over; \"backup rebuild-catalogue\" brings back what storage nodes have a backup of")
	if err := c.Stop(); err != nil {
		log.Warn("the coordinator did not stop in good order", "error", err)
	}
	opt := c.opt
	opt.BeginAnew = false // it was said of the catalogue that the coordinator began with
	for logged := ""; ; {
		next, err := Start(run, c.nc, opt)
		if err == nil || run.Err() != nil {
			return next
		}
		if err.Error() != logged {
			logged = err.Error()
			log.Warn("the coordinator cannot start over yet", "error", err)
		}
		select {
		case <-run.Done():
			return nil
		case <-time.After(restartRetry):
		}
	}
}

// guard checks from time to time that all buckets exist. It returns when one is lost.
func (c *Coordinator) guard() {
	for failed := 0; failed < guardChecks; {
		select {
		case <-c.run.Done():
			return
		case <-time.After(guardEvery):
		}
		if c.lostBucket() {
			failed++
		} else {
			failed = 0
		}
	}
	c.members.Lose()
}

func (c *Coordinator) lostBucket() bool {
	for _, b := range c.buckets.all() {
		if lost, err := b.Lost(c.run); lost && err == nil {
			return true
		}
	}
	return false
}
