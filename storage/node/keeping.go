package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"servidor-backup/bus"
	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
	"servidor-backup/storage"
)

// serveKeeping adds what coordinators and other nodes ask for, so that what was saved
// is kept and what nobody needs is not.
func (n *Node) serveKeeping() error {
	return errors.Join(
		bus.Handle(n.service, "generation", schemas.GenerationSubject(n.id), n.generation),
		bus.Handle(n.service, "mark", schemas.MarkSubject(n.id), n.mark),
		bus.Handle(n.service, "sweep", schemas.SweepSubject(n.id), n.sweep),
		bus.Handle(n.service, "status", schemas.StatusSubject(n.id), n.status),
		bus.Handle(n.service, "scrub", schemas.ScrubSubject(n.id), n.scrub),
		bus.Handle(n.service, "chunks", schemas.ChunksSubject(n.id), n.chunks),
	)
}

// have answers which chunks are held, and which parts of them.
func (n *Node) have(ctx context.Context, b, _ []byte) ([]byte, error) {
	req, err := decodeIDs(b)
	if err != nil {
		return nil, err
	}
	if epoch := n.view.Load().epoch(); req.Epoch != 0 && req.Epoch != epoch {
		return nil, schemas.Errorf(schemas.OtherEpoch, "node %s follows the map of epoch %d, not %d", n.id, epoch, req.Epoch)
	}
	if req.Epoch != 0 {
		// What was decided under the epoch before may still be under way. From here on
		// nothing is dropped but under this one.
		if err := n.store.AfterDrops(ctx); err != nil {
			return nil, storageError(err)
		}
	}
	if err := n.store.CatchUp(ctx, req.Generation); err != nil {
		return nil, storageError(err)
	}
	rep, err := schemas.HaveOf(len(req.IDs), req.Parts, func(visit func(int, schemas.Part) error) error {
		switch {
		case req.Look:
			return n.store.Look(req.Vault, req.IDs, visit)
		case req.Parts:
			return n.store.Parts(req.Vault, req.IDs, visit)
		}
		held := make([]bool, len(req.IDs))
		err := n.store.Has(req.Vault, req.IDs, held)
		for i := range held {
			if held[i] {
				err = errors.Join(err, visit(i, schemas.Whole))
			}
		}
		return err
	})
	if err != nil {
		return nil, storageError(err)
	}
	return schemas.Marshal(rep)
}

func setBits(bits []byte, set []bool) {
	for i, ok := range set {
		if ok {
			bits[i/8] |= 1 << (i % 8)
		}
	}
}

// generation begins a collection.
func (n *Node) generation(ctx context.Context, req *schemas.GenerationRequest) (any, error) {
	if err := n.store.SetGeneration(ctx, req.Generation); err != nil {
		return nil, storageError(err)
	}
	return &schemas.GenerationReply{Reply: schemas.OK}, nil
}

// isNow refuses a collection that is not the newest.
func (n *Node) isNow(generation uint32) error {
	if now := n.store.Generation(); generation != now {
		return schemas.Errorf(schemas.NotNow, "node %s is in generation %d of collections, not %d", n.id, now, generation)
	}
	return nil
}

// mark notes that chunks are needed.
func (n *Node) mark(ctx context.Context, req *schemas.MarkRequest) (any, error) {
	if err := n.isNow(req.Generation); err != nil {
		return nil, err
	}
	ids, err := idsOf(req.IDs)
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
	rep := &schemas.MarkReply{Reply: schemas.OK, Have: make([]byte, (len(ids)+7)/8), Fresh: make([]byte, (len(ids)+7)/8)}
	setBits(rep.Have, held)
	setBits(rep.Fresh, fresh)
	return rep, nil
}

// idsOf are the ids of a request in which they are one after the other.
func idsOf(b []byte) ([]schemas.ChunkID, error) {
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

// chunks answers which whole chunks of a vault are held.
func (n *Node) chunks(ctx context.Context, req *schemas.ChunksRequest) (any, error) {
	after := storage.Cursor{Vault: req.Vault}
	if req.After != nil {
		after.PartID = storage.PartID{ID: *req.After, Part: ^schemas.Part(0)}
	}
	rep := &schemas.ChunkIDsReply{Reply: schemas.OK}
	err := n.store.Each(ctx, after, func(h storage.Held) bool {
		if h.Vault != req.Vault || len(rep.IDs) == replica.MaxIDs*len(h.ID) {
			return false
		}
		if h.Part == schemas.Whole && !h.Corrupt {
			rep.IDs = append(rep.IDs, h.ID[:]...)
		}
		return true
	})
	if err != nil {
		return nil, storageError(err)
	}
	return rep, nil
}

// status answers how things are.
func (n *Node) status(context.Context, *schemas.StatusRequest) (any, error) {
	return &schemas.NodeStatusReply{Reply: schemas.OK, Status: schemas.NodeStatus{
		Node: n.card(schemas.Up), Epoch: n.view.Load().epoch(),
		Survey: n.keeper.status(), Scrub: n.scrubber.status(), Sweep: n.sweeper.status(),
	}}, nil
}

// sweeper is the newest sweep.
type sweeper struct {
	mu  sync.Mutex
	now schemas.SweepStatus
}

// status is nil before the first.
func (s *sweeper) status() *schemas.SweepStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now.Generation == 0 {
		return nil
	}
	now := s.now
	return &now
}

// sweep begins to forget what is not marked, unless it has begun already.
func (n *Node) sweep(_ context.Context, req *schemas.SweepRequest) (any, error) {
	v := n.view.Load()
	if v.epoch() != req.Epoch {
		return nil, schemas.Errorf(schemas.NotNow, "node %s follows the map of epoch %d, not %d", n.id, v.epoch(), req.Epoch)
	}
	if err := n.isNow(req.Generation); err != nil {
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

// runSweep forgets what is at home here and was not marked, for as long as home is
// where it was when the marks were sent, and gives the space back.
func (n *Node) runSweep(v *view, req *schemas.SweepRequest) {
	ctx, cancel := context.WithCancelCause(n.run)
	defer cancel(nil)
	var home [8]schemas.NodeID
	swept, err := n.store.Sweep(ctx, req.Before, func(vault schemas.VaultID, id schemas.ChunkID, part schemas.Part) bool {
		if n.view.Load() != v {
			cancel(errMoved)
			return false
		}
		// Of a copy nobody says here whether it is one that should be shards; the
		// nodes with copies are at home in both cases.
		d := v.m.DurabilityOf(vault)
		return slices.Contains(v.set(home[:0], id, d, part != schemas.Whole && d.K > 1), n.id)
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

// event tells the world of something about this node.
func (n *Node) event(kind, text string, args ...any) {
	e := schemas.Event{Kind: kind, Time: time.Now().UnixNano(), Subject: string(n.id), Text: fmt.Sprintf(text, args...)}
	n.opt.Log.Info(e.Text, "event", kind)
	if b, err := schemas.Marshal(&e); err == nil {
		_ = n.nc.Publish(schemas.EventSubject(kind), b)
	}
}
