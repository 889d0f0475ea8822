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

// stage is how far a chunk has come on its way to the nodes.
//
//	  queue
//	    ↓
//	  queued ── markHeld ──────────────────────────→ done
//	    ↓ markWanted                                   ↑
//	  wanted                                           │
//	    ↓ markSentAsReplicas, markSentAsShards         │
//	┌→ sent ── acknowledge, once for each part ────────┘
//	└───┘ rerouteShard
//
// A chunk that is done has no state any more: the nodes hold it.
type stage uint8

const (
	queued stage = iota // waits for what the nodes say they hold of it
	wanted              // the nodes hold too little of it; it waits to be sealed
	sent                // its parts are in batches, which are open or on their way
)

var stageNames = [...]string{queued: "queued", wanted: "wanted", sent: "sent"}

func (s stage) String() string { return stageNames[s] }

// chunkState is the state of one chunk.
type chunkState struct {
	stage stage
	// asReplicas: the chunk must not be split. The nodes hold shards of it that were sealed at
	// another time, and new shards cannot be joined with those.
	asReplicas bool
	// parts is how many parts are not acknowledged: the replicas of a chunk count as one part,
	// because one batch carries them all; each shard counts as one. It is 0 before stage sent.
	parts int32
	// nodes are those that each shard was sent to last; nil for a chunk sent as replicas.
	nodes []schemas.NodeID
}

// states owns what is known of every chunk on its way, the answers to the batches that carry
// chunks, and the budgets in bytes. The steps keep none of this themselves. Its methods may be
// called concurrently.
//
// Invariants:
//   - A chunk has a state from queue until it is done, and only then. An equal chunk that is put
//     meanwhile is dropped.
//   - In stage sent parts > 0; in other stages parts == 0.
//   - Each part is counted in one batch. Rerouting moves a part to another batch, and the refused
//     batch never acknowledges it.
//   - Plaintext that is not in blocks, and the batches between their dispatch and their last
//     answer, are within their budgets.
//   - drained is closed once: when no more chunks come and no chunk has a state.
//
// A transition from a stage that does not allow it is a bug, and panics.
type states struct {
	plain  *semaphore.Weighted // budget in bytes: of plaintext that is not in blocks
	flight *semaphore.Weighted // budget in bytes: of batches between dispatch and last answer
	wake   chan struct{}       // has an element if refused may not be empty

	mu      sync.Mutex
	chunks  map[schemas.ChunkID]*chunkState
	refused []*batch // answered by all nodes, and not accepted by some
	closing bool     // no more chunks come
	// While record is set, acknowledged are the chunks that are done because nodes have
	// acknowledged all their parts,
	// since they were taken last; ackedBytes counts the bytes of their batches.
	record       bool
	acknowledged []schemas.ChunkID
	ackedBytes   int64
	drained      chan struct{} // see the invariants
}

// newStates takes the budgets in bytes.
func newStates(plainBudget, flightBudget int64) *states {
	return &states{
		plain: semaphore.NewWeighted(plainBudget), flight: semaphore.NewWeighted(flightBudget),
		wake:   make(chan struct{}, 1),
		chunks: map[schemas.ChunkID]*chunkState{}, drained: make(chan struct{}), record: true,
	}
}

// reserve waits for budget for n bytes of plaintext that are not in a block.
func (s *states) reserve(ctx context.Context, n int) error {
	return s.plain.Acquire(ctx, int64(n))
}

// free returns budget that reserve took.
func (s *states) free(n int) { s.plain.Release(int64(n)) }

// inStage returns the state of a chunk, which must be in that stage. The caller holds the lock.
func (s *states) inStage(want stage, id schemas.ChunkID) *chunkState {
	c := s.chunks[id]
	if c == nil || c.stage != want {
		panic(fmt.Sprintf("chunk %s is not %v: this is a bug", id.Short(), want))
	}
	return c
}

// queue makes a chunk queued. It reports false for a chunk that is on its way already.
func (s *states) queue(id schemas.ChunkID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.chunks[id] != nil {
		return false
	}
	s.chunks[id] = &chunkState{}
	return true
}

