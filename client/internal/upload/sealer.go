package upload

import (
	"slices"
	"time"

	"servidor-backup/bus/replica"
	"servidor-backup/client/internal/chunk"
	"servidor-backup/client/internal/seal"
	"servidor-backup/schemas"
	"servidor-backup/schemas/erasure"
)

const (
	// linger is how long batches wait for another chunk before they are sent as they are: little
	// beside the time of a sync, and much beside that of sealing a small chunk.
	linger = 4 * time.Millisecond
	// maxBatches bounds the batches that one sealer has open at a time.
	maxBatches = 8
)

// messages are buffers for whole put messages.
var messages = chunk.BufferPool{Size: schemas.MaxBatch}

// sealer seals wanted chunks into batches. It dispatches a batch when it is full, and all of them
// when no chunk has come for a moment. There is a sealer for each processor; only its own
// goroutine uses it.
type sealer struct {
	u    *Uploader
	open map[string]*batch // by the nodes of its set; see openBatch

	// Buffers that are used again for each chunk.
	key    []byte           // of open
	set    []schemas.NodeID // the nodes that the chunk goes to
	frame  []byte           // the sealed content of a chunk that is split
	shards []byte
}

// batch is a put message for the nodes of a set, which is being filled or on its way.
type batch struct {
	set     []schemas.NodeID // sorted
	builder *schemas.BatchBuilder
	ids     []schemas.ChunkID // of the chunks and shards in it

	payload []byte // nil until it is dispatched
	// These belong to [states].
	unanswered int                     // requests that carry it and are not answered
	failure    *replica.PartialFailure // the nodes that did not accept it
}

// add puts a sealed chunk, or a shard, into the batch.
func (b *batch) add(c *schemas.Chunk) {
	b.builder.Add(c)
	b.ids = append(b.ids, c.ID)
}

func newSealer(u *Uploader) *sealer { return &sealer{u: u, open: map[string]*batch{}} }

// run seals until no more chunks come.
func (s *sealer) run() error {
	idle := time.NewTimer(linger)
	defer idle.Stop()
	for {
		select {
		case p, more := <-s.u.wanted:
			if !more {
				return s.dispatchAll()
			}
			err := s.seal(p)
			s.u.release(p)
			if err != nil {
				return err
			}
			idle.Reset(linger)
		case <-idle.C:
			if err := s.dispatchAll(); err != nil {
				return err
			}
		case <-s.u.ctx.Done():
			return s.u.ctx.Err()
		}
	}
}

// seal seals a chunk into the batch for its nodes, or its shards into a batch for each node.
func (s *sealer) seal(p *pendingChunk) error {
	level, end := s.u.beginSealing(len(p.plain.Bytes))
	packed, err := s.u.packer.Pack(p.chunk.ID, p.plain.Bytes, level)
	end()
	if err != nil {
		return err
	}
	defer packed.Release()
	c, size := &p.chunk, packed.FrameSize()
	mayBeSplit, split := s.u.states.mayBeSplit(c.ID), false
	var d schemas.Durability
	d, s.set, err = s.u.destinations.choose(s.u.ctx, s.set[:0], c.ID, func(d schemas.Durability) int {
		if split = mayBeSplit && d.Splits(c.Kind, size); split {
			return d.Nodes()
		}
		return d.Replicas()
	})
	if err != nil {
		return err
	}
	write := func(c *schemas.Chunk) error {
		return s.u.opt.Keys.SealPacked(c, packed, func(plain []byte) bool { return s.u.isSame(p, plain) }, s.u.opt.Unchecked)
	}
	if split {
		err = s.addShards(c, size, d, s.set, write)
	} else {
		err = s.addReplicas(c, size, s.set, write)
	}
	if err != nil {
		return err
	}
	s.u.chunks.Add(1)
	s.u.stored.Add(int64(c.Size()))
	c.Content = nil
	return nil
}

