package upload

import (
	"errors"
	"slices"

	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
)

// Batches that some nodes do not take are rerouted: their chunks go to other nodes.

// rerouteRefused takes the refused batches until the upload ends, and sends on what was
// in them.
func (u *Uploader) rerouteRefused() error {
	for u.ctx.Err() == nil {
		for _, b := range u.states.nextRefused(u.ctx) {
			if err := u.reroute(b); err != nil {
				return err
			}
		}
	}
	return nil
}

// reroute places what was in a refused batch anew.
func (u *Uploader) reroute(b *batch) error {
	put, err := schemas.DecodePut(b.payload)
	if err != nil {
		return err
	}
	has := slices.DeleteFunc(slices.Clone(b.set), func(n schemas.NodeID) bool { return slices.Contains(b.failure.Nodes, n) })
	s := newSealer(u)
	for i := range put.Chunks {
		c := &put.Chunks[i]
		var to []schemas.NodeID
		if c.Part == schemas.Whole {
			_, to, err = u.destinations.of(u.ctx, nil, c.ID, schemas.Durability.Replicas)
			to = slices.DeleteFunc(to, func(n schemas.NodeID) bool { return slices.Contains(has, n) })
		} else {
			to, err = u.rerouteShard(c)
		}
		if err != nil {
			return err
		}
		if len(to) == 0 {
			u.states.acknowledge(c.ID)
			continue
		}
		next, err := s.batch(to, c.Size())
		if err != nil {
			return err
		}
		next.add(c)
	}
	return s.dispatchAll()
}

// rerouteShard is the node that a shard goes to after its node did not take it; none if
// enough others are in place by now.
func (u *Uploader) rerouteShard(c *schemas.Chunk) ([]schemas.NodeID, error) {
	d, set, err := u.destinations.of(u.ctx, nil, c.ID, schemas.Durability.Nodes)
	if err != nil {
		return nil, err
	}
	node, ok := u.states.reroute(c.ID, c.Part.Shard(), set, d.Nodes())
	if !ok {
		return nil, nil
	}
	return []schemas.NodeID{node}, nil
}

// answered takes the answer to one request of a batch: nil, a [replica.PartialFailure] if some
// nodes did not take it, or what ends the upload.
func (u *Uploader) answered(b *batch, err error) {
	var failure *replica.PartialFailure
	if errors.As(err, &failure) {
		err = u.destinations.failed(failure)
	}
	if err != nil {
		u.fail(err)
	}
	last, refused := u.states.answer(b, failure)
	if !last || refused {
		return
	}
	if err == nil {
		u.destinations.acknowledged()
		messages.Put(b.payload) // one that failed may still be on its way
	}
	u.states.acknowledge(b.ids...)
}
