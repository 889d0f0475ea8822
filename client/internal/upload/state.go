package upload

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/semaphore"

	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
)

// stage is how far a chunk has got on its way out.
//
//	            ┌─ held ─────────────────────────┐
//	queue → queued ── want → wanted ── send → sent ── acknowledge, for every part → done
//	                                           ↑ │
//	                                     reroute ┘
//
// A chunk that is done is forgotten: the nodes know it.
type stage uint8

const (
	queued stage = iota // waits until the nodes have said whether they hold it
	wanted              // some node is without it: it waits to be sealed
	sent                // its parts are in batches, open or on the way to their nodes
)

var stageNames = [...]string{queued: "queued", wanted: "wanted", sent: "sent"}

func (s stage) String() string { return stageNames[s] }

// chunkState is the state of one chunk.
type chunkState struct {
	stage stage
	// whole: the nodes hold shards of it that were sealed at another time. New shards
	// do not make the chunk together with those, so it is sent as replicas.
	whole bool
	parts int32 // batches with a part of it that are not acknowledged; 0 before it is sent
	// nodes are those that each shard was sent to last; nil for a chunk sent as replicas.
	nodes []schemas.NodeID
}

// states owns what is known of every chunk on its way out, and of the batches that
// carry them; everything else asks it. Its methods are the transitions, and may be called
// concurrently.
//
// Invariants:
//   - A chunk has a state from queue until it is done, and only then. An equal chunk that
//     comes meanwhile is dropped.
//   - A chunk in stage sent has parts > 0, in other stages parts == 0.
//   - Every part is counted in one batch. Rerouting moves a part to another batch: the
//     refused batch never acknowledges it.
//   - Plaintext that is not in blocks, and the messages between dispatch and the last
//     answer, are within their budgets.
//   - drained is closed once: when no more chunks come and none has a state.
//
// A transition from another stage is a bug, and panics.
type states struct {
	plain, flight *semaphore.Weighted // budgets in bytes: plaintext not in blocks; messages on the way
	refusals      chan struct{}       // has one element when refused may have some

	mu      sync.Mutex
	chunks  map[schemas.ChunkID]*chunkState
	refused []*batch      // answered in full, and not taken by all
	closing bool          // no more chunks come
	drained chan struct{} // see the invariants
}

func newStates(plainBudget, flightBudget int64) *states {
	return &states{
		plain: semaphore.NewWeighted(plainBudget), flight: semaphore.NewWeighted(flightBudget),
		refusals: make(chan struct{}, 1),
		chunks:   map[schemas.ChunkID]*chunkState{}, drained: make(chan struct{}),
	}
}

// reserve waits for budget for n bytes of plaintext that are not in a block.
func (s *states) reserve(ctx context.Context, n int) error {
	return s.plain.Acquire(ctx, int64(n))
}

// free gives back what reserve took.
func (s *states) free(n int) { s.plain.Release(int64(n)) }

// at is the state of a chunk, which is in that stage.
func (s *states) at(id schemas.ChunkID, in stage) *chunkState {
	c := s.chunks[id]
	if c == nil || c.stage != in {
		panic(fmt.Sprintf("chunk %s is not %v: this is a bug", id.Short(), in))
	}
	return c
}

// queue makes a chunk queued. It reports false for one that is on its way already.
func (s *states) queue(id schemas.ChunkID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.chunks[id] != nil {
		return false
	}
	s.chunks[id] = &chunkState{}
	return true
}

// held ends the way of a queued chunk: the nodes have enough of it.
func (s *states) held(id schemas.ChunkID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at(id, queued)
	s.done(id)
}

// want makes a queued chunk wanted. whole says that it is to be sent as replicas.
func (s *states) want(id schemas.ChunkID, whole bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.at(id, queued)
	c.stage, c.whole = wanted, whole
}

// mayBeSplit reports whether a wanted chunk may be sent as shards.
func (s *states) mayBeSplit(id schemas.ChunkID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.at(id, wanted).whole
}

// sendReplicas makes a wanted chunk sent: one batch carries it to all of its nodes.
func (s *states) sendReplicas(id schemas.ChunkID) { s.send(id, 1, nil) }

// sendShards makes a wanted chunk sent: a batch for each of the nodes carries a shard. It
// keeps nodes, in the order of the shards.
func (s *states) sendShards(id schemas.ChunkID, nodes []schemas.NodeID) {
	s.send(id, int32(len(nodes)), nodes)
}

func (s *states) send(id schemas.ChunkID, parts int32, nodes []schemas.NodeID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.at(id, wanted)
	c.stage, c.parts, c.nodes = sent, parts, nodes
}

// acknowledge notes that one part of a sent chunk has nothing more to wait for. After the
// last part the chunk is done.
func (s *states) acknowledge(ids ...schemas.ChunkID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		c := s.at(id, sent)
		if c.parts--; c.parts == 0 {
			s.done(id)
		}
	}
}

// done forgets a chunk.
func (s *states) done(id schemas.ChunkID) {
	delete(s.chunks, id)
	s.drain()
}

// reroute chooses the node for a shard of a sent chunk that its node did not take: a node
// of set, where the chunk's shards belong by now, that no shard was sent to; else the same
// node again. It reports false if as many of the set as are needed have other shards.
func (s *states) reroute(id schemas.ChunkID, shard int, set []schemas.NodeID, need int) (schemas.NodeID, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.at(id, sent)
	others := 0
	for i, n := range c.nodes {
		if i != shard && slices.Contains(set, n) {
			others++
		}
	}
	for _, n := range set {
		if !slices.Contains(c.nodes, n) {
			c.nodes[shard] = n
			return n, true
		}
	}
	return c.nodes[shard], others < need
}

// dispatch waits for budget for a batch that is about to be sent in several requests.
func (s *states) dispatch(ctx context.Context, b *batch, requests int) error {
	b.unanswered = requests
	return s.flight.Acquire(ctx, int64(len(b.payload)))
}

// answer notes the answer to one request of a batch; failure says which nodes did not take
// it. After the last answer the budget is free and, if there was a failure, the batch is
// refused: it waits for [states.nextRefused].
func (s *states) answer(b *batch, failure *replica.PartialFailure) (last, refused bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if failure != nil {
		if b.failure == nil {
			b.failure = &replica.PartialFailure{Err: failure.Err}
		}
		b.failure.Nodes = append(b.failure.Nodes, failure.Nodes...)
	}
	if b.unanswered--; b.unanswered > 0 {
		return false, false
	}
	s.flight.Release(int64(len(b.payload)))
	if b.failure == nil {
		return true, false
	}
	s.refused = append(s.refused, b)
	select {
	case s.refusals <- struct{}{}:
	default:
	}
	return true, true
}

// nextRefused waits for refused batches, and gives them out. It returns none when ctx ends.
func (s *states) nextRefused(ctx context.Context) []*batch {
	select {
	case <-s.refusals:
	case <-ctx.Done():
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	batches := s.refused
	s.refused = nil
	return batches
}

// close says that no more chunks come.
func (s *states) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = true
	s.drain()
}

func (s *states) drain() {
	if s.closing && len(s.chunks) == 0 {
		close(s.drained)
	}
}
