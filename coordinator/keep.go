package coordinator

import (
	"context"
	"servidor-backup/bus/kv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// JetStream may be lost while coordinators run: its servers come back with nothing, or
// somebody deletes the streams. Then nothing that a coordinator knows holds any more, so
// it ends and another one starts in its place, with an empty catalogue: as if everybody
// had been started anew, which needs no further rules.
//
// No bucket is made over one that is still there. That one is gone is believed only when
// it was said for some time ([kv.Bucket.Gone]), and who starts then looks once more and
// finds what is there. What is not seen even so is not replaced: JetStream refuses a
// second stream of a name.

const (
	// goneEvery is how often a coordinator looks for its buckets.
	goneEvery = 2 * time.Second
	// goneLooks is how often in a row they must be gone.
	goneLooks = 3
	// keepWait lies between two attempts to begin anew.
	keepWait = time.Second
)

// Keep is [Start] for a coordinator that begins anew when its buckets are gone. stop
// ends it.
func Keep(ctx context.Context, nc *nats.Conn, opt Options) (stop func() error, err error) {
	c, err := Start(ctx, nc, opt)
	if err != nil {
		return nil, err
	}
	run, end := context.WithCancel(context.Background())
	var keeping sync.WaitGroup
	keeping.Go(func() {
		for c != nil && c.isLost(run) {
			c = c.anew(run)
		}
	})
	return func() error {
		end()
		keeping.Wait()
		if c == nil {
			return nil
		}
		return c.Stop()
	}, nil
}

// isLost waits until the coordinator's buckets are gone, or run ends.
func (c *Coordinator) isLost(run context.Context) bool {
	select {
	case <-c.members.gone:
		return true
	case <-run.Done():
		return false
	}
}

// anew ends the coordinator and starts another one in its place; nil if run ends first.
func (c *Coordinator) anew(run context.Context) *Coordinator {
	log := c.opt.Log
	log.Warn("buckets of the catalogue are gone: this coordinator begins anew; \"backup rebuild-catalogue\" brings back what storage nodes have copies of")
	if err := c.Stop(); err != nil {
		log.Warn("the coordinator did not end in good order", "error", err)
	}
	for said := ""; ; {
		next, err := Start(run, c.nc, c.opt)
		if err == nil || run.Err() != nil {
			return next
		}
		if err.Error() != said {
			said = err.Error()
			log.Warn("the coordinator cannot begin anew yet", "error", err)
		}
		select {
		case <-run.Done():
			return nil
		case <-time.After(keepWait):
		}
	}
}

// guard looks from time to time whether all buckets are still there.
func (c *Coordinator) guard(run context.Context) {
	for times := 0; times < goneLooks; {
		select {
		case <-run.Done():
			return
		case <-time.After(goneEvery):
		}
		if c.lacksOne(run) {
			times++
		} else {
			times = 0
		}
	}
	c.members.lose()
}

func (c *Coordinator) lacksOne(run context.Context) bool {
	for _, b := range c.buckets {
		if gone, err := b.Lost(run); gone && err == nil {
			return true
		}
	}
	return false
}

// The watch of the cards may go on in another bucket without a word. So what is seen to
// come too far behind what came before is not taken for a change of this map: there
// would be two maps of one epoch.

// mostMissed is more than the cards that are written while a coordinator does not look.
// Another bucket begins later by the microseconds that this one has lived. Who has
// missed so much in the same one begins anew for nothing, which does no harm.
const mostMissed = 10_000

// lose notes that what is known here holds no more.
func (m *members) lose() { m.lost.Do(func() { close(m.gone) }) }

func (m *members) isLost() bool {
	select {
	case <-m.gone:
		return true
	default:
		return false
	}
}

// isForeign reports whether an entry is of another bucket, under the lock. The first
// that are read may lie apart: nobody needs them before it was looked once more.
func (m *members) isForeign(e *kv.Entry) bool {
	select {
	case <-m.ready:
		return m.epoch > 0 && e.Revision > m.epoch+mostMissed
	default:
		return false
	}
}