// markHeld ends the way of a queued chunk: the nodes hold enough of it.
func (s *states) markHeld(id schemas.ChunkID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inStage(queued, id)
	s.forget(id)
}

// markWanted makes a queued chunk wanted; asReplicas forbids splitting it.
func (s *states) markWanted(id schemas.ChunkID, asReplicas bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.inStage(queued, id)
	c.stage, c.asReplicas = wanted, asReplicas
}

// mayBeSplit reports whether a wanted chunk may be sent as shards.
func (s *states) mayBeSplit(id schemas.ChunkID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.inStage(wanted, id).asReplicas
}

// markSentAsReplicas makes a wanted chunk sent, in one batch for all of its nodes.
func (s *states) markSentAsReplicas(id schemas.ChunkID) { s.markSent(id, 1, nil) }

// markSentAsShards makes a wanted chunk sent, in a batch for each node. It keeps nodes, which
// are in the order of the shards.
func (s *states) markSentAsShards(id schemas.ChunkID, nodes []schemas.NodeID) {
	s.markSent(id, int32(len(nodes)), nodes)
}

func (s *states) markSent(id schemas.ChunkID, parts int32, nodes []schemas.NodeID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.inStage(wanted, id)
	c.stage, c.parts, c.nodes = sent, parts, nodes
}

// acknowledge notes for each of the sent chunks that one of its parts waits for nothing more.
// After its last part a chunk is done.
func (s *states) acknowledge(ids ...schemas.ChunkID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		c := s.inStage(sent, id)
		if c.parts--; c.parts == 0 {
			s.forget(id)
			if s.record {
				s.acknowledged = append(s.acknowledged, id)
			}
		}
	}
}

// countAcknowledged counts the bytes of a batch that nodes have acknowledged.
func (s *states) countAcknowledged(bytes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ackedBytes += int64(bytes)
}

// takeAcknowledged returns the chunks that were acknowledged since its last call, and the bytes
// that were acknowledged so far.
func (s *states) takeAcknowledged() (ids []schemas.ChunkID, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids, s.acknowledged = s.acknowledged, nil
	return ids, s.ackedBytes
}

// stopRecording ends the collection of acknowledged chunks, which nobody takes any more.
func (s *states) stopRecording() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.record, s.acknowledged = false, nil
}

// rerouteShard chooses a node for a shard of a sent chunk that its node did not accept. It
// chooses the first node of set, the nodes that a new chunk goes to by now, that no shard of the
// chunk was sent to. If there is none, it chooses the same node again, and reports false if need
// other shards were sent to nodes of set: then this shard need not be sent again.
func (s *states) rerouteShard(id schemas.ChunkID, shard int, set []schemas.NodeID, need int) (schemas.NodeID, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.inStage(sent, id)
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

// dispatch waits for budget for a batch, which is then sent in that many requests.
func (s *states) dispatch(ctx context.Context, b *batch, requests int) error {
	b.unanswered = requests
	return s.flight.Acquire(ctx, int64(len(b.payload)))
}

// recordAnswer notes the answer to one request of a batch; failure, if any, says which nodes did
// not accept it. The last answer returns the budget. If one of the answers was a failure, the
// batch is then refused, and [states.waitRefused] returns it.
func (s *states) recordAnswer(b *batch, failure *replica.PartialFailure) (last, refused bool) {
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
	case s.wake <- struct{}{}:
	default: // waitRefused takes all that are refused
	}
	return true, true
}

// waitRefused waits for refused batches and returns them, each once. It returns none if ctx ends.
func (s *states) waitRefused(ctx context.Context) []*batch {
	select {
	case <-s.wake:
	case <-ctx.Done():
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	batches := s.refused
	s.refused = nil
	return batches
}

// close says that no more chunks come. It may be called once, and queue not after it.
func (s *states) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = true
	s.closeDrained()
}

// forget ends the way of a chunk. The caller holds the lock.
func (s *states) forget(id schemas.ChunkID) {
	delete(s.chunks, id)
	s.closeDrained()
}

// closeDrained closes drained if nothing is on its way and nothing comes. The caller holds the
// lock.
func (s *states) closeDrained() {
	if s.closing && len(s.chunks) == 0 {
		close(s.drained)
	}
}
