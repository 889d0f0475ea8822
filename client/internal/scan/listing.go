package scan

import (
	"context"
	"servidor-backup/client/internal/osfs"
	"servidor-backup/client/internal/tree"
	"slices"
	"sync"
)

const (
	// listingItems is how many names one listing looks at: a large folder has many
	// listings, so that it neither waits for its end nor is kept whole.
	listingItems = 256
	// itemsAhead is how many items may wait to be visited; about 2 MiB. What is
	// being visited does not count.
	itemsAhead = 4096
)

// listing is the listing of a folder and the look at its first names, or the look
// at the next names of a folder that was listed.
type listing struct {
	dir    *osfs.Dir
	path   string   // of dir's entry
	only   string   // the path of the one name, for a root
	begin  int      // where in a path the part begins that is below the root
	names  []string // sorted, once they are listed
	listed bool

	begun      bool          // by somebody; belongs to listings.mu
	done       chan struct{} // closed once what follows is set
	prev, next *listing      // in the list of listings that are not done

	items []Item
	below []*listing // of the items that are folders, in their order
	rest  *listing   // of the names that are left; nil if there are none
	count walkCount
	err   error // of the listing
}

// listings are the listings of a walk that are not done. They form a list in the order
// in which the walk needs what they find: a listing that is done gives its place to
// those of the folders that it found. Helpers always take the first that nobody
// has begun, and what the walk needs before them it does itself, so it waits for
// nothing but a listing that is under way.
type listings struct {
	ctx     context.Context
	exclude *Matcher
	names   *osfs.OwnerNames
	dents   sync.Pool // of *[]byte, for lists

	mu      sync.Mutex
	more    sync.Cond // there is more to do for helpers, or nothing ever more
	ends    listing   // its next is the first of the list, its prev the last
	waiting int       // items found and not asked for
	ended   bool
}

func newListings(ctx context.Context, exclude *Matcher) *listings {
	s := &listings{ctx: ctx, exclude: exclude, names: osfs.NewOwnerNames()}
	s.dents.New = func() any { b := make([]byte, 32<<10); return &b }
	s.more.L = &s.mu
	s.ends.prev, s.ends.next = &s.ends, &s.ends
	return s
}

// startHelpers starts n helpers. The result ends them.
func (q *listings) startHelpers(n int) (end func()) {
	var helpers sync.WaitGroup
	for range n {
		helpers.Go(func() {
			for s := q.claim(); s != nil; s = q.claim() {
				q.run(s, 1)
			}
		})
	}
	return func() {
		q.mu.Lock()
		q.ended = true
		q.more.Broadcast()
		q.mu.Unlock()
		helpers.Wait()
	}
}

// claim waits for the next listing to do; nil when there are no more.
func (q *listings) claim() *listing {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		if q.ended || q.ctx.Err() != nil {
			return nil
		}
		if q.waiting < itemsAhead {
			for s := q.ends.next; s != &q.ends; s = s.next {
				if !s.begun {
					s.begun = true
					return s
				}
			}
		}
		q.more.Wait()
	}
}

// add puts a listing at the end of the list.
func (q *listings) add(s *listing) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.insert(q.ends.prev, s)
	q.more.Signal()
}

func (q *listings) insert(after, s *listing) {
	s.done = make(chan struct{})
	s.prev, s.next = after, after.next
	s.prev.next, s.next.prev = s, s
}

// await returns once s is done.
func (q *listings) await(s *listing) {
	q.mu.Lock()
	mine := !s.begun
	s.begun = true
	q.mu.Unlock()
	if mine {
		q.run(s, 0)
	}
	<-s.done
	q.mu.Lock()
	defer q.mu.Unlock()
	full := q.waiting >= itemsAhead/2
	q.waiting -= len(s.items)
	if full && q.waiting < itemsAhead/2 {
		q.more.Broadcast()
	}
}

// run does a listing and puts what is to be done next in its place. Others are told
// if that is more than the caller is going to take itself.
func (q *listings) run(s *listing, takes int) {
	q.look(s)
	q.mu.Lock()
	defer q.mu.Unlock()
	at := s.prev
	s.prev.next, s.next.prev = s.next, s.prev
	s.prev, s.next = nil, nil
	for _, next := range s.below {
		q.insert(at, next)
		at = next
	}
	if s.rest != nil {
		q.insert(at, s.rest)
	}
	q.waiting += len(s.items)
	if len(s.below) > takes || s.rest != nil && len(s.below) == takes {
		q.more.Broadcast()
	}
	close(s.done)
}

// look lists the folder, if that was not done, and looks at some names.
func (q *listings) look(s *listing) {
	err := s.dir.Acquire()
	if err == nil {
		defer s.dir.Release()
	}
	if !s.listed {
		if err == nil {
			buf := q.dents.Get().(*[]byte)
			s.names, err = s.dir.List(*buf)
			q.dents.Put(buf)
			slices.Sort(s.names)
		}
		s.err, err = err, nil
	}
	names := s.names[:min(len(s.names), listingItems)]
	if rest := s.names[len(names):]; len(rest) > 0 {
		s.rest = &listing{dir: s.dir, path: s.path, begin: s.begin, names: rest, listed: true}
	}
	s.names = nil
	s.items = make([]Item, 0, len(names))
	entries := make([]tree.Entry, len(names))
	for i, name := range names {
		it := Item{Path: s.only, Entry: &entries[i], Err: err, dir: s.dir, name: name}
		if s.only == "" {
			it.Path = tree.JoinPath(s.path, name)
		}
		q.lookAt(s, it)
	}
}

// lookAt looks at one name, of which only the path is known.
func (q *listings) lookAt(s *listing, it Item) {
	e := it.Entry
	if it.Err == nil {
		var m osfs.Meta
		m, it.is, it.Err = s.dir.Look(it.name)
		e.Type, it.Nlink = tree.TypeOfMode(m.Mode), m.Nlink
		setMeta(e, &m)
	}
	if it.Err != nil {
		s.items = append(s.items, Item{Path: it.Path, Err: it.Err})
		return
	}
	switch {
	case s.only == "" && (q.exclude.match(it.Path[s.begin:], e.Type == tree.TypeDir) || q.exclude.isLeftOut(&it)):
		s.count.Excluded++
		return
	case e.Type == 0 || e.Type == tree.TypeSocket:
		s.count.Special++
		return
	}
	e.Path = it.Path
	e.User, e.Group = q.names.User.Get(e.UID), q.names.Group.Get(e.GID)
	s.items = append(s.items, it)
	if e.Type == tree.TypeDir {
		below := &listing{dir: s.dir, path: it.Path, begin: s.begin}
		if it.name != "." {
			below.dir = s.dir.Subfolder(it.name, it.is)
		}
		s.below = append(s.below, below)
	}
}
