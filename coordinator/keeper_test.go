package coordinator

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/nats-io/nats.go"

	"servidor-backup/bus"
	"servidor-backup/bus/bustest"
	"servidor-backup/schemas"
	"servidor-backup/storage"
)

// keeper answers the messages of collections for a node that does not do so itself,
// with its real store: what a node is to do, in as few lines as possible.
type keeper struct {
	w    *world
	disk *storage.Store

	mu     sync.Mutex
	swept  schemas.SweepStatus
	marked int               // ids
	fails  map[string]error  // what is answered instead, by subject
	before func(what string) // is called before an answer is worked out
}

func (w *world) keep(n *runningNode) *keeper {
	w.t.Helper()
	id := n.store.NodeID()
	k := &keeper{w: w, disk: n.store, fails: map[string]error{}}
	err := bus.Request(bustest.Patient(w.t), w.nc, schemas.StatusSubject(id), &schemas.StatusRequest{}, &schemas.NodeStatusReply{})
	if !errors.Is(err, bus.ErrNobody) {
		return k // it does so itself
	}
	serve(k, n.nc, "generation", schemas.GenerationSubject(id), k.generation)
	serve(k, n.nc, "mark", schemas.MarkSubject(id), k.mark)
	serve(k, n.nc, "sweep", schemas.SweepSubject(id), k.sweep)
	serve(k, n.nc, "status", schemas.StatusSubject(id), k.status)
	serve(k, n.nc, "chunks", schemas.ChunksSubject(id), k.chunks)
	if err := n.nc.FlushTimeout(bustest.Patience); err != nil {
		w.t.Fatal(err)
	}
	return k
}

func serve[Req any](k *keeper, nc *nats.Conn, what, subject string, h func(*Req) (any, error)) {
	_, err := nc.Subscribe(subject, func(m *nats.Msg) {
		k.mu.Lock()
		before, err := k.before, k.fails[what]
		k.mu.Unlock()
		if before != nil {
			before(what)
		}
		req := new(Req)
		var rep any
		if err == nil {
			err = schemas.Unmarshal(m.Data, req)
		}
		if err == nil {
			rep, err = h(req)
		}
		if err != nil {
			failed := schemas.Fail(err)
			rep = &failed
		}
		if b, err := schemas.Marshal(rep); err == nil {
			_ = m.Respond(b)
		}
	})
	if err != nil {
		k.w.t.Fatal(err)
	}
}

func (k *keeper) fail(what string, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fails[what] = err
}

func (k *keeper) generation(req *schemas.GenerationRequest) (any, error) {
	return &schemas.GenerationReply{Reply: schemas.OK}, k.disk.SetGeneration(context.Background(), req.Generation)
}

func (k *keeper) mark(req *schemas.MarkRequest) (any, error) {
	var ids []schemas.ChunkID
	for b := range slices.Chunk(req.IDs, len(schemas.ChunkID{})) {
		ids = append(ids, schemas.ChunkID(b))
	}
	k.mu.Lock()
	k.marked += len(ids)
	k.mu.Unlock()
	held, fresh := make([]bool, len(ids)), make([]bool, len(ids))
	if err := k.disk.Mark(context.Background(), req.Generation, req.Vault, ids, held, fresh); err != nil {
		return nil, err
	}
	rep := &schemas.MarkReply{Reply: schemas.OK, Have: make([]byte, (len(ids)+7)/8), Fresh: make([]byte, (len(ids)+7)/8)}
	for i := range ids {
		if held[i] {
			rep.Have[i/8] |= 1 << (i % 8)
		}
		if fresh[i] {
			rep.Fresh[i/8] |= 1 << (i % 8)
		}
	}
	return rep, nil
}

func (k *keeper) sweep(req *schemas.SweepRequest) (any, error) {
	m := k.w.c.members.nodeMap()
	if m.Epoch != req.Epoch {
		return nil, schemas.Errorf(schemas.NotNow, "another map")
	}
	homes := schemas.NewHomes(m)
	swept, err := k.disk.Sweep(context.Background(), req.Before, func(vault schemas.VaultID, id schemas.ChunkID, part schemas.Part) bool {
		return slices.Contains(homes.Place(nil, id, m.DurabilityOf(vault).Nodes()), k.disk.NodeID())
	})
	if err != nil {
		return nil, err
	}
	done, err := k.disk.Compact(context.Background(), storage.Compaction{})
	k.mu.Lock()
	defer k.mu.Unlock()
	k.swept = schemas.SweepStatus{Generation: req.Generation, Ended: true, Chunks: swept.Chunks, Bytes: swept.Bytes, Freed: done.Freed}
	return &schemas.SweepReply{Reply: schemas.OK}, err
}

func (k *keeper) status(*schemas.StatusRequest) (any, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	swept := k.swept
	return &schemas.NodeStatusReply{Reply: schemas.OK, Status: schemas.NodeStatus{Node: schemas.Node{ID: k.disk.NodeID(), Chunks: 7}, Sweep: &swept}}, nil
}

func (k *keeper) chunks(req *schemas.ChunksRequest) (any, error) {
	after := storage.Cursor{Vault: req.Vault}
	if req.After != nil {
		after.PartID = storage.PartID{ID: *req.After, Part: ^schemas.Part(0)}
	}
	rep := &schemas.ChunkIDsReply{Reply: schemas.OK}
	return rep, k.disk.Each(context.Background(), after, func(h storage.Held) bool {
		if h.Vault != req.Vault || len(rep.IDs) >= 3*len(h.ID) { // small pages
			return false
		}
		rep.IDs = append(rep.IDs, h.ID[:]...)
		return true
	})
}
