package node

import (
	"context"
	"errors"
	"sync"

	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
	"servidor-backup/storage"
	"servidor-backup/storage/heal"
)

// errMapChanged ends a sweep whose map is not the newest any more.
var errMapChanged = errors.New("the map has changed")

// generation begins a collection: the node enters its generation.
func (n *Node) generation(ctx context.Context, req *schemas.GenerationRequest) (any, error) {
	if err := n.store.SetGeneration(ctx, req.Generation); err != nil {
		return nil, storageError(err)
	}
	return &schemas.GenerationReply{Reply: schemas.OK}, nil
}

// checkGeneration refuses a collection that is not the one that the node is in.
func (n *Node) checkGeneration(generation uint32) error {
	if own := n.store.Generation(); generation != own {
		return schemas.Errorf(schemas.NotNow, "node %s is in generation %d of collections, not %d", n.id, own, generation)
	}
	return nil
}

// mark records that chunks are needed.
func (n *Node) mark(ctx context.Context, req *schemas.MarkRequest) (any, error) {
	if err := n.checkGeneration(req.Generation); err != nil {
		return nil, err
	}
	ids, err := splitIDs(req.IDs)
	if err != nil {
		return nil, err
	}
	held, fresh := make([]bool, len(ids)), make([]bool, len(ids))
	err = n.store.Mark(ctx, req.Generation, req.Vault, ids, held, fresh)
	if errors.Is(err, storage.ErrOtherGeneration) {
		err = schemas.Errorf(schemas.NotNow, "%v", err)
	}
	if err != nil {
		return nil, storageError(err)
	}
	return &schemas.MarkReply{Reply: schemas.OK, Have: bitSet(held), Fresh: bitSet(fresh)}, nil
}

// bitSet returns a bit for each element, the lowest of each byte first.
func bitSet(set []bool) []byte {
	bits := make([]byte, (len(set)+7)/8)
	for i, ok := range set {
		if ok {
			bits[i/8] |= 1 << (i % 8)
		}
	}
	return bits
}

// splitIDs returns the ids of a request that has them one after the other.
func splitIDs(b []byte) ([]schemas.ChunkID, error) {
	const size = len(schemas.ChunkID{})
	if len(b)%size != 0 || len(b) == 0 || len(b) > replica.MaxIDs*size {
		return nil, schemas.Errorf(schemas.BadRequest, "the request must name 1 to %d chunks by %d bytes each (id_arquivo)", replica.MaxIDs, size)
	}
	ids := make([]schemas.ChunkID, len(b)/size)
	for i := range ids {
		copy(ids[i][:], b[i*size:])
	}
	return ids, nil
}

// sweeper is the state of the newest sweep.
type sweeper struct {
	mu  sync.Mutex
	now schemas.SweepStatus
}

// status returns the state of the newest sweep, nil before the first.
func (s *sweeper) status() *schemas.SweepStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now.Generation == 0 {
		return nil
	}
	now := s.now
	return &now
}

// sweep starts the sweep of a collection, unless it has been started already. The answer does
// not wait for its end.
func (n *Node) sweep(_ context.Context, req *schemas.SweepRequest) (any, error) {
	v := n.healer.View()
	if v.Epoch() != req.Epoch {
		return nil, schemas.Errorf(schemas.NotNow, "node %s follows the map of epoch %d, not %d", n.id, v.Epoch(), req.Epoch)
	}
	if err := n.checkGeneration(req.Generation); err != nil {
		return nil, err
	}
	s := &n.sweeper
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.now.Generation == req.Generation:
	case s.now.Generation != 0 && !s.now.Ended:
		return nil, schemas.Errorf(schemas.NotNow, "node %s is still busy with the sweep of generation %d", n.id, s.now.Generation)
	default:
		if err := n.store.CanSweep(req.Before); err != nil {
			return nil, schemas.Errorf(schemas.TooEarly, "%v", err)
		}
		s.now = schemas.SweepStatus{Generation: req.Generation}
		n.loops.Go(func() { n.runSweep(v, req) })
	}
	return &schemas.SweepReply{Reply: schemas.OK}, nil
}

// runSweep forgets the parts that were not marked, of chunks that are assigned to this node,
// and compacts the store. It ends early if the map changes, since the marks were sent to the
// nodes that chunks were assigned to under v.
func (n *Node) runSweep(v *heal.View, req *schemas.SweepRequest) {
	ctx, cancel := context.WithCancelCause(n.run)
	defer cancel(nil)
	swept, err := n.store.Sweep(ctx, req.Before, func(vault schemas.VaultID, id schemas.ChunkID, part schemas.Part) bool {
		if n.healer.View() != v {
			cancel(errMapChanged)
			return false
		}
		return v.IsAssigned(n.id, vault, id, part)
	})
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	var compacted storage.Compacted
	if err == nil {
		compacted, err = n.store.Compact(ctx, storage.Compaction{})
	}
	s := &n.sweeper
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now.Chunks, s.now.Bytes, s.now.Freed = swept.Chunks, swept.Bytes, compacted.Freed
	if s.now.Ended = true; err != nil {
		s.now.Error = err.Error()
		n.opt.Log.Error("the sweep failed", "generation", req.Generation, "error", err)
	}
}
