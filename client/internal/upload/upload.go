package upload

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"servidor-backup/bus/replica"
	"servidor-backup/client/internal/chunk"
	"servidor-backup/client/internal/seal"
	"servidor-backup/client/internal/transfer"
	"servidor-backup/schemas"
)

const (
	// PlainBudget bounds the plaintext that is not in blocks, tree chunks mostly,
	// in bytes; flightBudget the sealed bytes between their dispatch and the last
	// acknowledgement, whatever the nodes' windows would allow.
	PlainBudget  = 4 << 20
	flightBudget = 24 << 20
)

// Options say where an uploader's chunks go, and how they are sealed.
type Options struct {
	Keys    *seal.Keys
	Vault   schemas.VaultID
	Session string
	Holders *replica.Reader
	Sender  *replica.Writer
	// Compression may be CompressAuto.
	Compression seal.Compression
	// Unchecked leaves out opening every frame again. The check takes from a
	// fifth of sealing's time (text) to two thirds (random bytes) and is what
	// finds bad memory at backup and not at restore, so it is on unless told
	// otherwise.
	Unchecked bool
	// Budget scales the bytes that are held in memory.
	Budget transfer.Budget
	// Status is told what is waited for, and "" when it goes on.
	Status func(text string)
}

// Uploader takes chunks in the clear and gets them to the nodes: it asks which nodes
// hold what, seals the rest into batches and sends them. Each step has its own
// goroutines, and the bytes between them are bounded, so the slowest step sets the
// pace. What is known of each chunk is in states.
type Uploader struct {
	Options
	States  *states
	pace    *pace // nil unless Compression is CompressAuto
	packer  seal.Packer
	retry   transfer.Retry
	targets *targets
	present presences

	Asked  chan *PendingChunk // queued: the nodes are to be asked
	wanted chan *PendingChunk // to be sealed
	Ctx    context.Context
	fail   context.CancelCauseFunc // ends ctx; the first cause stays
	steps  sync.WaitGroup

	chunks, stored, sent atomic.Int64 // see Stats
}

// Stats count what an uploader has done.
type Stats struct {
	Chunks int64 // that were sealed
	Stored int64 // their sealed bytes
	Sent   int64 // bytes that went to nodes, each replica counted once
}

// Stats is what was done so far.
func (u *Uploader) Stats() Stats {
	return Stats{Chunks: u.chunks.Load(), Stored: u.stored.Load(), Sent: u.sent.Load()}
}

// Context ends when the upload has failed; the cause is the failure.
func (u *Uploader) Context() context.Context { return u.Ctx }

// PendingChunk is a chunk before it is sealed.
type PendingChunk struct {
	chunk schemas.Chunk
	plain chunk.Plaintext
}

// New starts the steps. They end with finish, with abandon, or with ctx.
func New(ctx context.Context, opt Options) *Uploader {
	u := &Uploader{
		Options: opt,
		States:  NewChunkStates(opt.Budget.Bytes(PlainBudget), opt.Budget.Bytes(flightBudget)),
		retry:   transfer.Retry{Reader: opt.Holders, Limit: shortTime, Status: opt.Status},
		targets: newTargets(opt.Holders, opt.Vault, opt.Status),
		Asked:   make(chan *PendingChunk, haveBatch), wanted: make(chan *PendingChunk),
	}
	sealers := runtime.GOMAXPROCS(0)
	if opt.Compression == seal.CompressAuto {
		u.pace = newPace(sealers)
	}
	u.Ctx, u.fail = context.WithCancelCause(ctx)
	u.step(u.ask)
	u.step(u.rerouteRefused)
	for range sealers {
		u.step(newSealer(u).run)
	}
	return u
}

// step runs f beside the others; its failure ends them all.
func (u *Uploader) step(f func() error) {
	u.steps.Go(func() {
		if err := f(); err != nil {
			u.fail(err)
		}
	})
}

// PutData takes a data chunk and its id. The uploader releases plain.
func (u *Uploader) PutData(id schemas.ChunkID, plain chunk.Plaintext) error {
	return u.put(&PendingChunk{chunk: schemas.Chunk{ID: id, Kind: schemas.Data}, plain: plain})
}

// PutTree takes a tree chunk. It copies what it keeps.
func (u *Uploader) PutTree(id schemas.ChunkID, trees, data []schemas.ChunkID, payload []byte) error {
	plain, err := u.CopyPlain(payload)
	if err != nil {
		return err
	}
	return u.put(&PendingChunk{
		chunk: schemas.Chunk{ID: id, Kind: schemas.Tree, Trees: slices.Clone(trees), Data: slices.Clone(data)},
		plain: plain,
	})
}

// CopyPlain waits for budget for a copy of b, which putData then takes.
func (u *Uploader) CopyPlain(b []byte) (chunk.Plaintext, error) {
	if u.States.reserve(u.Ctx, len(b)) != nil {
		return chunk.Plaintext{}, context.Cause(u.Ctx)
	}
	return chunk.CopyPlaintext(b), nil
}

// release ends the use of a chunk's plaintext.
func (u *Uploader) release(o *PendingChunk) {
	if !o.plain.InBlock() {
		u.States.free(len(o.plain.Bytes))
	}
	o.plain.Release()
	o.plain = chunk.Plaintext{}
}

func (u *Uploader) put(o *PendingChunk) error {
	if !u.States.queue(o.chunk.ID) {
		u.release(o)
		return nil
	}
	select {
	case u.Asked <- o:
		return nil
	case <-u.Ctx.Done():
		return context.Cause(u.Ctx)
	}
}

// Finish waits until everything that was put is acknowledged. Nothing may be put any
// more.
func (u *Uploader) Finish() error {
	close(u.Asked)
	u.States.close()
	select {
	case <-u.States.drained:
	case <-u.Ctx.Done():
	}
	err := context.Cause(u.Ctx)
	u.fail(nil)
	u.steps.Wait()
	return err
}

// Abandon ends all steps; what is on its way is not waited for.
func (u *Uploader) Abandon(err error) {
	u.fail(err)
	u.steps.Wait()
}
