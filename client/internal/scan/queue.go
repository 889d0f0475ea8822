package scan

import (
	"context"
	"sync"

	"servidor-backup/client/internal/osfs"
)

// itemsAhead is how many items may wait to be visited, about 2 MiB. The items that the
// walk has taken for its visits do not count.
const itemsAhead = 4096

// queue holds the listings of a walk that are not done, in the order in which the walk needs
// their results: when a listing is done, those of the folders that it found take its place.
// Helpers always claim the first unclaimed one. The walk itself does the listing that it needs
// next, unless a helper has claimed it, so it waits only for listings that are under way.
type queue struct {
	ctx     context.Context
	exclude *Matcher
	names   *osfs.OwnerNames
	buffers sync.Pool // of *[]byte, for osfs.Dir.List

	mu      sync.Mutex
	changed sync.Cond // helpers may find work, or there will never be more
	ends    listing   // ends.next is the first listing in the queue, ends.prev the last
	waiting int       // items that were found and not yet taken by the walk
	closed  bool
}

func newQueue(ctx context.Context, exclude *Matcher) *queue {
	q := &queue{ctx: ctx, exclude: exclude, names: osfs.NewOwnerNames()}
	q.buffers.New = func() any { b := make([]byte, 32<<10); return &b }
	q.changed.L = &q.mu
	q.ends.prev, q.ends.next = &q.ends, &q.ends
	return q
}

// startHelpers starts n helpers, and returns a function that ends them and waits for them.
func (q *queue) startHelpers(n int) (end func()) {
	var helpers sync.WaitGroup
	for range n {
		helpers.Go(func() {
			for l := q.claim(); l != nil; l = q.claim() {
				q.run(l, 1)
			}
		})
	}
	return func() {
		q.mu.Lock()
		q.closed = true
		q.changed.Broadcast()
		q.mu.Unlock()
		helpers.Wait()
	}
}

// claim waits for the next listing to do. It returns nil when a helper is to end.
func (q *queue) claim() *listing {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		if q.closed || q.ctx.Err() != nil {
			return nil
		}
		if q.waiting < itemsAhead {
			for l := q.ends.next; l != &q.ends; l = l.next {
				if !l.claimed {
					l.claimed = true
					return l
				}
			}
		}
		q.changed.Wait()
	}
}

// append puts a listing at the end of the queue.
func (q *queue) append(l *listing) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.insert(q.ends.prev, l)
	q.changed.Signal()
}

// insert puts l after another listing. The caller holds q.mu.
func (q *queue) insert(after, l *listing) {
	l.done = make(chan struct{})
	l.prev, l.next = after, after.next
	l.prev.next, l.next.prev = l, l
}

// await returns once l is done. It does l itself if no helper has claimed it. The walk then
// takes l's items.
func (q *queue) await(l *listing) {
	q.mu.Lock()
	mine := !l.claimed
	l.claimed = true
	q.mu.Unlock()
	if mine {
		q.run(l, 0)
	}
	<-l.done
	q.mu.Lock()
	defer q.mu.Unlock()
	full := q.waiting >= itemsAhead/2
	q.waiting -= len(l.items)
	if full && q.waiting < itemsAhead/2 {
		q.changed.Broadcast()
	}
}

// run does a listing and puts the listings that follow from it in its place. It wakes helpers
// if these are more than the caller itself is going to claim.
func (q *queue) run(l *listing, callerClaims int) {
	l.read(q)
	q.mu.Lock()
	defer q.mu.Unlock()
	last, inserted := l.prev, len(l.subdirs)
	l.prev.next, l.next.prev = l.next, l.prev
	l.prev, l.next = nil, nil
	for _, sub := range l.subdirs {
		if sub.listed { // the walk does not enter it
			inserted--
			continue
		}
		q.insert(last, sub)
		last = sub
	}
	if l.rest != nil {
		q.insert(last, l.rest)
		inserted++
	}
	q.waiting += len(l.items)
	if inserted > callerClaims {
		q.changed.Broadcast()
	}
	close(l.done)
}
