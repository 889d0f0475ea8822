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
	// linger is how long a batch waits to be filled before it is sent as it
	// is: little beside a sync, and much beside the sealing of small chunks.
	linger = 4 * time.Millisecond
	// maxBatches bounds the batches that one sealer fills at a time.
	maxBatches = 8
)

// messages are buffers for whole bulk messages.
var messages = chunk.BufferPool{Size: schemas.MaxBatch}

// sealer seals what is wanted into batches, and sends them when they are full or
// nothing has come for a while. There is one for every processor.
type sealer struct {
	u      *Uploader
	open   map[string]*batch // by the nodes that it goes to
	key    []byte
	set    []schemas.NodeID // of the chunk at hand
	frame  []byte           // of a chunk that is split
	shards []byte
}

// batch is a message for the nodes of a set, being filled or on its way.
type batch struct {
	set     []schemas.NodeID
	builder *schemas.BatchBuilder
	ids     []schemas.ChunkID

	payload []byte
	// These belong to [states].
	unanswered int                     // requests that carry it and are not answered
	failure    *replica.PartialFailure // the nodes of all requests that did not take it
}

// add puts a sealed chunk, or a shard, into the batch.
func (b *batch) add(c *schemas.Chunk) {
	b.builder.Add(c)
	b.ids = append(b.ids, c.ID)
}

func newSealer(u *Uploader) *sealer { return &sealer{u: u, open: map[string]*batch{}} }

func (s *sealer) run() error {
	idle := time.NewTimer(linger)
	defer idle.Stop()
	for {
		select {
		case o, more := <-s.u.wanted:
			if !more {
				return s.dispatchAll()
			}
			err := s.add(o)
			s.u.release(o)
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

// add seals a chunk into the batch for its nodes, or its shards into one for each.
func (s *sealer) add(o *pendingChunk) error {
	level, end := s.u.beginSealing(len(o.plain.Bytes))
	packed, err := s.u.economy.Pack(o.chunk.ID, o.plain.Bytes, level)
	end()
	if err != nil {
		return err
	}
	defer packed.Release()
	c, size := &o.chunk, packed.FrameSize()
	mayBeSplit, split := s.u.states.mayBeSplit(c.ID), false
	var d schemas.Durability
	d, s.set, err = s.u.destinations.of(s.u.ctx, s.set[:0], c.ID, func(d schemas.Durability) int {
		if split = mayBeSplit && d.Splits(c.Kind, size); split {
			return d.Nodes()
		}
		return d.Replicas()
	})
	if err != nil {
		return err
	}
	write := func(c *schemas.Chunk) error {
		return s.u.opt.Keys.SealPacked(c, packed, func(plain []byte) bool { return s.u.isRight(o, plain) }, s.u.opt.Unchecked)
	}
	if split {
		err = s.addShards(c, size, d, slices.Clone(s.set), write)
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

// addReplicas has the frame of a chunk written straight into the batch for all nodes of
// the set.
func (s *sealer) addReplicas(c *schemas.Chunk, size int, set []schemas.NodeID, write func(*schemas.Chunk) error) error {
	s.u.states.sendReplicas(c.ID)
	to, err := s.batch(set, c.Size()+size)
	if err != nil {
		return err
	}
	_, end := s.u.beginSealing(0) // the wait for budget in between is not work
	defer end()
	to.ids = append(to.ids, c.ID)
	return to.builder.AddSealed(c, size, write)
}

// addShards splits the frame of a chunk and puts shard i into the batch for node i of the
// set.
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
	s.u.states.sendShards(c.ID, set)
	for i := range shards {
		to, err := s.batch(set[i:i+1], shards[i].Size())
		if err != nil {
			return err
		}
		to.add(&shards[i])
	}
	return nil
}

// beginSealing is the level for a chunk of so many plain bytes that is about to be
// sealed; end is to be called when it is.
func (u *Uploader) beginSealing(size int) (level seal.Compression, end func()) {
	if u.pace == nil {
		return u.opt.Compression, func() {}
	}
	return u.pace.begin(size)
}

// isRight reports whether plain, which was sealed and opened again, is what was
// put. The id of a tree chunk covers its edges too, so it is computed anew.
func (u *Uploader) isRight(o *pendingChunk, plain []byte) bool {
	return o.plain.Equal(plain) && (o.chunk.Kind != schemas.Tree || u.opt.Keys.ID(&o.chunk, plain) == o.chunk.ID)
}

// batch is the open batch for the nodes of a set, which it sorts, with space for size
// more bytes.
func (s *sealer) batch(set []schemas.NodeID, size int) (*batch, error) {
	slices.Sort(set)
	s.key = s.key[:0]
	for _, node := range set {
		s.key = append(append(s.key, node...), ' ')
	}
	key := s.key
	if to := s.open[string(key)]; to != nil {
		if to.builder.HasRoom(size) {
			return to, nil
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
	to := &batch{set: slices.Clone(set), builder: schemas.NewPut(messages.Get(), s.u.opt.Session, s.u.opt.Vault)}
	s.open[string(key)] = to
	return to, nil
}

// fullest is the longest open batch.
func (s *sealer) fullest() (key string) {
	most := -1
	for k, b := range s.open {
		if size := b.builder.Size(); size > most {
			key, most = k, size
		}
	}
	return key
}

func (s *sealer) dispatchAll() error {
	for key := range s.open {
		if err := s.dispatch(key); err != nil {
			return err
		}
	}
	return nil
}

// dispatch sends a batch to its set, in several requests if that is larger than a subject
// can name.
func (s *sealer) dispatch(key string) error {
	u, b := s.u, s.open[key]
	delete(s.open, key)
	b.payload = b.builder.Put()
	defer u.pace.wait()()
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
