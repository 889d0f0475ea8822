package heal

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"servidor-backup/bus"
	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
	"servidor-backup/storage"
)

// maxPending is the most chunks that wait to be observed again: some MB.
const maxPending = 16 * replica.MaxIDs

// errMapChanged ends a survey whose map is not the newest any more.
var errMapChanged = errors.New("the map has changed")

// survey is one survey of all that a node holds, under one view.
type survey struct {
	h    *Healer
	view *View

	levels  map[schemas.Level]int64 // chunks that this node counts
	surplus int64                   // parts
	jobs    map[int]int64           // this node's, by the margins of their chunks
	stored  int64                   // parts that were put before the survey began
	dropped int64                   // parts
	done    int                     // passes that are done
	passes  int                     // passes after the first

	// repeated: nothing has happened since a survey that left something unsettled. So the
	// nodes that ought to act may not know of it, and are asked once each whether they are
	// idle.
	repeated bool
	idle     map[schemas.NodeID]bool // the answers

	progress
}

// survey surveys all that the node holds, and heals what it can. changed says that what was
// counted has changed meanwhile. It goes through the index once to count chunks and to drop
// parts; then once for each margin, the lowest first, that a chunk with a job for this node
// has. It remembers only sums, so it takes little memory, and a crash costs only the survey.
func (h *Healer) survey(ctx context.Context, repeated bool) (changed bool, err error) {
	h.FetchMap(ctx, h.View().Epoch()+1) // changes may have been missed
	v := h.View()
	if v == nil {
		return false, nil
	}
	s := &survey{h: h, view: v, repeated: repeated, stored: h.stored.Load(),
		levels: map[schemas.Level]int64{}, jobs: map[int]int64{}, idle: map[schemas.NodeID]bool{},
		progress: progress{failed: map[schemas.NodeID]error{}}}
	h.report(func(r *schemas.Survey) { r.Running, r.Done = true, 0 })
	defer h.report(func(r *schemas.Survey) { r.Running = false })
	if err := s.pass(ctx, s.count); err != nil {
		return s.changed(), err
	}
	h.report(s.reportCount)
	s.began = time.Now()
	margins := slices.Sorted(maps.Keys(s.jobs))
	s.passes = len(margins)
	for _, margin := range margins {
		if err := s.heal(ctx, margin); err != nil {
			return s.changed(), err
		}
	}
	h.report(s.reportEnd)
	return s.changed(), nil
}

// changed reports whether what was counted has changed. If the survey was ended early, parts
// may still be on their way.
func (s *survey) changed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.healed > 0 || s.dropped > 0
}

// reportCount reports the result of the first pass.
func (s *survey) reportCount(r *schemas.Survey) {
	s.h.surveyed = s.stored // report holds the lock
	r.Epoch, r.Ended = s.view.Epoch(), time.Now().UnixNano()
	r.Misplaced, r.ToHeal, r.TimeLeft = s.surplus, 0, 0
	for _, n := range s.jobs {
		r.ToHeal += n
	}
	r.Levels = r.Levels[:0:0]
	for level, n := range s.levels {
		level.Chunks = n
		r.Levels = append(r.Levels, level)
	}
	slices.SortFunc(r.Levels, func(a, b schemas.Level) int {
		return cmp.Or(cmp.Compare(a.Durability.K, b.Durability.K), cmp.Compare(a.Durability.M, b.Durability.M), cmp.Compare(a.Margin, b.Margin))
	})
}

// reportEnd reports the end of the last pass.
func (s *survey) reportEnd(r *schemas.Survey) {
	r.Done, r.TimeLeft, r.Waiting = 1, 0, s.waiting()
	if s.healed > 0 && r.ToHeal <= 0 {
		s.h.opt.Event(schemas.EventHealed, "storage node %s has nothing more to heal", s.h.opt.Name)
	}
}

