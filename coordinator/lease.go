package coordinator

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nuid"

	"servidor-backup/bus/kv"
	"servidor-backup/schemas"
)

// leases let one coordinator at a time do a job. A lease is a key that its holder
// writes again and again, each time under CAS on the revision before. Whoever has seen
// one revision stand for the whole term, by his own clock, may take it over; the one
// who had it finds that out at his next write, or gives up in time by himself. So no
// two clocks are compared. What the job writes is fenced apart (a collection's
// generation), as a process may sleep between any two instructions.
type leases struct {
	kv   *kv.Bucket
	term time.Duration

	mu   sync.Mutex
	seen map[string]sighting
}

// sighting is since when a lease has had a revision.
type sighting struct {
	revision uint64
	since    time.Time
}

// leaseEntry is a lease's value.
type leaseEntry struct {
	// Holder is a new word for each time that it is taken; empty if it was given back.
	Holder string `msgpack:"holder,omitempty"`
	Term   int64  `msgpack:"term"` // ns
}

var errHeld = schemas.Errorf(schemas.NotNow, "another coordinator is at it")

// take takes the lease: held ends when it is lost, or given back with release. It is
// errHeld if someone else has it, or may have it still.
func (l *leases) take(ctx context.Context, name string) (held context.Context, release func(), err error) {
	var e leaseEntry
	revision, err := l.kv.Get(ctx, name, &e)
	mine := &leaseEntry{Holder: nuid.Next(), Term: int64(l.term)}
	switch {
	case errors.Is(err, kv.ErrNotFound):
		revision, err = l.kv.Create(ctx, name, mine)
	case err != nil:
		return nil, nil, err
	case e.Holder != "" && !l.expired(name, revision, time.Duration(e.Term)):
		return nil, nil, errHeld
	default:
		revision, err = l.kv.Update(ctx, name, mine, revision)
	}
	if errors.Is(err, kv.ErrExists) || errors.Is(err, kv.ErrConflict) {
		return nil, nil, errHeld
	}
	if err != nil {
		return nil, nil, err
	}
	held, lose := context.WithCancelCause(ctx)
	var keeping sync.WaitGroup
	keeping.Go(func() { l.keep(held, lose, name, mine, revision) })
	return held, func() {
		lose(nil)
		keeping.Wait()
	}, nil
}

// soonTime is for how long [leases.takeSoon] tries: longer than it takes to give a lease
// back after all else was done.
const soonTime = 2 * time.Second

// takeSoon is take for who comes right after another.
func (l *leases) takeSoon(ctx context.Context, name string) (held context.Context, release func(), err error) {
	for begun := time.Now(); ; {
		held, release, err = l.take(ctx, name)
		if !errors.Is(err, errHeld) || time.Since(begun) > soonTime {
			return held, release, err
		}
		select {
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case <-time.After(soonTime / 40):
		}
	}
}

// expired reports whether the lease has had that revision for the term.
func (l *leases) expired(name string, revision uint64, term time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.seen[name]
	if s.revision != revision {
		l.seen[name] = sighting{revision, time.Now()}
		return false
	}
	return time.Since(s.since) > term
}

var errLeaseLost = errors.New("the lease was lost: this coordinator could not be heard for too long")

// keep renews the lease until held ends, and ends held when that fails for so long
// that another one may soon take it.
func (l *leases) keep(held context.Context, lose context.CancelCauseFunc, name string, mine *leaseEntry, revision uint64) {
	tick := time.NewTicker(l.term / 4)
	defer tick.Stop()
	good := time.Now()
	for {
		select {
		case <-held.Done():
			// Given back, if it is still held. Nobody waits for it for longer than a term.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(held), l.term/4)
			defer cancel()
			_, _ = l.kv.Update(ctx, name, &leaseEntry{Term: mine.Term}, revision)
			return
		case <-tick.C:
		}
		asked := time.Now()
		// Giving back waits for it: of a write that was cut short nobody knows the revision.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(held), l.term/4)
		next, err := l.kv.Update(ctx, name, mine, revision)
		if errors.Is(err, kv.ErrConflict) {
			// The answer to a write of one's own may have got lost.
			var e leaseEntry
			if next, err = l.kv.Get(ctx, name, &e); err == nil && e.Holder != mine.Holder {
				lose(errLeaseLost)
			}
		}
		cancel()
		switch {
		case err == nil:
			revision, good = next, asked
		case time.Since(good) > l.term*3/4:
			lose(errLeaseLost)
		}
	}
}
