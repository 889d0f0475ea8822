package replica

import (
	"slices"

	"servidor-backup/schemas"
	"servidor-backup/schemas/erasure"
)

// stillNeeded is the number of further parts that would make the chunk, in the best case.
func (req *chunkRequest) stillNeeded() int {
	least := 1
	for i := range req.shards {
		if n := req.shards[i].Part.K() - len(req.stripeOf(i)); i == 0 || n < least {
			least = n
		}
	}
	return least
}

// stripeOf returns the different shards that belong together with shard i: they have the
// same k and come from the same sealing of the chunk.
func (req *chunkRequest) stripeOf(i int) (stripe []schemas.Chunk) {
	first := &req.shards[i]
	var seen [256]bool
	for j := range req.shards {
		s := &req.shards[j]
		if s.Part.K() == first.Part.K() && erasure.SameSeal(s, first) && !seen[s.Part.Shard()] {
			seen[s.Part.Shard()] = true
			stripe = append(stripe, *s)
		}
	}
	return stripe
}

// gather adds shards of a chunk. When there are enough of one stripe, it joins them and
// delivers the chunk.
func (f *fetch) gather(index int, shards []schemas.Chunk) {
	f.mu.Lock()
	req := &f.requests[index]
	req.shards = append(req.shards, shards...)
	stripe := req.claimStripe()
	f.mu.Unlock()
	if stripe == nil {
		return
	}
	c, err := erasure.Join(stripe, nil)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		f.deliver(index, &c)
		return
	}
	f.recordFailure(err, index)
	req.returnShards(stripe)
	alternate := req.alternate
	req.alternate = nil
	f.deliver(index, alternate)
}

// claimStripe removes and returns the shards of a stripe that has enough of them, and claims
// the chunk. It returns nil if there is no such stripe or the chunk is claimed already.
func (req *chunkRequest) claimStripe() []schemas.Chunk {
	for i := range req.shards {
		stripe := req.stripeOf(i)
		if req.claimed || len(stripe) < req.shards[i].Part.K() {
			continue
		}
		req.claimed = true
		req.shards = slices.DeleteFunc(req.shards, func(s schemas.Chunk) bool { return erasure.SameSeal(&s, &stripe[0]) })
		return stripe
	}
	return nil
}

// returnShards puts back the undamaged shards of a stripe that did not join to the chunk. If
// no shard is damaged, the shards contradict each other and none is of use.
func (req *chunkRequest) returnShards(stripe []schemas.Chunk) {
	good := slices.DeleteFunc(stripe, func(s schemas.Chunk) bool { return s.Checksum() != s.Sum })
	if len(good) < len(stripe) {
		req.shards = append(req.shards, good...)
	}
}