// pass goes through the index, and calls visit with batches of chunks of which this node's
// own parts are known.
func (s *survey) pass(ctx context.Context, visit func(context.Context, *batch) error) error {
	b := s.newBatch()
	all := max(1, float64(s.h.store.Stats().Chunks))
	visited := 0.0
	flush := func() error {
		if len(b.chunks) == 0 {
			return nil
		}
		if s.h.View() != s.view {
			return errMapChanged
		}
		err := visit(ctx, b)
		visited += float64(len(b.chunks))
		s.h.report(func(r *schemas.Survey) {
			r.Done = (float64(s.done) + min(1, visited/all)) / float64(1+max(s.done, s.passes))
		})
		return err
	}
	var failed error
	var last *chunk
	err := s.h.store.Each(ctx, storage.Cursor{}, func(held storage.Held) bool {
		if last == nil || b.vault != held.Vault || last.id != held.ID {
			if len(b.chunks) == replica.MaxIDs || last != nil && b.vault != held.Vault {
				if failed = flush(); failed != nil {
					return false
				}
				last = nil
			}
			if last == nil {
				b.reset(held.Vault)
			}
			last = b.append(held.ID, s.isSplit(&held))
		}
		if held.Corrupt {
			last.damaged = append(last.damaged, held.Part)
		} else {
			last.held = append(last.held, placedPart{s.h.id, held.Part})
		}
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

// newBatch returns an empty batch for observing.
func (s *survey) newBatch() *batch {
	b := newBatch(s.h, s.view)
	if s.repeated {
		b.isIdle = s.isIdle
	}
	return b
}

// isIdle reports whether a node has finished a survey under this view and found nothing to
// do.
func (s *survey) isIdle(ctx context.Context, n schemas.NodeID) bool {
	idle, known := s.idle[n]
	if !known {
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		var rep schemas.NodeStatusReply
		err := bus.Request(ctx, s.h.nc, schemas.StatusSubject(n), &schemas.StatusRequest{}, &rep)
		r := rep.Status.Survey
		idle = err == nil && r.Epoch == s.view.Epoch() && !r.Running && r.ToHeal == 0
		s.idle[n] = idle
	}
	return idle
}

// isSplit reports whether the chunk of an index entry is to be shards. A chunk that is
// shards now is surely long enough to be split.
func (s *survey) isSplit(h *storage.Held) bool {
	d := s.view.nodes.DurabilityOf(h.Vault)
	if h.Part != schemas.Whole {
		return d.K > 1
	}
	return d.Splits(h.Kind, h.Content)
}

// count observes chunks, counts them, and drops the parts that this node need not hold.
func (s *survey) count(ctx context.Context, b *batch) error {
	if err := b.observe(ctx); err != nil {
		return err
	}
	me := s.h.id
	drops := newBatch(s.h, s.view)
	drops.reset(b.vault)
	for i := range b.chunks {
		c := &b.chunks[i]
		if c.plan.counter == me {
			s.levels[schemas.Level{Durability: c.durability, Margin: c.plan.margin}]++
		}
		if jobs := c.plan.jobsOf(me); jobs > 0 {
			s.jobs[c.plan.margin] += int64(jobs)
		}
		s.surplus += int64(c.plan.surplus)
		if len(c.plan.dropsOf(me)) > 0 {
			drops.append(c.id, c.split).damaged = c.damaged
		}
	}
	if len(drops.chunks) == 0 {
		return nil
	}
	dropped, err := drops.confirmDrops(ctx)
	s.dropped += int64(dropped)
	s.surplus -= int64(dropped)
	s.h.report(func(r *schemas.Survey) { r.Dropped += int64(dropped) })
	return err
}

// pending is a chunk with a job for this node, which will be observed once more before the
// job is done: the parts may be on their way from a client.
type pending struct {
	id      schemas.ChunkID
	split   bool
	damaged []schemas.Part
}

// heal goes through the index and heals the chunks whose margin is at most the given one.
func (s *survey) heal(ctx context.Context, margin int) error {
	var wait []pending
	var vault schemas.VaultID // of wait
	var seen time.Time        // when the last of wait was observed
	settle := func() error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Until(seen.Add(s.h.opt.Settle))):
		}
		defer func() { wait = wait[:0] }()
		return s.healPending(ctx, vault, wait)
	}
	err := s.pass(ctx, func(ctx context.Context, b *batch) error {
		if len(wait) > 0 && (b.vault != vault || len(wait)+len(b.chunks) > maxPending) {
			if err := settle(); err != nil {
				return err
			}
		}
		vault = b.vault
		if err := b.observe(ctx); err != nil {
			return err
		}
		for i := range b.chunks {
			c := &b.chunks[i]
			if c.plan.margin <= margin && c.plan.jobsOf(c.me) > 0 {
				wait = append(wait, pending{c.id, c.split, c.damaged})
				seen = time.Now()
			}
		}
		return nil
	})
	if err == nil && len(wait) > 0 {
		err = settle()
	}
	return err
}

// healPending observes chunks of one vault once more, and does the jobs that are left.
func (s *survey) healPending(ctx context.Context, vault schemas.VaultID, wait []pending) error {
	b := s.newBatch()
	for group := range slices.Chunk(wait, replica.MaxIDs) {
		if s.h.View() != s.view {
			return errMapChanged
		}
		b.reset(vault)
		for _, p := range group {
			b.append(p.id, p.split).damaged = p.damaged
		}
		if err := b.observeStore(s.h.store.Look); err != nil {
			return err
		}
		if err := b.observe(ctx); err != nil {
			return err
		}
		if err := s.doJobs(ctx, b); err != nil {
			return err
		}
	}
	return nil
}
