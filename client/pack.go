package client

import (
	"time"

	"servidor-backup/schemas"
)

// parcel is a message being filled for one node.
type parcel struct {
	batch *schemas.BatchBuilder
	ids   []schemas.ChunkID
}

// pack fills messages, one per replica set at a time, and sends them when they
// are full or nothing has come for a while.
func (u *uploader) pack() error {
	open := map[schemas.NodeID]*parcel{}
	idle := time.NewTimer(linger)
	defer idle.Stop()
	for {
		select {
		case o, more := <-u.sealed:
			if !more {
				return u.dispatchAll(open)
			}
			if err := u.add(open, o); err != nil {
				return err
			}
			idle.Reset(linger)
		case <-idle.C:
			if err := u.dispatchAll(open); err != nil {
				return err
			}
		case <-u.ctx.Done():
			return u.ctx.Err()
		}
	}
}

func (u *uploader) add(open map[schemas.NodeID]*parcel, o *outgoing) error {
	var set [1]schemas.NodeID
	placed := u.holders.Placement().Place(set[:0], o.chunk.ID, 1)
	if len(placed) == 0 {
		return schemas.Errorf(schemas.NoNode, "no storage node is up any more: start one and run the backup again, what has been stored is not sent twice")
	}
	node := placed[0]
	p := open[node]
	if p != nil && !p.batch.Fits(&o.chunk) {
		if err := u.dispatch(node, p); err != nil {
			return err
		}
		p = nil
	}
	if p == nil {
		p = &parcel{batch: schemas.NewPut(messages.get(), u.session, u.vault)}
		open[node] = p
	}
	p.batch.Add(&o.chunk)
	p.ids = append(p.ids, o.chunk.ID)
	u.chunks.Add(1)
	u.stored.Add(int64(o.chunk.Size()))
	plains.put(o.chunk.Content)
	o.chunk.Content = nil
	return nil
}

func (u *uploader) dispatchAll(open map[schemas.NodeID]*parcel) error {
	for node, p := range open {
		if err := u.dispatch(node, p); err != nil {
			return err
		}
		delete(open, node)
	}
	return nil
}

func (u *uploader) dispatch(node schemas.NodeID, p *parcel) error {
	payload := p.batch.Put()
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
		for _, id := range p.ids {
			u.done(id)
		}
	})
}
