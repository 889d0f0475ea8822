package node

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
	"servidor-backup/schemas/erasure"
)

// healing is what a survey gives to those who lack it.
type healing struct {
	mu      sync.Mutex
	failed  map[schemas.NodeID]error // who cannot be given anything now; they are left alone
	trouble string                   // the last other failure
	healed  int64
}

// healSession is how the sessions begin in which nodes give each other what they lack.
const healSession = "heal "

// makeAtOnce is how many chunks are fetched at the same time to be given away in parts:
// some MB.
const makeAtOnce = 8

// give does what this node has to do about the chunks of b.
func (s *survey) give(ctx context.Context, b *batch) error {
	out := &outbox{s: s, b: b, parcels: map[schemas.NodeID]*parcel{}}
	var fetch []int // places of chunks that come from others
	for i := range b.sights {
		sight := &b.sights[i]
		out.jobs = append(out.jobs, s.able(b, i))
		making := slices.ContainsFunc(out.jobs[i], func(j job) bool { return !j.holds })
		if making && !sight.holds(b.n.id, schemas.Whole) {
			fetch = append(fetch, i)
		} else if err := out.chunk(ctx, i, nil); err != nil {
			return err
		}
	}
	holders := replica.NewReader(b.n.nc, s.v.m)
	for ; len(fetch) > 0; fetch = fetch[min(len(fetch), makeAtOnce):] {
		some := fetch[:min(len(fetch), makeAtOnce)]
		ids := make([]schemas.ChunkID, len(some))
		for i, place := range some {
			ids[i] = b.ids[place]
		}
		var one sync.Mutex
		err := holders.Fetch(ctx, b.vault, ids, false, func(place int, c *schemas.Chunk) error {
			if c.Part != schemas.Whole {
				return schemas.Errorf(schemas.Internal, "a part of chunk %s came in place of the whole", c.ID.Short())
			}
			one.Lock()
			defer one.Unlock()
			return out.chunk(ctx, some[place], c)
		})
		if err := ctx.Err(); err != nil {
			return err
		}
		if err != nil {
			s.note(err)
		}
	}
	return out.close(ctx)
}

// able are the jobs about the ith chunk of b whose targets can be given something.
func (s *survey) able(b *batch, i int) []job {
	p := b.sights[i].plan(b.n.id)
	b.toDo(i, &p)
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(p.jobs, func(j job) bool {
		if card := s.v.m.Find(j.to); s.failed[j.to] == nil && card != nil && card.Trouble != "" {
			s.failed[j.to] = schemas.Errorf(schemas.Code(card.Trouble), "%s", card.Trouble)
		}
		return s.failed[j.to] != nil
	})
}

func (s *survey) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble = err.Error()
	s.k.n.opt.Log.Warn("a part could not be healed", "error", err)
}

// gave notes how it went to give parts to a node.
func (s *survey) gave(to schemas.NodeID, parts, bytes int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		if s.failed[to] == nil {
			s.k.n.opt.Log.Warn("a node could not be given what it lacks", "node", to, "error", err)
		}
		s.failed[to] = err
		return
	}
	s.healed += parts
	s.k.note(func(now *schemas.Survey) {
		now.Healed += parts
		now.Bytes += bytes
		now.ToHeal -= parts
		now.Left = int64(float64(time.Since(s.began)) / float64(s.healed) * float64(max(0, now.ToHeal)))
	})
}

// outbox gathers parts to messages, one for each node at a time.
type outbox struct {
	s       *survey
	b       *batch
	jobs    [][]job // about each chunk of the batch
	buf     []byte  // of the shards of one chunk
	parcels map[schemas.NodeID]*parcel
	flying  sync.WaitGroup
}

type parcel struct {
	*schemas.BatchBuilder
	bytes int64
}

// chunk gives away what is to be given of the ith chunk. whole, if it is not nil, is all
// of it; else what is needed is here. Only the end of ctx is an error.
func (o *outbox) chunk(ctx context.Context, i int, whole *schemas.Chunk) error {
	var shards []schemas.Chunk
	for _, j := range o.jobs[i] {
		c, err := o.part(i, j, &whole, &shards)
		if err == nil && j.part.SealID() != 0 && c.Part != j.part {
			// What was to be had is the chunk as it was sealed another time. So all
			// its shards go home, in place of the others.
			return o.all(ctx, i, shards)
		}
		if err == nil {
			err = o.to(ctx, j.to, &c)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			o.s.note(fmt.Errorf("%v of chunk %s: %w", j.part, o.b.ids[i].Short(), err))
		}
	}
	return nil
}

// all gives each node of the ith chunk's home set, as far as it was heard, a shard.
func (o *outbox) all(ctx context.Context, i int, shards []schemas.Chunk) error {
	s := &o.b.sights[i]
	for rank, node := range s.home {
		if !s.heard(node) {
			continue
		}
		if err := o.to(ctx, node, &shards[rank]); err != nil {
			return err
		}
	}
	return nil
}

// part gets or makes one part of the ith chunk.
func (o *outbox) part(i int, j job, whole **schemas.Chunk, shards *[]schemas.Chunk) (c schemas.Chunk, err error) {
	store := o.b.n.store
	if j.holds {
		return store.GetPart(o.b.vault, o.b.ids[i], j.part)
	}
	if *whole == nil {
		if c, err = store.Get(o.b.vault, o.b.ids[i]); err != nil {
			return c, err
		}
		*whole = &c
	}
	if j.part == schemas.Whole {
		return **whole, nil
	}
	if *shards == nil {
		if *shards, o.buf, err = erasure.Split(o.b.sights[i].durability, *whole, o.buf); err != nil {
			return c, err
		}
	}
	return (*shards)[j.part.Shard()], nil
}

// to gives c to a node, or keeps it here.
func (o *outbox) to(ctx context.Context, node schemas.NodeID, c *schemas.Chunk) error {
	if node == o.b.n.id {
		err := o.s.k.pay(ctx, len(c.Content))
		if err == nil {
			err = o.b.n.store.Put(ctx, o.b.vault, []schemas.Chunk{*c})
		}
		o.s.gave(node, 1, int64(len(c.Content)), err)
		return nil
	}
	p := o.parcels[node]
	if p != nil && !p.HasRoom(c.Size()) {
		if err := o.send(ctx, node); err != nil {
			return err
		}
		p = nil
	}
	if p == nil {
		p = &parcel{BatchBuilder: schemas.NewPut(nil, healSession+string(o.b.n.id), o.b.vault)}
		o.parcels[node] = p
	}
	p.Add(c)
	p.bytes += int64(len(c.Content))
	return nil
}

// send sends what has been gathered for a node.
func (o *outbox) send(ctx context.Context, node schemas.NodeID) error {
	p := o.parcels[node]
	delete(o.parcels, node)
	o.flying.Add(1)
	err := o.s.k.sender.Send(ctx, []schemas.NodeID{node}, p.Put(), func(err error) {
		o.s.gave(node, int64(p.Len()), p.bytes, err)
		o.flying.Done()
	})
	if err != nil {
		o.flying.Done()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		o.s.gave(node, 0, 0, err)
	}
	return nil
}

// close sends the rest, and waits until all has arrived or failed.
func (o *outbox) close(ctx context.Context) error {
	for node := range o.parcels {
		if err := o.send(ctx, node); err != nil {
			return err
		}
	}
	o.flying.Wait()
	return ctx.Err()
}
