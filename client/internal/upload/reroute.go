package upload

import (
	"errors"
	"slices"

	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
)

// rerouteRefused sends what is in refused batches to other nodes, until the upload ends.
func (u *Uploader) rerouteRefused() error {
	for u.ctx.Err() == nil {
		for _, b := range u.states.waitRefused(u.ctx) {
			if err := u.reroute(b); err != nil {
				return err
			}
		}
	}
	return nil
}

// reroute puts each chunk and shard of a refused batch into a batch for other nodes.
func (u *Uploader) reroute(b *batch) error {
	put, err := schemas.DecodePut(b.payload)
	if err != nil {
		return err
	}
	holders := slices.DeleteFunc(slices.Clone(b.set), func(n schemas.NodeID) bool { return slices.Contains(b.failure.Nodes, n) })
	s := newSealer(u)
	for i := range put.Chunks {
		c := &put.Chunks[i]
		var set []schemas.NodeID
		if c.Part == schemas.Whole {
			_, set, err = u.destinations.choose(u.ctx, nil, c.ID, schemas.Durability.Replicas)
			set = slices.DeleteFunc(set, func(n schemas.NodeID) bool { return slices.Contains(holders, n) })
		} else {
			set, err = u.rerouteShard(c)
		}
		if err != nil {
			return err
		}
		if len(set) == 0 {
			u.states.acknowledge(c.ID)
			continue
		}
		next, err := s.openBatch(set, c.Size())
		if err != nil {
			return err
		}
		next.add(c)
	}
	return s.dispatchAll()
}

// rerouteShard chooses the node for a shard that its node did not accept. It returns none if
// enough nodes have the other shards.
func (u *Uploader) rerouteShard(c *schemas.Chunk) ([]schemas.NodeID, error) {
	d, set, err := u.destinations.choose(u.ctx, nil, c.ID, schemas.Durability.Nodes)
	if err != nil {
		return nil, err
	}
	node, ok := u.states.rerouteShard(c.ID, c.Part.Shard(), set, d.Nodes())
	if !ok {
		return nil, nil
	}
	return []schemas.NodeID{node}, nil
}

// answered takes the answer to one request of a batch: nil, a [replica.PartialFailure] that
// names the nodes which did not accept it, or an error that ends the upload.
func (u *Uploader) answered(b *batch, err error) {
	var failure *replica.PartialFailure
	if errors.As(err, &failure) {
		err = u.destinations.noteFailure(failure)
	}
	if err != nil {
		u.fail(err)
	}
	last, refused := u.states.recordAnswer(b, failure)
	if !last || refused {
		return
	}
	if err == nil {
		u.destinations.noteProgress()
		u.states.countAcknowledged(len(b.payload))
		messages.Put(b.payload) // that of a failed request may still be on its way
	}
	u.states.acknowledge(b.ids...)
}
