package client

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
)

const (
	// plainBudget bounds the plaintext that is not in blocks, tree chunks mostly,
	// in bytes; flightBudget the sealed bytes between their dispatch and the last
	// acknowledgement, whatever the nodes' windows would allow.
	plainBudget  = 4 << 20
	flightBudget = 24 << 20
)

// uploadOptions say where an uploader's chunks go, and how they are sealed.
type uploadOptions struct {
	Keys    *keys
	Vault   schemas.VaultID
	Session string
	Holders *replica.Reader
	Sender  *replica.Writer
	// Compression may be CompressAuto.
	Compression Compression
	// Unchecked leaves out opening every frame again. The check takes from a
	// fifth of sealing's time (text) to two thirds (random bytes) and is what
	// finds bad memory at backup and not at restore, so it is on unless told
	// otherwise.
	Unchecked bool
	// Budget scales the bytes that are held in memory.
	Budget budget
	// Status is told what is waited for, and "" when it goes on.
	Status func(text string)
}

// uploader takes chunks in the clear and gets them to the nodes: it asks which nodes
// hold what, seals the rest into batches and sends them. Each step has its own
// goroutines, and the bytes between them are bounded, so the slowest step sets the
// pace. What is known of each chunk is in states.
type uploader struct {
	uploadOptions
	states  *chunkStates
	pace    *pace // nil unless Compression is CompressAuto
	economy economy
	retry   retryPolicy
	targets *targets
	present presences

	asked  chan *pendingChunk // queued: the nodes are to be asked
	wanted chan *pendingChunk // to be sealed
	ctx    context.Context
	fail   context.CancelCauseFunc // ends ctx; the first cause stays
	steps  sync.WaitGroup

	chunks, stored, sent atomic.Int64 // see uploadStats
}

// uploadStats count what an uploader has done.
type uploadStats struct {
	Chunks int64 // that were sealed
	Stored int64 // their sealed bytes
	Sent   int64 // bytes that went to nodes, each replica counted once
}

// stats is what was done so far.
func (u *uploader) stats() uploadStats {
	return uploadStats{Chunks: u.chunks.Load(), Stored: u.stored.Load(), Sent: u.sent.Load()}
}

// context ends when the upload has failed; the cause is the failure.
func (u *uploader) context() context.Context { return u.ctx }

// pendingChunk is a chunk before it is sealed.
type pendingChunk struct {
	chunk schemas.Chunk
	plain plaintext
}

// newUploader starts the steps. They end with finish, with abandon, or with ctx.
func newUploader(ctx context.Context, opt uploadOptions) *uploader {
	u := &uploader{
		uploadOptions: opt,
		states:        newChunkStates(opt.Budget.bytes(plainBudget), opt.Budget.bytes(flightBudget)),
		retry:         retryPolicy{holders: opt.Holders, limit: shortTime, status: opt.Status},
		targets:       newTargets(opt.Holders, opt.Vault, opt.Status),
		asked:         make(chan *pendingChunk, haveBatch), wanted: make(chan *pendingChunk),
	}
	sealers := runtime.GOMAXPROCS(0)
	if opt.Compression == CompressAuto {
		u.pace = newPace(sealers)
	}
	u.ctx, u.fail = context.WithCancelCause(ctx)
	u.step(u.ask)
	u.step(u.rerouteRefused)
	for range sealers {
		u.step(newSealer(u).run)
	}
	return u
}

// step runs f beside the others; its failure ends them all.
func (u *uploader) step(f func() error) {
	u.steps.Go(func() {
		if err := f(); err != nil {
			u.fail(err)
		}
	})
}

// putData takes a data chunk and its id. The uploader releases plain.
func (u *uploader) putData(id schemas.ChunkID, plain plaintext) error {
	return u.put(&pendingChunk{chunk: schemas.Chunk{ID: id, Kind: schemas.Data}, plain: plain})
}

// putTree takes a tree chunk. It copies what it keeps.
func (u *uploader) putTree(id schemas.ChunkID, trees, data []schemas.ChunkID, payload []byte) error {
	plain, err := u.copyPlain(payload)
	if err != nil {
		return err
	}
	return u.put(&pendingChunk{
		chunk: schemas.Chunk{ID: id, Kind: schemas.Tree, Trees: slices.Clone(trees), Data: slices.Clone(data)},
		plain: plain,
	})
}

// copyPlain waits for budget for a copy of b, which putData then takes.
func (u *uploader) copyPlain(b []byte) (plaintext, error) {
	if u.states.reserve(u.ctx, len(b)) != nil {
		return plaintext{}, context.Cause(u.ctx)
	}
	return newPlaintext(slices.Clone(b), checksum(b)), nil
}

// release ends the use of a chunk's plaintext.
func (u *uploader) release(o *pendingChunk) {
	if !o.plain.inBlock() {
		u.states.free(len(o.plain.bytes))
	}
	o.plain.release()
	o.plain = plaintext{}
}

func (u *uploader) put(o *pendingChunk) error {
	if !u.states.queue(o.chunk.ID) {
		u.release(o)
		return nil
	}
	select {
	case u.asked <- o:
		return nil
	case <-u.ctx.Done():
		return context.Cause(u.ctx)
	}
}

// finish waits until everything that was put is acknowledged. Nothing may be put any
// more.
func (u *uploader) finish() error {
	close(u.asked)
	u.states.close()
	select {
	case <-u.states.drained:
	case <-u.ctx.Done():
	}
	err := context.Cause(u.ctx)
	u.fail(nil)
	u.steps.Wait()
	return err
}

// abandon ends all steps; what is on its way is not waited for.
func (u *uploader) abandon(err error) {
	u.fail(err)
	u.steps.Wait()
}
