package node

import (
	"context"
	"slices"
	"time"

	"servidor-backup/bus"
	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
	"servidor-backup/storage"
)

// survey is one look at all that a node holds, under one map.
type survey struct {
	k *keeper
	v *view

	levels  map[schemas.Level]int64 // chunks that this node counts
	strays  int64
	work    map[int]int64 // parts that this node is to make or move, by what their chunks have to spare
	done    int           // passes
	passes  int           // that are to come after the first
	dropped int64
	began   time.Time // healing

	// relook: nothing has happened since a look that found something not to be as it
	// should be. So those who are to see to it may not know, and are asked once.
	relook bool
	asleep map[schemas.NodeID]bool

	healing // see heal.go
}

// changed reports whether things are not as they were counted. Of a survey that was ended
// early, something may still be on its way.
func (s *survey) changed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.healed > 0 || s.dropped > 0
}

// pass goes through the index and calls look with batches of chunks, which know what
// the node itself holds.
func (s *survey) pass(ctx context.Context, look func(context.Context, *batch) error) error {
	n := s.k.n
	b := s.batch(ctx)
	all := max(1, float64(n.store.Stats().Chunks))
	looked := 0.0
	flush := func() error {
		if len(b.ids) == 0 {
			return nil
		}
		if n.view.Load() != s.v {
			return errMoved
		}
		err := look(ctx, b)
		looked += float64(len(b.ids))
		s.k.note(func(now *schemas.Survey) {
			now.Done = (float64(s.done) + min(1, looked/all)) / float64(1+max(s.done, s.passes))
		})
		return err
	}
	var failed error
	err := n.store.Each(ctx, storage.Cursor{}, func(h storage.Held) bool {
		if last := len(b.ids) - 1; last < 0 || b.vault != h.Vault || b.ids[last] != h.ID {
			if last+1 == replica.MaxIDs || last >= 0 && b.vault != h.Vault {
				if failed = flush(); failed != nil {
					return false
				}
				last = -1
			}
			if last < 0 {
				b.reset(h.Vault)
			}
			b.add(h.ID, s.splits(&h))
		}
		b.hold(h.Part, h.Corrupt)
		return true
	})
	if err == nil {
		err = failed
	}
	if err == nil {
		err = flush()
	}
	s.done++
	return err
}

// batch is an empty one for looking.
func (s *survey) batch(ctx context.Context) *batch {
	b := newBatch(s.k.n, s.v)
	if s.relook {
		b.asleep = func(n schemas.NodeID) bool { return s.sleeps(ctx, n) }
	}
	return b
}

// sleeps reports whether a node has looked at what it holds, and found nothing to do.
func (s *survey) sleeps(ctx context.Context, n schemas.NodeID) bool {
	asleep, known := s.asleep[n]
	if !known {
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		var rep schemas.NodeStatusReply
		err := bus.Request(ctx, s.k.n.nc, schemas.StatusSubject(n), &schemas.StatusRequest{}, &rep)
		look := rep.Status.Survey
		asleep = err == nil && look.Epoch == s.v.epoch() && !look.Running && look.ToHeal == 0
		s.asleep[n] = asleep
	}
	return asleep
}

// splits reports whether the chunk is to be split. Of shards it is known that their
// chunk is long enough.
func (s *survey) splits(h *storage.Held) bool {
	d := s.v.m.DurabilityOf(h.Vault)
	if h.Part != schemas.Whole {
		return d.K > 1
	}
	return d.Splits(h.Kind, h.Content)
}

// count looks at chunks, counts them, and gives up what is at home elsewhere.
func (s *survey) count(ctx context.Context, b *batch) error {
	if err := b.look(ctx); err != nil {
		return err
	}
	me := s.k.n.id
	gone := newBatch(s.k.n, s.v)
	gone.reset(b.vault)
	for i := range b.sights {
		sight := &b.sights[i]
		p := sight.plan(me)
		if p.counts {
			s.levels[schemas.Level{Durability: sight.durability, Margin: p.spare}]++
		}
		if work := b.toDo(i, &p); work > 0 {
			s.work[p.spare] += int64(work)
		}
		switch {
		case p.complete && len(p.drop)+len(b.damaged[i]) > 0:
			gone.add(b.ids[i], sight.split)
			gone.damaged[len(gone.damaged)-1] = b.damaged[i]
			s.strays += int64(len(p.drop))
		case !p.complete && !slices.Contains(sight.home, me):
			s.strays += int64(len(sight.of(me)))
		}
	}
	if len(gone.ids) == 0 {
		return nil
	}
	dropped, err := gone.drop(ctx)
	s.dropped += int64(dropped)
	s.strays -= int64(dropped)
	s.k.note(func(now *schemas.Survey) { now.Dropped += int64(dropped) })
	return err
}

// toDo is how many parts of the ith chunk this node is to make or move by its plan p.
// What is damaged here it makes itself: the others do not look every moment.
func (b *batch) toDo(i int, p *plan) int {
	mine := func(j job) bool { return j.to == b.n.id }
	if p.lacks && len(b.damaged[i]) > 0 && p.spare >= 0 && !slices.ContainsFunc(p.jobs, mine) {
		p.jobs = append(p.jobs, job{part: p.lack, to: b.n.id})
	}
	return len(p.jobs)
}

// later is a chunk about which there is something to do, unless that has been done by
// the time it is looked at again: it may be on its way from a client.
type later struct {
	id    schemas.ChunkID
	split bool
	hurt  []schemas.Part // damaged here
}

// heal goes through the index for the chunks that would not survive more than so many
// losses.
func (s *survey) heal(ctx context.Context, spare int) error {
	var wait []later
	var vault schemas.VaultID
	var seen time.Time // the last of them
	again := func() error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Until(seen.Add(s.k.n.opt.Settle))):
		}
		defer func() { wait = wait[:0] }()
		return s.again(ctx, vault, wait)
	}
	err := s.pass(ctx, func(ctx context.Context, b *batch) error {
		if len(wait) > 0 && (b.vault != vault || len(wait)+len(b.ids) > maxLater) {
			if err := again(); err != nil {
				return err
			}
		}
		vault = b.vault
		if err := b.look(ctx); err != nil {
			return err
		}
		for i := range b.sights {
			p := b.sights[i].plan(s.k.n.id)
			if p.spare <= spare && b.toDo(i, &p) > 0 {
				wait = append(wait, later{b.ids[i], b.sights[i].split, b.damaged[i]})
				seen = time.Now()
			}
		}
		return nil
	})
	if err == nil && len(wait) > 0 {
		err = again()
	}
	return err
}

// maxLater is how many chunks at most wait to be looked at again: some MB.
const maxLater = 16 * replica.MaxIDs

// again looks at chunks of one vault once more and does what is still to be done.
func (s *survey) again(ctx context.Context, vault schemas.VaultID, wait []later) error {
	b := s.batch(ctx)
	for len(wait) > 0 {
		if s.k.n.view.Load() != s.v {
			return errMoved
		}
		some := wait[:min(len(wait), replica.MaxIDs)]
		wait = wait[len(some):]
		b.reset(vault)
		for _, l := range some {
			b.add(l.id, l.split)
			b.damaged[len(b.damaged)-1] = l.hurt
		}
		if err := b.lookHere(b.n.store.Look); err != nil {
			return err
		}
		if err := b.look(ctx); err != nil {
			return err
		}
		if err := s.give(ctx, b); err != nil {
			return err
		}
	}
	return nil
}
