package kv

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A watcher hangs on one server of a cluster, which may be behind the others, or
// die while the connection, to another, lives. So what it brings is measured by
// what the bucket's leader has.

// Scan calls visit for every value whose key matches the filter (a key with the
// wildcards * and >), in the order of their last writes. All that was written
// before is among them. visit is called when all have come.
func (b *Bucket) Scan(ctx context.Context, filter string, visit func(Entry) error) error {
	return b.ScanAll(ctx, filter, func(e Entry) error {
		if e.Deleted {
			return nil
		}
		return visit(e)
	})
}

// ScanAll is [Bucket.Scan] with the keys that were deleted.
func (b *Bucket) ScanAll(ctx context.Context, filter string, visit func(Entry) error) error {
	var all []Entry
	err := b.retry(ctx, bucketTime, func() (err error) {
		all, err = b.collect(ctx, filter)
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

// collect reads what a server has, if that is all.
//
// A key that is written again while the watcher has not come to it yet is gone from its
// old place and comes later. What is written to others meanwhile counts for the watcher
// too when it says that all has come. So it is all only when the leader has nothing newer
// than the last that came: every key has been passed by then.
func (b *Bucket) collect(ctx context.Context, filter string) (all []Entry, err error) {
	newest, err := b.last(ctx, filter)
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
	marked := false // the watcher says that all has come
	idle := time.NewTimer(attemptTime)
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
				return nil, errWatcher
			case e == nil:
				marked = true
				idle.Reset(behindTime)
			default:
				seen = max(seen, e.Revision())
				all = append(all, entryOf(e))
				idle.Reset(attemptTime)
			}
		}
		if !marked || seen < newest.revision {
			continue
		}
		switch newest, err = b.last(ctx, filter); {
		case errors.Is(err, ErrNotFound): // all has lapsed meanwhile
			return newestOf(all), nil
		case err != nil:
			return nil, err
		case newest.revision <= seen:
			return newestOf(all), nil
		}
	}
}

// behindTime is how long a watcher that has brought all that its server had may take to
// bring what the leader had.
const behindTime = 500 * time.Millisecond

// newestOf leaves of each key's entries the last.
func newestOf(all []Entry) []Entry {
	last := make(map[string]uint64, len(all))
	for i := range all {
		last[all[i].Key] = all[i].Revision
	}
	return slices.DeleteFunc(all, func(e Entry) bool { return e.Revision != last[e.Key] })
}

// errWatcher says that a watcher ended by itself: its connection was closed.
var errWatcher = errors.New("the connection was closed")

// watch starts a watcher; end ends it.
func (b *Bucket) watch(ctx context.Context, filter string, options ...jetstream.WatchOpt) (w jetstream.KeyWatcher, end func(), err error) {
	// Ending it by its context, not by Stop, leaves it to the library to tell a
	// server that may be gone.
	ctx, cancel := context.WithCancel(ctx)
	late := time.AfterFunc(attemptTime, cancel)
	w, err = b.kv.Watch(ctx, filter, options...)
	if !late.Stop() && err != nil {
		err = context.DeadlineExceeded
	}
	if err != nil {
		cancel()
		return nil, nil, err
	}
	return w, func() {
		cancel()
		for range w.Updates() { // its goroutine would wait for ever to hand them over
		}
	}, nil
}

// Watch calls visit for every value and then for every change, never for an older
// one after a newer one, until ctx ends or the connection closes; while the
// connection or the bucket's servers are away it waits. visit gets nil once, when
// all that was there has been seen. Of changes that follow each other closely only
// the last may be seen.
func (b *Bucket) Watch(ctx context.Context, filter string, visit func(*Entry)) error {
	// A server that restarts forgets its watchers, and the library takes some
	// 20 s to notice. So each connection has a watcher of its own, which goes
	// on where the one before ended.
	reconnected := b.nc.StatusChanged(nats.CONNECTED)
	defer b.nc.RemoveStatusListener(reconnected)
	f := follower{b: b, filter: filter, visit: visit, reconnected: reconnected}
	for {
		err := f.follow(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && !passes(err):
			return b.wrap("watch", filter, err)
		case err == nil:
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(againTime):
		}
	}
}

// lookTime is how often a watch is compared with what the bucket's leader has.
const lookTime = 2 * time.Second

// follower is a watch, over all the watchers that it needs.
type follower struct {
	b           *Bucket
	filter      string
	visit       func(*Entry)
	reconnected <-chan nats.Status

	seen     uint64 // the newest revision that was visited
	whole    bool   // some watcher has brought all that its server had
	complete bool   // visit has been told that all was seen
	newest   uint64 // the leader's newest revision, when it was last asked
}

// follow goes on after what was seen. It returns nil when another watcher is
// needed: the connection was away, or this one has not brought in time what the
// leader has.
func (f *follower) follow(ctx context.Context) error {
	var options []jetstream.WatchOpt
	if f.seen > 0 {
		options = append(options, jetstream.ResumeFromRevision(f.seen+1))
	}
	if err := f.look(ctx); err != nil {
		return err
	}
	w, end, err := f.b.watch(ctx, f.filter, options...)
	if err != nil {
		return err
	}
	defer end()
	tick := time.NewTicker(lookTime)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-f.reconnected:
			return nil
		case <-tick.C:
			before := f.newest
			// What the leader had by then should be here by now, unless it has lapsed.
			if err := f.look(ctx); err != nil || f.seen < min(before, f.newest) {
				return err
			}
		case e, open := <-w.Updates():
			switch {
			case !open && f.b.nc.IsClosed():
				return errWatcher
			case !open:
				return nil
			case e == nil:
				f.whole = true
			case e.Revision() > f.seen: // a server that is behind begins further back
				f.seen = e.Revision()
				entry := entryOf(e)
				f.visit(&entry)
			}
		}
		if f.whole && !f.complete && f.seen >= f.newest {
			f.complete = true
			f.visit(nil)
		}
	}
}

// look asks for the leader's newest revision.
func (f *follower) look(ctx context.Context) error {
	m, err := f.b.last(ctx, f.filter)
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
