package client

import (
	"time"

	"servidor-backup/schemas"
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
	u    *uploader
	open map[schemas.NodeID]*parcel
}

// parcel is a message being filled for one node.
type parcel struct {
	batch *schemas.BatchBuilder
	ids   []schemas.ChunkID
}

func newSealer(u *uploader) *sealer { return &sealer{u: u, open: map[schemas.NodeID]*parcel{}} }

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

// add seals a chunk into its node's message.
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
	to, err := s.parcel(c, c.Size()+size)
	if err != nil {
		return err
	}
	_, end = s.u.seal.begin(0) // the wait for room in between is not work
	err = to.batch.AddSealed(c, size, func(c *schemas.Chunk) error {
		return s.u.k.sealPacked(space, c, &packed, func(plain []byte) bool { return s.u.isRight(o, plain) }, s.u.seal)
	})
	end()
	if err != nil {
		return err
	}
	to.ids = append(to.ids, c.ID)
	s.u.chunks.Add(1)
	s.u.stored.Add(int64(c.Size()))
	c.Content = nil
	return nil
}

// isRight reports whether plain, which was sealed and opened again, is what was
// taken. The id of a tree chunk covers its edges too, so it is computed anew.
func (u *uploader) isRight(o *outgoing, plain []byte) bool {
	return checksum(plain) == o.plain.sum && (o.chunk.Kind != schemas.Tree || u.k.id(&o.chunk, plain) == o.chunk.ID)
}

// parcel is the message for the chunk's node, with room for size more bytes.
func (s *sealer) parcel(c *schemas.Chunk, size int) (*parcel, error) {
	var set [1]schemas.NodeID
	placed := s.u.holders.Placement().Place(set[:0], c.ID, 1)
	if len(placed) == 0 {
		return nil, schemas.Errorf(schemas.NoNode, "no storage node is up any more: start one and run the backup again, what has been stored is not sent twice")
	}
	node := placed[0]
	if to := s.open[node]; to != nil {
		if to.batch.HasRoom(size) {
			return to, nil
		}
		if err := s.dispatch(node); err != nil {
			return nil, err
		}
	}
	if len(s.open) == maxParcels {
		if err := s.dispatch(s.fullest()); err != nil {
			return nil, err
		}
	}
	to := &parcel{batch: schemas.NewPut(messages.get(), s.u.session, s.u.vault)}
	s.open[node] = to
	return to, nil
}

// fullest is the node with the longest open message.
func (s *sealer) fullest() (node schemas.NodeID) {
	most := -1
	for n, to := range s.open {
		if size := to.batch.Size(); size > most {
			node, most = n, size
		}
	}
	return node
}

func (s *sealer) dispatchAll() error {
	for node := range s.open {
		if err := s.dispatch(node); err != nil {
			return err
		}
	}
	return nil
}

// dispatch sends the node's message.
func (s *sealer) dispatch(node schemas.NodeID) error {
	u, to := s.u, s.open[node]
	delete(s.open, node)
	payload := to.batch.Put()
	size := int64(len(payload))
	defer u.seal.pace.wait()()
	if err := u.flight.Acquire(u.ctx, size); err != nil {
		return err
	}
	u.sent.Add(size)
	return u.out.Send(u.ctx, []schemas.NodeID{node}, payload, func(err error) {
		u.flight.Release(size)
		if err == nil {
			messages.put(payload) // a failed one may still be on its way
		} else {
			u.fail(err)
		}
		for _, id := range to.ids {
			u.done(id)
		}
	})
}
