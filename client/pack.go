package client

import (
	"slices"
	"time"

	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
	"servidor-backup/schemas/erasure"
)

const (
	// linger is how long a message waits to be filled before it is sent as it
	// is: little beside a sync, and much beside the sealing of small chunks.
	linger = 4 * time.Millisecond
	// maxParcels bounds the messages that one sealer fills at a time.
	maxParcels = 8
)

// sealer seals what is wanted into messages, and sends them when they are full or
// nothing has come for a while. There is one for every processor.
type sealer struct {
	u      *uploader
	open   map[string]*parcel // by the nodes that it goes to
	key    []byte
	set    []schemas.NodeID // of the chunk at hand
	frame  []byte           // of a chunk that is split
	shards []byte
}

// parcel is a message, being filled or on its way, for the nodes of a set.
type parcel struct {
	set   []schemas.NodeID
	batch *schemas.BatchBuilder
	ids   []schemas.ChunkID

	payload []byte
	left    int // parts of the set that have not all answered
	failed  *replica.PartialFailure
}

// add puts a sealed chunk, or a shard, into the message.
func (p *parcel) add(c *schemas.Chunk) {
	p.batch.Add(c)
	p.ids = append(p.ids, c.ID)
}

func newSealer(u *uploader) *sealer { return &sealer{u: u, open: map[string]*parcel{}} }

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

// add seals a chunk into the message for its nodes, or its shards into one for each.
func (s *sealer) add(o *outgoing) error {
	space := workspaces.Get().(*workspace)
	defer workspaces.Put(space)
	now, end := s.u.seal.begin(len(o.plain.bytes))
	packed, err := s.u.economy.pack(&space.packed, o.chunk.ID, o.plain.bytes, now.Compression)
	end()
	if err != nil {
		return err
	}
	c, size := &o.chunk, packed.frameSize()
	split := false
	var d schemas.Durability
	d, s.set, err = s.u.targets.of(s.u.ctx, s.set[:0], c.ID, func(d schemas.Durability) int {
		if split = d.Splits(c.Kind, size) && !o.whole; split {
			return d.Nodes()
		}
		return d.Replicas()
	})
	if err != nil {
		return err
	}
	seal := func(c *schemas.Chunk) error {
		return s.u.k.sealPacked(space, c, &packed, func(plain []byte) bool { return s.u.isRight(o, plain) }, s.u.seal)
	}
	if split {
		err = s.split(c, size, d, slices.Clone(s.set), seal)
	} else {
		err = s.copies(c, size, s.set, seal)
	}
	if err != nil {
		return err
	}
	s.u.chunks.Add(1)
	s.u.stored.Add(int64(c.Size()))
	c.Content = nil
	return nil
}

// copies seals a chunk straight into the message for all nodes of the set.
func (s *sealer) copies(c *schemas.Chunk, size int, set []schemas.NodeID, seal func(*schemas.Chunk) error) error {
	s.u.leaves(c.ID, journey{left: 1})
	to, err := s.parcel(set, c.Size()+size)
	if err != nil {
		return err
	}
	_, end := s.u.seal.begin(0) // the wait for room in between is not work
	defer end()
	to.ids = append(to.ids, c.ID)
	return to.batch.AddSealed(c, size, seal)
}

// split seals a chunk and puts shard i into the message for node i of the set.
func (s *sealer) split(c *schemas.Chunk, size int, d schemas.Durability, set []schemas.NodeID, seal func(*schemas.Chunk) error) error {
	_, end := s.u.seal.begin(0)
	s.frame = slices.Grow(s.frame[:0], size)[:size]
	c.Content = s.frame
	err := seal(c)
	var shards []schemas.Chunk
	if err == nil {
		c.Sum = c.Checksum()
		shards, s.shards, err = erasure.Split(d, c, s.shards)
	}
	end()
	if err != nil {
		return err
	}
	s.u.leaves(c.ID, journey{left: len(shards), shards: set})
	for i := range shards {
		to, err := s.parcel(set[i:i+1], shards[i].Size())
		if err != nil {
			return err
		}
		to.add(&shards[i])
	}
	return nil
}

// isRight reports whether plain, which was sealed and opened again, is what was
// taken. The id of a tree chunk covers its edges too, so it is computed anew.
func (u *uploader) isRight(o *outgoing, plain []byte) bool {
	return checksum(plain) == o.plain.sum && (o.chunk.Kind != schemas.Tree || u.k.id(&o.chunk, plain) == o.chunk.ID)
}

// parcel is the message for the nodes of a set, which it sorts, with room
// for size more bytes.
func (s *sealer) parcel(set []schemas.NodeID, size int) (*parcel, error) {
	slices.Sort(set)
	s.key = s.key[:0]
	for _, node := range set {
		s.key = append(append(s.key, node...), ' ')
	}
	key := s.key
	if to := s.open[string(key)]; to != nil {
		if to.batch.HasRoom(size) {
			return to, nil
		}
		if err := s.dispatch(string(key)); err != nil {
			return nil, err
		}
	}
	if len(s.open) == maxParcels {
		if err := s.dispatch(s.fullest()); err != nil {
			return nil, err
		}
	}
	to := &parcel{set: slices.Clone(set), batch: schemas.NewPut(messages.get(), s.u.session, s.u.vault)}
	s.open[string(key)] = to
	return to, nil
}

// fullest is the longest open message.
func (s *sealer) fullest() (key string) {
	most := -1
	for k, to := range s.open {
		if size := to.batch.Size(); size > most {
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

// dispatch sends a message to its set, in parts if that is larger than a subject
// can name.
func (s *sealer) dispatch(key string) error {
	u, p := s.u, s.open[key]
	delete(s.open, key)
	p.payload = p.batch.Put()
	size := int64(len(p.payload))
	defer u.seal.pace.wait()()
	if err := u.flight.Acquire(u.ctx, size); err != nil {
		return err
	}
	p.left = (len(p.set) + schemas.MaxSet - 1) / schemas.MaxSet
	for some := range slices.Chunk(p.set, schemas.MaxSet) {
		u.sent.Add(size)
		if err := u.out.Send(u.ctx, some, p.payload, func(err error) { u.ended(p, err) }); err != nil {
			return err
		}
	}
	return nil
}
