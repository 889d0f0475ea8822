package heal

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
	"servidor-backup/schemas/erasure"
)

// fetchAtOnce is how many chunks are fetched from other nodes at the same time, to make
// parts of them: some MB.
const fetchAtOnce = 8

// doJobs does this node's jobs about the chunks of b. A failure of a node or of a part is
// recorded as progress of the survey; an error is the end of ctx.
func (s *survey) doJobs(ctx context.Context, b *batch) error {
	out := &outbox{s: s, b: b, jobs: make([][]job, len(b.chunks)), messages: map[schemas.NodeID]*message{}}
	var fetch []int // indexes of chunks that must be fetched from other nodes
	for i := range b.chunks {
		c := &b.chunks[i]
		makes := false
		for _, j := range c.plan.jobs {
			if j.by == c.me && s.takes(j.to) {
				out.jobs[i] = append(out.jobs[i], j)
				makes = makes || j.makes
			}
		}
		if makes && !c.holds(c.me, schemas.Whole) {
			fetch = append(fetch, i)
		} else if err := out.addChunk(ctx, i, nil); err != nil {
			return err
		}
	}
	reader := replica.NewReader(s.h.nc, s.view.nodes)
	for group := range slices.Chunk(fetch, fetchAtOnce) {
		err := out.fetch(ctx, reader, group)
		if err := ctx.Err(); err != nil {
			return err
		}
		if err != nil {
			s.partFailed(err)
		}
	}
	return out.close(ctx)
}

// outbox gathers parts into messages, one for each node at a time.
type outbox struct {
	s        *survey
	b        *batch
	jobs     [][]job // to do, for each chunk of the batch
	buf      []byte  // of the shards of one chunk
	messages map[schemas.NodeID]*message
	sending  sync.WaitGroup
}

// message is a put message that is being filled.
type message struct {
	*schemas.BatchBuilder
	bytes int64 // of content
}

// fetch fetches whole chunks, given by their indexes, and adds the parts for all jobs about
// them.
func (o *outbox) fetch(ctx context.Context, reader *replica.Reader, indexes []int) error {
	ids := make([]schemas.ChunkID, len(indexes))
	for i, index := range indexes {
		ids[i] = o.b.chunks[index].id
	}
	var one sync.Mutex
	return reader.Fetch(ctx, o.b.vault, ids, false, func(i int, c *schemas.Chunk) error {
		if c.Part != schemas.Whole {
			return schemas.Errorf(schemas.Internal, "a part of chunk %s was fetched in place of the whole chunk", c.ID.Short())
		}
		one.Lock()
		defer one.Unlock()
		return o.addChunk(ctx, indexes[i], c)
	})
}

// addChunk adds the parts for all jobs about the ith chunk. whole is the whole chunk if it
// had to be fetched; otherwise nil, and this node holds what is needed. An error is the end
// of ctx.
func (o *outbox) addChunk(ctx context.Context, i int, whole *schemas.Chunk) error {
	var shards []schemas.Chunk
	for _, j := range o.jobs[i] {
		c, err := o.part(i, j, &whole, &shards)
		if err == nil && j.part.SealID() != 0 && c.Part != j.part {
			// The chunk could only be had as it was sealed another time. So all shards of
			// that sealing replace those of the planned one.
			return o.addAllShards(ctx, i, shards)
		}
		if err == nil {
			err = o.add(ctx, j.to, &c)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			o.s.partFailed(fmt.Errorf("%v of chunk %s: %w", j.part, o.b.chunks[i].id.Short(), err))
		}
	}
	return nil
}

// addAllShards adds a shard for each node that the ith chunk is assigned to and that has
// responded.
func (o *outbox) addAllShards(ctx context.Context, i int, shards []schemas.Chunk) error {
	c := &o.b.chunks[i]
	for rank, node := range c.assigned {
		if !c.responded(node) {
			continue
		}
		if err := o.add(ctx, node, &shards[rank]); err != nil {
			return err
		}
	}
	return nil
}

// part reads or makes the part of one job about the ith chunk. It fills whole and shards
// when it needs them.
func (o *outbox) part(i int, j job, whole **schemas.Chunk, shards *[]schemas.Chunk) (c schemas.Chunk, err error) {
	store, id := o.s.h.store, o.b.chunks[i].id
	if !j.makes {
		return store.GetPart(o.b.vault, id, j.part)
	}
	if *whole == nil {
		if c, err = store.Get(o.b.vault, id); err != nil {
			return c, err
		}
		*whole = &c
	}
	if j.part == schemas.Whole {
		return **whole, nil
	}
	if *shards == nil {
		if *shards, o.buf, err = erasure.Split(o.b.chunks[i].durability, *whole, o.buf); err != nil {
			return c, err
		}
	}
	return (*shards)[j.part.Shard()], nil
}

// add adds c to the message for a node, or puts it into this node's own store.
func (o *outbox) add(ctx context.Context, node schemas.NodeID, c *schemas.Chunk) error {
	h := o.s.h
	if node == h.id {
		err := h.pace(ctx, len(c.Content))
		if err == nil {
			err = h.store.Put(ctx, o.b.vault, []schemas.Chunk{*c})
		}
		o.s.delivered(node, 1, int64(len(c.Content)), err)
		return nil
	}
	m := o.messages[node]
	if m != nil && !m.HasSpace(c.Size()) {
		if err := o.send(ctx, node); err != nil {
			return err
		}
		m = nil
	}
	if m == nil {
		m = &message{BatchBuilder: schemas.NewPut(nil, senderPrefix+string(h.id), o.b.vault)}
		o.messages[node] = m
	}
	m.Add(c)
	m.bytes += int64(len(c.Content))
	return nil
}

// send sends the message for a node.
func (o *outbox) send(ctx context.Context, node schemas.NodeID) error {
	h, m := o.s.h, o.messages[node]
	delete(o.messages, node)
	o.sending.Add(1)
	err := h.writer.Send(ctx, []schemas.NodeID{node}, m.Put(), func(err error) {
		o.s.delivered(node, int64(m.Len()), m.bytes, err)
		o.sending.Done()
	})
	if err != nil {
		o.sending.Done()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		o.s.delivered(node, 0, 0, err)
	}
	return nil
}

// close sends the remaining messages, and waits until each one is acknowledged or has
// failed.
func (o *outbox) close(ctx context.Context) error {
	for node := range o.messages {
		if err := o.send(ctx, node); err != nil {
			return err
		}
	}
	o.sending.Wait()
	return ctx.Err()
}
