package upload

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
	"servidor-backup/schemas/placement"
)

const (
	// shortTime is for how long there may be too few nodes, without anything being
	// acknowledged, until a backup gives up.
	shortTime = 60 * time.Second
	// avoidTime is for how long nothing goes to a node that did not take something,
	// while there are enough others; retryTime the same if there are not.
	avoidTime = 30 * time.Second
	retryTime = time.Second
)

// destinations says to which nodes chunks go: those of the newest map, but for nodes that
// have just not taken something. When there are too few, it waits for more.
type destinations struct {
	holders *replica.Reader
	vault   schemas.VaultID
	status  func(string)

	mu       sync.Mutex
	m        *schemas.NodeMap // that of placement
	place    *placement.Placement
	avoided  map[schemas.NodeID]avoided
	next     time.Time // when the first of them is tried again
	fewSince time.Time // since when there are too few; zero if there are enough
	failing  time.Time // of the first failure since something was acknowledged
	progress time.Time // when something was acknowledged last
	said     string
}

type avoided struct {
	until time.Time
	why   error
}

func newDestinations(holders *replica.Reader, vault schemas.VaultID, status func(string)) *destinations {
	return &destinations{holders: holders, vault: vault, status: status, avoided: map[schemas.NodeID]avoided{}}
}

// acknowledged notes that something was.
func (ds *destinations) acknowledged() {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	ds.progress, ds.failing = time.Now(), time.Time{}
}

// failed notes that nodes did not take something. It fails when that goes on for so
// long that there is no sense in trying again.
func (ds *destinations) failed(u *replica.PartialFailure) error {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	now := time.Now()
	if ds.failing.IsZero() {
		ds.failing = now
	}
	if now.Sub(ds.failing) > shortTime {
		return u
	}
	for _, id := range u.Nodes {
		if n := ds.holders.Map().Find(id); n != nil && n.Writable() { // else the map says it
			ds.avoided[id] = avoided{now.Add(avoidTime), u.Err}
		}
	}
	ds.m = nil
	return nil
}

// of appends to dst the nodes that a chunk goes to, as many as need says; it waits
// until there are so many.
func (ds *destinations) of(ctx context.Context, dst []schemas.NodeID, id schemas.ChunkID, need func(schemas.Durability) int) (schemas.Durability, []schemas.NodeID, error) {
	for {
		d, place, n, err := ds.current(need)
		if err != nil {
			return d, nil, err
		}
		if place != nil {
			return d, place.Place(dst, id, n), nil
		}
		select {
		case <-ctx.Done():
			return d, nil, context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// current is the placement, if it has as many nodes as need says.
func (ds *destinations) current(need func(schemas.Durability) int) (schemas.Durability, *placement.Placement, int, error) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	now := time.Now()
	if m := ds.holders.Map(); m != ds.m || !ds.next.IsZero() && now.After(ds.next) {
		ds.follow(m, now)
	}
	d := ds.holders.DurabilityOn(ds.vault, ds.place.Len())
	n := need(d)
	if ds.place.Len() >= n {
		ds.fewSince = time.Time{}
		ds.say("")
		return d, ds.place, n, nil
	}
	if ds.fewSince.IsZero() {
		ds.fewSince = now
	}
	return d, nil, n, ds.tooFew(n, now)
}

// follow makes a placement without the nodes that are avoided.
func (ds *destinations) follow(m *schemas.NodeMap, now time.Time) {
	ds.m, ds.next = m, time.Time{}
	rest := schemas.NodeMap{}
	for _, n := range m.Nodes {
		a, is := ds.avoided[n.ID]
		if is && (now.After(a.until) || !n.State.Reachable()) { // when it is back, it is another matter
			delete(ds.avoided, n.ID)
			is = false
		}
		if !is {
			rest.Nodes = append(rest.Nodes, n)
		} else if ds.next.IsZero() || a.until.Before(ds.next) {
			ds.next = a.until
		}
	}
	ds.place = placement.New(&rest)
}

// tooFew says what is waited for while there are fewer nodes than n, and fails when
// that has no sense: nodes that have no room will not have any in a minute, and those
// that are away may not come back.
func (ds *destinations) tooFew(n int, now time.Time) error {
	var why []string
	var full error
	up, hope := 0, 0
	for i := range ds.m.Nodes {
		x := &ds.m.Nodes[i]
		a, is := ds.avoided[x.ID]
		code := schemas.CodeOf(a.why)
		switch {
		case is && (code == schemas.DiskFull || code == schemas.DiskFailed):
			full = a.why
		case x.State == schemas.Up && x.Trouble != "":
			full = schemas.Errorf(schemas.Code(x.Trouble), "storage node %s takes nothing: %s", x.Name, x.Trouble)
		case is: // it is tried again, for want of another one
			a.until = now.Add(min(a.until.Sub(now), retryTime))
			if ds.next.IsZero() || a.until.Before(ds.next) {
				ds.next = a.until
			}
			ds.avoided[x.ID] = a
			why = append(why, x.Name+" does not answer")
			hope++
		case x.Writable():
			up++
			hope++
		default:
			why = append(why, fmt.Sprintf("%s is %s", x.Name, x.State))
			if x.State == schemas.Down {
				hope++
			}
		}
	}
	if full != nil && hope < n {
		return full
	}
	text := fmt.Sprintf("%d of %d are up", up, n)
	if full != nil {
		why = append(why, full.Error())
	}
	if len(why) > 0 {
		text += " (" + strings.Join(why, ", ") + ")"
	}
	since := ds.fewSince
	if ds.progress.After(since) {
		since = ds.progress
	}
	if !ds.holders.Responded() || now.Sub(since) > shortTime {
		return schemas.Errorf(schemas.NoNode, "too few storage nodes for this backup: %s: start more and run it again, what has been stored is not sent twice", text)
	}
	ds.say("waiting for storage nodes: " + text)
	return nil
}

// say tells what is waited for, once.
func (ds *destinations) say(text string) {
	if text != ds.said {
		ds.said = text
		ds.status(text)
	}
}
