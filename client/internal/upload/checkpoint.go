package upload

import (
	"context"
	"errors"
	"slices"

	"servidor-backup/bus/replica"
	"servidor-backup/client/internal/seal"
	"servidor-backup/schemas"
)

// checkpointContent is the sealed content of every checkpoint chunk.
const checkpointContent = "checkpoint"

const (
	// fullCheckpoint is from how many ids on a checkpoint chunk is continued by another one. The
	// ids of one that is not full are written again with the next ones. So this bounds what a slow
	// upload spends on checkpoints, to 8 KiB each, and how long the chain of their chunks becomes.
	fullCheckpoint = 256
	// maxCheckpointIDs is how many ids one checkpoint chunk has at most.
	maxCheckpointIDs = 8192
)

// Checkpoints name what an upload has sent in checkpoint chunks, which are tree chunks: their data
// edges are the ids of the chunks that nodes have acknowledged, and their tree edge leads to the
// checkpoint chunk before. Only one goroutine may use it. It may be used after the upload has
// failed.
type Checkpoints struct {
	u      *Uploader
	writer *replica.Writer
	base   schemas.ChunkID // the newest full chunk; zero before the first
	rest   []schemas.ChunkID
	root   schemas.ChunkID // the newest chunk
}

// NewCheckpoints continues the chain of chunks that begins with base, which may be zero. The chunks
// are sent by writer: not by that of the upload, behind whose bytes they would wait. It stays the
// caller's.
func (u *Uploader) NewCheckpoints(writer *replica.Writer, base schemas.ChunkID) *Checkpoints {
	return &Checkpoints{u: u, writer: writer, base: base, root: base}
}

// Acknowledged is how many bytes the nodes have acknowledged so far.
func (u *Uploader) Acknowledged() int64 {
	u.states.mu.Lock()
	defer u.states.mu.Unlock()
	return u.states.ackedBytes
}

// Write writes what was acknowledged since the last call. It returns the root of the chain, zero
// if nothing was acknowledged ever, and the bytes of this upload that it stands for. After an error
// the next call writes what this one should have written.
func (c *Checkpoints) Write(ctx context.Context) (root schemas.ChunkID, bytes int64, err error) {
	ids, bytes := c.u.states.takeAcknowledged()
	c.rest = append(c.rest, ids...)
	if len(ids) == 0 && !c.root.IsZero() {
		return c.root, bytes, nil
	}
	for len(c.rest) > 0 {
		n := min(len(c.rest), maxCheckpointIDs)
		if c.root, err = c.put(ctx, c.rest[:n]); err != nil {
			c.root = schemas.ChunkID{}
			return c.root, 0, err
		}
		if n < fullCheckpoint {
			break
		}
		c.base, c.rest = c.root, slices.Clone(c.rest[n:])
	}
	return c.root, bytes, nil
}

// Stop ends the memory of what was acknowledged; nothing is to be written any more.
func (c *Checkpoints) Stop() { c.u.states.stopRecording() }

// put sends a checkpoint chunk and waits until at least one node has acknowledged it.
func (c *Checkpoints) put(ctx context.Context, data []schemas.ChunkID) (id schemas.ChunkID, err error) {
	k := schemas.Chunk{Kind: schemas.Tree, Data: data}
	if !c.base.IsZero() {
		k.Trees = []schemas.ChunkID{c.base}
	}
	keys := c.u.opt.Keys
	k.ID = keys.TreeID(k.Trees, k.Data, []byte(checkpointContent))
	packed, err := c.u.packer.Pack(k.ID, []byte(checkpointContent), seal.CompressOff)
	if err != nil {
		return id, err
	}
	defer packed.Release()
	_, set, err := c.u.destinations.choose(ctx, nil, k.ID, schemas.Durability.Replicas)
	if err != nil {
		return id, err
	}
	b := schemas.NewPut(nil, c.u.opt.Session, c.u.opt.Vault)
	if err := b.AddSealed(&k, packed.FrameSize(), func(k *schemas.Chunk) error { return keys.SealPacked(k, packed, nil, true) }); err != nil {
		return id, err
	}
	payload := b.Put()
	for nodes := range slices.Chunk(set, schemas.MaxSet) {
		done := make(chan error, 1)
		if err := c.writer.Send(ctx, nodes, payload, func(err error) { done <- err }); err != nil {
			return id, err
		}
		select {
		case err = <-done:
		case <-ctx.Done():
			return id, context.Cause(ctx)
		}
		var failure *replica.PartialFailure
		if errors.As(err, &failure) && len(failure.Nodes) < len(nodes) {
			err = nil // a node has it
		}
		if err != nil {
			return id, err
		}
	}
	return k.ID, nil
}
