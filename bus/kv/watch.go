package kv

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A watcher depends on one server of a cluster. This server may be behind the others, and
// it may stop while the connection, which is to another server, goes on. So the entries of
// a watcher are compared with the newest revision of the bucket's leader.

// Scan calls visit for every value whose key matches the filter (a key with the
// wildcards * and >), in the order of their last writes. Everything that was written
// before the call is included. visit is first called when all entries have arrived.
func (b *Bucket) Scan(ctx context.Context, filter string, visit func(Entry) error) error {
	return b.ScanAll(ctx, filter, func(e Entry) error {
		if e.Deleted {
			return nil
		}
		return visit(e)
	})
}

// ScanAll is [Bucket.Scan] with the tombstones of deleted keys.
func (b *Bucket) ScanAll(ctx context.Context, filter string, visit func(Entry) error) error {
	var all []Entry
	err := b.retry(ctx, retryTime, func() (err error) {
		all, err = b.readAll(ctx, filter)
		return err
	})
	if err != nil {
		return b.wrap("scan", filter, err)
	}
	for _, e := range all {
		if err := visit(e); err != nil {
			return err
		}
	}
	return nil
}

// readAll reads all entries from a watcher. It fails with errBehind if the watcher's server
// does not have them all.
//
// A key that is written while the watcher runs moves from its old position in the stream
// to the end. The watcher counts entries, so new entries of other keys can make it report
// that all have arrived before this key has. The entries are complete only when the leader
// has none newer than the last that arrived: then the watcher has passed every key.
func (b *Bucket) readAll(ctx context.Context, filter string) (all []Entry, err error) {
	newest, err := b.readLast(ctx, filter)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	w, end, err := b.watch(ctx, filter)
	if err != nil {
		return nil, err
	}
	defer end()
	var seen uint64
	marked := false // the watcher has reported that all entries have arrived
	idle := time.NewTimer(tryTimeout)
	defer idle.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-idle.C:
			if marked {
				return nil, errBehind
			}
			return nil, context.DeadlineExceeded
		case e, open := <-w.Updates():
			switch {
			case !open:
				return nil, errWatcherClosed
			case e == nil:
				marked = true
				idle.Reset(catchUpTime)
			default:
				seen = max(seen, e.Revision())
				all = append(all, entryOf(e))
				idle.Reset(tryTimeout)
			}
		}
		if !marked || seen < newest.revision {
			continue
		}
		switch newest, err = b.readLast(ctx, filter); {
		case errors.Is(err, ErrNotFound): // all entries have lapsed meanwhile
			return newestOf(all), nil
		case err != nil:
			return nil, err
		case newest.revision <= seen:
			return newestOf(all), nil
		}
	}
}

// catchUpTime is the time that a watcher has, after it has delivered everything that its
// server had, to deliver everything that the leader had.
const catchUpTime = 500 * time.Millisecond

// newestOf returns the newest entry of each key. It reuses all.
func newestOf(all []Entry) []Entry {
	last := make(map[string]uint64, len(all))
	for i := range all {
		last[all[i].Key] = all[i].Revision
	}
	return slices.DeleteFunc(all, func(e Entry) bool { return e.Revision != last[e.Key] })
}

// errWatcherClosed says that a watcher ended because its connection was closed.
var errWatcherClosed = errors.New("the connection was closed")

// watch starts a watcher. The caller must call end.
func (b *Bucket) watch(ctx context.Context, filter string, options ...jetstream.WatchOpt) (w jetstream.KeyWatcher, end func(), err error) {
	// The watcher is ended by its context, not by Stop: then the library informs the
	// server, which may be down, and end does not wait for it.
	ctx, cancel := context.WithCancel(ctx)
	timeout := time.AfterFunc(tryTimeout, cancel)
	w, err = b.kv.Watch(ctx, filter, options...)
	if !timeout.Stop() && err != nil {
		err = context.DeadlineExceeded
	}
	if err != nil {
		cancel()
		return nil, nil, err
	}
	return w, func() {
		cancel()
		for range w.Updates() { // otherwise its goroutine would block forever on a send
		}
	}, nil
}

// Watch calls visit for every value and then for every change, never for an older
// revision after a newer one, until ctx ends or the connection is closed. While the
// connection is lost or the bucket's servers are unreachable, it waits. It calls visit with
// nil once, after all values that existed at the start. Of changes in quick succession to
// one key, visit may get only the last.
func (b *Bucket) Watch(ctx context.Context, filter string, visit func(*Entry)) error {
	// A server that restarts forgets its watchers, and the library takes about 20 s to
	// notice. So Watch starts a new watcher after every reconnect, which continues where
	// the previous one ended.
	reconnected := b.nc.StatusChanged(nats.CONNECTED)
	defer b.nc.RemoveStatusListener(reconnected)
	f := follower{b: b, filter: filter, visit: visit, reconnected: reconnected}
	for {
		err := f.follow(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && !isTransient(err):
			return b.wrap("watch", filter, err)
		case err == nil:
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(retryPause):
		}
	}
}

// compareInterval is the interval at which a watch is compared with the bucket's leader.
const compareInterval = 2 * time.Second

// follower is one call of [Bucket.Watch], which may use several watchers, one after the
// other.
type follower struct {
	b           *Bucket
	filter      string
	visit       func(*Entry)
	reconnected <-chan nats.Status

	seen         uint64 // the newest revision that was visited
	caughtUp     bool   // some watcher has delivered everything that its server had
	toldComplete bool   // visit has been called with nil
	newest       uint64 // the leader's newest revision, as of the last readNewest
}

// follow runs one watcher, which starts after the last revision seen. It returns nil when
// another watcher is needed: the connection was lost, or this watcher has not delivered in
// time what the leader has.
func (f *follower) follow(ctx context.Context) error {
	var options []jetstream.WatchOpt
	if f.seen > 0 {
		options = append(options, jetstream.ResumeFromRevision(f.seen+1))
	}
	if err := f.readNewest(ctx); err != nil {
		return err
	}
	w, end, err := f.b.watch(ctx, f.filter, options...)
	if err != nil {
		return err
	}
	defer end()
	tick := time.NewTicker(compareInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-f.reconnected:
			return nil
		case <-tick.C:
			before := f.newest
			// The entries that the leader had at the last tick should have arrived by now,
			// unless they have lapsed.
			if err := f.readNewest(ctx); err != nil || f.seen < min(before, f.newest) {
				return err
			}
		case e, open := <-w.Updates():
			switch {
			case !open && f.b.nc.IsClosed():
				return errWatcherClosed
			case !open:
				return nil
			case e == nil:
				f.caughtUp = true
			case e.Revision() > f.seen: // a server that is behind may start with older entries
				f.seen = e.Revision()
				entry := entryOf(e)
				f.visit(&entry)
			}
		}
		if f.caughtUp && !f.toldComplete && f.seen >= f.newest {
			f.toldComplete = true
			f.visit(nil)
		}
	}
}

// readNewest asks the leader for its newest revision.
func (f *follower) readNewest(ctx context.Context) error {
	m, err := f.b.readLast(ctx, f.filter)
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	if err == nil {
		f.newest = m.revision
	}
	return err
}

func entryOf(e jetstream.KeyValueEntry) Entry {
	return Entry{
		Key:      e.Key(),
		Revision: e.Revision(),
		Deleted:  e.Operation() != jetstream.KeyValuePut,
		value:    e.Value(),
	}
}
