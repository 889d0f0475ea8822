// Package lease lets one coordinator at a time do a job.
//
// A lease is a key of a bucket. Its holder writes the key again and again, each time as a
// compare-and-set on the revision before. A coordinator that has seen the same revision for
// the lease's whole term, by its own clock, may take the lease over. The former holder finds
// that out at its next write, or gives up in time by itself. So no two clocks are compared.
//
// A process may sleep between any two instructions, so a lease alone does not protect what
// the job writes. That needs a fence of its own, such as a collection's generation.
package lease

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nuid"

	"servidor-backup/bus/kv"
	"servidor-backup/schemas"
)

// Names of leases.
const (
	// Collection is held by a garbage collection, and by a rebuild of the catalogue, during
	// which nothing must be collected.
	Collection = "collect"
	// Backup is held by the coordinator that looks for values without a catalogue backup.
	Backup = "copies"
)

// Leases takes and renews leases. All are in one bucket.
type Leases struct {
	bucket *kv.Bucket
	term   time.Duration

	mu   sync.Mutex
	seen map[string]sighting // by the lease's name
}

// sighting is since when a lease has had a revision.
type sighting struct {
	revision uint64
	since    time.Time
}

// entry is a lease's value in the bucket.
type entry struct {
	// Holder is a new id each time that the lease is taken; empty after it was given back.
	Holder string `msgpack:"holder,omitempty"`
	Term   int64  `msgpack:"term"` // ns
}

// New uses bucket. term is how long a job stays undone after its coordinator has died.
func New(bucket *kv.Bucket, term time.Duration) *Leases {
	return &Leases{bucket: bucket, term: term, seen: map[string]sighting{}}
}

// ErrHeld says that another coordinator has the lease, or may still have it.
var ErrHeld = schemas.Explain(schemas.NotNow, "job-is-taken", "another coordinator is doing this job")

// errLost is the cause of a held context that ends because the lease was lost.
var errLost = errors.New("the lease was lost: this coordinator could not reach the bucket for too long")

// Take takes the lease, or returns [ErrHeld]. The lease is given back when ctx ends, or with
// release, which waits until that is done. held ends then, or when the lease is lost.
func (l *Leases) Take(ctx context.Context, name string) (held context.Context, release func(), err error) {
	var e entry
	revision, err := l.bucket.Get(ctx, name, &e)
	mine := &entry{Holder: nuid.Next(), Term: int64(l.term)}
	switch {
	case errors.Is(err, kv.ErrNotFound):
		revision, err = l.bucket.Create(ctx, name, mine)
	case err != nil:
		return nil, nil, err
	case e.Holder != "" && !l.expired(name, revision, time.Duration(e.Term)):
		return nil, nil, ErrHeld
	default:
		revision, err = l.bucket.Update(ctx, name, mine, revision)
	}
	if errors.Is(err, kv.ErrExists) || errors.Is(err, kv.ErrConflict) {
		return nil, nil, ErrHeld
	}
	if err != nil {
		return nil, nil, err
	}
	held, lose := context.WithCancelCause(ctx)
	var renewing sync.WaitGroup
	renewing.Go(func() { l.renew(held, lose, name, mine, revision) })
	return held, func() {
		lose(nil)
		renewing.Wait()
	}, nil
}

// retryTime is for how long [Leases.TakeSoon] retries. It is longer than the time between
// the end of a job and the return of its lease.
const retryTime = 2 * time.Second

// TakeSoon is [Leases.Take] for a job that may follow directly on another one: it retries
// for a short time while the lease is held.
func (l *Leases) TakeSoon(ctx context.Context, name string) (held context.Context, release func(), err error) {
	for begun := time.Now(); ; {
		held, release, err = l.Take(ctx, name)
		if !errors.Is(err, ErrHeld) || time.Since(begun) > retryTime {
			return held, release, err
		}
		select {
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		case <-time.After(retryTime / 40):
		}
	}
}

// expired reports whether the lease has had that revision for the whole term.
func (l *Leases) expired(name string, revision uint64, term time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.seen[name]
	if s.revision != revision {
		l.seen[name] = sighting{revision, time.Now()}
		return false
	}
	return time.Since(s.since) > term
}

// renew renews the lease until held ends. It ends held when renewing has failed for so long
// that another coordinator may soon take the lease.
func (l *Leases) renew(held context.Context, lose context.CancelCauseFunc, name string, mine *entry, revision uint64) {
	tick := time.NewTicker(l.term / 4)
	defer tick.Stop()
	renewed := time.Now()
	for {
		select {
		case <-held.Done():
			// Give the lease back. If it is lost already, the update fails.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(held), l.term/4)
			defer cancel()
			_, _ = l.bucket.Update(ctx, name, &entry{Term: mine.Term}, revision)
			return
		case <-tick.C:
		}
		asked := time.Now()
		// The end of held does not cut the write short: its revision would be unknown, and
		// the lease could not be given back.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(held), l.term/4)
		next, err := l.bucket.Update(ctx, name, mine, revision)
		if errors.Is(err, kv.ErrConflict) {
			// The write before may have succeeded although its answer was lost.
			var e entry
			if next, err = l.bucket.Get(ctx, name, &e); err == nil && e.Holder != mine.Holder {
				lose(errLost)
			}
		}
		cancel()
		switch {
		case err == nil:
			revision, renewed = next, asked
		case time.Since(renewed) > l.term*3/4:
			lose(errLost)
		}
	}
}
