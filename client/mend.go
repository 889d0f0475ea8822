package client

import (
	"errors"
	"slices"

	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
)

// Messages that some nodes do not take are mended: their chunks go to other nodes.

// journey is where a chunk that was taken has got to.
type journey struct {
	left int // messages that a part of it is in, or will be; 0 before it is sealed
	// shards are the nodes that each shard was sent to, for a chunk that is split.
	shards []schemas.NodeID
}

// mend takes the messages that came to nothing, and sends on what was in them.
func (u *uploader) mend() error {
	for {
		select {
		case <-u.broken:
		case <-u.ctx.Done():
			return nil
		}
		u.mu.Lock()
		some := u.failed
		u.failed = nil
		u.mu.Unlock()
		for _, p := range some {
			if err := u.again(p); err != nil {
				return err
			}
		}
	}
}

// again places what was in a message anew.
func (u *uploader) again(p *parcel) error {
	put, err := schemas.DecodePut(p.payload)
	if err != nil {
		return err
	}
	has := slices.DeleteFunc(slices.Clone(p.set), func(n schemas.NodeID) bool { return slices.Contains(p.failed.Nodes, n) })
	s := newSealer(u)
	for i := range put.Chunks {
		c := &put.Chunks[i]
		var to []schemas.NodeID
		if c.Part == schemas.Whole {
			_, to, err = u.targets.of(u.ctx, nil, c.ID, schemas.Durability.Replicas)
			to = slices.DeleteFunc(to, func(n schemas.NodeID) bool { return slices.Contains(has, n) })
		} else {
			to, err = u.otherNode(c)
		}
		if err != nil {
			return err
		}
		if len(to) == 0 {
			u.arrived(c.ID)
			continue
		}
		next, err := s.parcel(to, c.Size())
		if err != nil {
			return err
		}
		next.add(c)
	}
	return s.dispatchAll()
}

// otherNode is where a shard goes that its node did not take: to a node of the
// chunk's set that has none, else to the same one again. It is none if there are as
// many others as are wanted by now.
func (u *uploader) otherNode(c *schemas.Chunk) ([]schemas.NodeID, error) {
	d, set, err := u.targets.of(u.ctx, nil, c.ID, schemas.Durability.Nodes)
	if err != nil {
		return nil, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	j, i := u.underWay[c.ID], c.Part.Shard()
	others := 0
	for x, n := range j.shards {
		if x != i && slices.Contains(set, n) {
			others++
		}
	}
	for _, n := range set {
		if !slices.Contains(j.shards, n) {
			j.shards[i] = n
			return []schemas.NodeID{n}, nil
		}
	}
	if others >= d.Nodes() {
		return nil, nil
	}
	return []schemas.NodeID{j.shards[i]}, nil
}

// ended notes that a part of a message's set has taken it, or why it has not.
func (u *uploader) ended(p *parcel, err error) {
	var some *replica.PartialFailure
	u.mu.Lock()
	p.left--
	last := p.left == 0
	if errors.As(err, &some) {
		if p.failed == nil {
			p.failed = &replica.PartialFailure{Err: some.Err}
		}
		p.failed.Nodes = append(p.failed.Nodes, some.Nodes...)
	}
	if last && p.failed != nil {
		u.failed = append(u.failed, p)
	}
	u.mu.Unlock()
	if some != nil {
		err = u.targets.failed(some)
	}
	if err != nil {
		u.fail(err)
	}
	if !last {
		return
	}
	u.flight.Release(int64(len(p.payload)))
	if p.failed != nil {
		select {
		case u.broken <- struct{}{}:
		default:
		}
		return
	}
	if err == nil {
		u.targets.acknowledged()
		messages.put(p.payload) // one that failed may still be on its way
	}
	for _, id := range p.ids {
		u.arrived(id)
	}
}

// arrived notes that a message with a part of a chunk has.
func (u *uploader) arrived(id schemas.ChunkID) {
	u.mu.Lock()
	j := u.underWay[id]
	j.left--
	left := j.left
	u.mu.Unlock()
	if left == 0 {
		u.done(id)
	}
}