// addReplicas has write put the sealed content of a chunk, which has size bytes, straight into
// the batch for all nodes of the set.
func (s *sealer) addReplicas(c *schemas.Chunk, size int, set []schemas.NodeID, write func(*schemas.Chunk) error) error {
	s.u.states.markSentAsReplicas(c.ID)
	b, err := s.openBatch(set, c.Size()+size)
	if err != nil {
		return err
	}
	_, end := s.u.beginSealing(0) // a new count, because a wait in openBatch is not work
	defer end()
	b.ids = append(b.ids, c.ID)
	return b.builder.AddSealed(c, size, write)
}

// addShards splits the sealed content of a chunk, which has size bytes, and puts shard i into the
// batch for node i of the set.
func (s *sealer) addShards(c *schemas.Chunk, size int, d schemas.Durability, set []schemas.NodeID, write func(*schemas.Chunk) error) error {
	_, end := s.u.beginSealing(0)
	s.frame = slices.Grow(s.frame[:0], size)[:size]
	c.Content = s.frame
	err := write(c)
	var shards []schemas.Chunk
	if err == nil {
		c.Sum = c.Checksum()
		shards, s.shards, err = erasure.Split(d, c, s.shards)
	}
	end()
	if err != nil {
		return err
	}
	// states changes its slice when a shard is rerouted, which may be before the loop ends.
	s.u.states.markSentAsShards(c.ID, slices.Clone(set))
	for i := range shards {
		b, err := s.openBatch(set[i:i+1], shards[i].Size())
		if err != nil {
			return err
		}
		b.add(&shards[i])
	}
	return nil
}

// beginSealing returns the level for a chunk of size plain bytes, whose sealing begins. end is to
// be called when it ends.
func (u *Uploader) beginSealing(size int) (level seal.Compression, end func()) {
	if u.levels == nil {
		return u.opt.Compression, func() {}
	}
	return u.levels.beginSealing(size)
}

// isSame reports whether plain, which was sealed and opened again, is what was put. The id of a
// tree chunk covers its edges too, which are not sealed, so it is computed again.
func (u *Uploader) isSame(p *pendingChunk, plain []byte) bool {
	return p.plain.Matches(plain) && (p.chunk.Kind != schemas.Tree || u.opt.Keys.ID(&p.chunk, plain) == p.chunk.ID)
}

// openBatch returns an open batch for the nodes of the set, with space for size more bytes. It
// sorts set. It may dispatch other batches before.
func (s *sealer) openBatch(set []schemas.NodeID, size int) (*batch, error) {
	slices.Sort(set)
	s.key = s.key[:0]
	for _, node := range set {
		s.key = append(append(s.key, node...), ' ')
	}
	key := s.key
	if b := s.open[string(key)]; b != nil {
		if b.builder.HasSpace(size) {
			return b, nil
		}
		if err := s.dispatch(string(key)); err != nil {
			return nil, err
		}
	}
	if len(s.open) == maxBatches {
		if err := s.dispatch(s.fullest()); err != nil {
			return nil, err
		}
	}
	b := &batch{set: slices.Clone(set), builder: schemas.NewPut(messages.Get(), s.u.opt.Session, s.u.opt.Vault)}
	s.open[string(key)] = b
	return b, nil
}

// fullest returns the key of the open batch with the most bytes.
func (s *sealer) fullest() (key string) {
	most := -1
	for k, b := range s.open {
		if size := b.builder.Size(); size > most {
			key, most = k, size
		}
	}
	return key
}

// dispatchAll dispatches all open batches.
func (s *sealer) dispatchAll() error {
	for key := range s.open {
		if err := s.dispatch(key); err != nil {
			return err
		}
	}
	return nil
}

// dispatch sends an open batch to its set. A set with more nodes than a subject can name takes
// several requests.
func (s *sealer) dispatch(key string) error {
	u, b := s.u, s.open[key]
	delete(s.open, key)
	b.payload = b.builder.Put()
	defer u.levels.beginSending()()
	if err := u.states.dispatch(u.ctx, b, (len(b.set)+schemas.MaxSet-1)/schemas.MaxSet); err != nil {
		return err
	}
	for nodes := range slices.Chunk(b.set, schemas.MaxSet) {
		u.sent.Add(int64(len(b.payload)))
		if err := u.opt.Writer.Send(u.ctx, nodes, b.payload, func(err error) { u.answered(b, err) }); err != nil {
			return err
		}
	}
	return nil
}
