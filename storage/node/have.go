package node

import (
	"context"
	"errors"

	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
	"servidor-backup/storage"
)

// have answers which chunks are held, and which parts of them.
//
// Unless the request says Look, the answer pins what it names: those parts enter the node's
// generation of collections. If the request names an epoch, the node that asks relies on the
// pins to drop its own parts; file drop.go of package heal says why that is safe. The order
// is part of it: first the epoch is compared, then drops that were decided on in earlier
// epochs end, then the generation is entered, and only then are parts looked up and pinned.
func (n *Node) have(ctx context.Context, b, _ []byte) ([]byte, error) {
	req, err := decodeIDs(b)
	if err != nil {
		return nil, err
	}
	if epoch := n.healer.View().Epoch(); req.Epoch != 0 && req.Epoch != epoch {
		return nil, schemas.Errorf(schemas.OtherEpoch, "node %s follows the map of epoch %d, not %d", n.id, epoch, req.Epoch)
	}
	if req.Epoch != 0 {
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

// void notes that a part does not open. A node has no key, so it believes any client that knows the
// part's checksum. So it drops nothing, and gives the part to those who ask for it as before.
func (n *Node) void(ctx context.Context, req *schemas.VoidRequest) (any, error) {
	part := storage.PartID{ID: req.ID, Part: req.Part}
	void, err := n.store.Void(ctx, req.Vault, part, req.Sum)
	if err != nil {
		return nil, storageError(err)
	}
	if void {
		n.opt.Log.Error("a client has found that a chunk does not open", "chunk", req.ID, "vault", req.Vault, "part", req.Part)
		n.readFailed(schemas.Corrupt)
	}
	return &schemas.VoidReply{Reply: schemas.OK, Void: void}, nil
}

// chunks answers which whole chunks of a vault are held, in the order of their ids.
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
