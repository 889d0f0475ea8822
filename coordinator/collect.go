package coordinator

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"servidor-backup/coordinator/catalog"
	"servidor-backup/coordinator/gc"
	"servidor-backup/coordinator/internal/lease"
	"servidor-backup/schemas"
)

// collect answers backup.gc: it starts a collection if the request says so, and tells of the
// newest one.
func (c *Coordinator) collect(ctx context.Context, req *schemas.CollectRequest) (any, error) {
	held := false // the lease: by another collection, which is as good, or by a rebuild
	if req.Start {
		grace := c.opt.ForgetGrace
		if req.Grace != nil {
			grace = time.Duration(*req.Grace)
		}
		err := c.startCollection(grace, func(*catalog.Collection) bool { return true })
		if held = errors.Is(err, lease.ErrHeld); err != nil && !held {
			return nil, err
		}
	}
	newest, err := c.catalog.Collection(ctx)
	if err == nil && held && !newest.Running() {
		err = lease.ErrHeld
	}
	if err == nil && !req.Start && newest.Running() {
		// A client that waits for its end must not wait until the schedule finds it abandoned.
		newest, err = c.markAbandoned(ctx, newest)
	}
	if err != nil {
		return nil, err
	}
	return &schemas.CollectReply{Reply: schemas.OK, Collection: newest.Collection}, nil
}

// startCollection starts a collection in the background. wanted is called with the newest one
// when no other can start any more; if it reports false, the error is [lease.ErrHeld].
func (c *Coordinator) startCollection(grace time.Duration, wanted func(newest *catalog.Collection) bool) error {
	held, release, err := c.leases.TakeSoon(c.run, lease.Collection)
	if err != nil {
		return err
	}
	newest, err := c.catalog.Collection(held)
	if err == nil && !wanted(newest) {
		err = lease.ErrHeld
	}
	var begun gc.Result
	if err == nil {
		begun, err = gc.Begin(held, c.catalog)
	}
	if err != nil {
		release()
		return err
	}
	c.loops.Go(func() {
		defer release()
		c.runCollection(held, c.collectionDeps(grace), begun)
	})
	return nil
}

func (c *Coordinator) collectionDeps(grace time.Duration) gc.Deps {
	return gc.Deps{NC: c.nc, Catalog: c.catalog, Sessions: c.sessions, Map: c.members.Map, Log: c.opt.Log, Grace: grace}
}

func (c *Coordinator) runCollection(held context.Context, d gc.Deps, begun gc.Result) gc.Result {
	r := gc.Run(held, d, begun)
	for _, l := range r.Lost {
		record, number, err := schemas.ParseVersionID(l.Version)
		if err == nil {
			err = c.catalog.Doubt(held, l.Nickname, record, number)
		}
		if err != nil && held.Err() == nil {
			c.opt.Log.Warn("it could not be noted that a version misses chunks", "nickname", l.Nickname, "version", l.Version, "error", err)
		}
	}
	c.catalog.ScanBackup() // for tombstones of versions that were removed
	c.event(schemas.EventCollected, fmt.Sprint(r.Generation), "", "%s", gc.Summary(&r))
	return r
}

// scheduleCollections starts collections from time to time, and finds those whose coordinator
// has died.
func (c *Coordinator) scheduleCollections() {
	every := c.opt.CollectEvery
	// The first look comes late: a system that runs only for a moment has other things to do.
	wait, started := every/100+rand.N(every/100+1), time.Now()
	for {
		select {
		case <-c.run.Done():
			return
		case <-time.After(wait):
		}
		wait = every/50 + rand.N(every/50+1)
		newest, err := c.catalog.Collection(c.run)
		if err != nil {
			continue
		}
		last := time.Unix(0, newest.Started)
		if newest.Started == 0 {
			last = started
		}
		if newest.Running() {
			_, _ = c.markAbandoned(c.run, newest) // if it fails, the next look tries again
		}
		if time.Since(last) < every {
			continue
		}
		// Another coordinator may have come to the same, and have been faster.
		same := func(now *catalog.Collection) bool { return now.Generation == newest.Generation }
		if err := c.startCollection(c.opt.ForgetGrace, same); err != nil && !errors.Is(err, lease.ErrHeld) && c.run.Err() == nil {
			c.opt.Log.Warn("a collection could not begin", "error", err)
		}
	}
}

// markAbandoned notes that a collection has ended if no coordinator runs it any more. It
// returns the newest collection as it is then.
func (c *Coordinator) markAbandoned(ctx context.Context, newest *catalog.Collection) (*catalog.Collection, error) {
	held, release, err := c.leases.Take(ctx, lease.Collection)
	if err != nil {
		return newest, nil // a coordinator runs it, or may still run it
	}
	defer release()
	if newest, err = c.catalog.Collection(held); err != nil || newest.Ended > 0 {
		return newest, err
	}
	newest.Ended, newest.Error = time.Now().UnixNano(), "the coordinator that ran it has stopped"
	return newest, c.catalog.SaveCollection(held, newest)
}
