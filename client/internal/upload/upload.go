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
	// plainBudget bounds the plaintext that is not in blocks, tree chunks mostly,
	// in bytes; flightBudget the sealed bytes between their dispatch and the last
	// acknowledgement, whatever the nodes' windows would allow.
	plainBudget  = 4 << 20
	flightBudget = 24 << 20
)

// Options say where an uploader's chunks go, and how they are sealed.
type Options struct {
	Keys     *seal.Keys
	Vault    schemas.VaultID
	Session  string
	Replicas *replica.Reader
	Writer   *replica.Writer
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
	opt          Options
	states       *states
	pace         *pace // nil unless Compression is CompressAuto
	economy      seal.Economy
	retry        transfer.Retry
	destinations *destinations
	present      presences

	asked  chan *pendingChunk // queued: the nodes are to be asked
	wanted chan *pendingChunk // to be sealed
	ctx    context.Context
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
func (u *Uploader) Context() context.Context { return u.ctx }

// pendingChunk is a chunk before it is sealed.
type pendingChunk struct {
	chunk schemas.Chunk
	plain chunk.Plaintext
}

// New starts the steps. They end with finish, with abandon, or with ctx.
func New(ctx context.Context, opt Options) *Uploader {
	u := &Uploader{
		opt:          opt,
		states:       newStates(opt.Budget.Bytes(plainBudget), opt.Budget.Bytes(flightBudget)),
		retry:        transfer.Retry{Responded: opt.Replicas.Responded, Limit: shortTime, Status: opt.Status},
		destinations: newDestinations(opt.Replicas, opt.Vault, opt.Status),
		asked:        make(chan *pendingChunk, haveBatch), wanted: make(chan *pendingChunk),
	}
	sealers := runtime.GOMAXPROCS(0)
	if opt.Compression == seal.CompressAuto {
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
func (u *Uploader) step(f func() error) {
	u.steps.Go(func() {
		if err := f(); err != nil {
			u.fail(err)
		}
	})
}

// PutData takes a data chunk and its id. The uploader releases plain.
func (u *Uploader) PutData(id schemas.ChunkID, plain chunk.Plaintext) error {
	return u.put(&pendingChunk{chunk: schemas.Chunk{ID: id, Kind: schemas.Data}, plain: plain})
}

// PutTree takes a tree chunk. It copies what it keeps.
func (u *Uploader) PutTree(id schemas.ChunkID, trees, data []schemas.ChunkID, payload []byte) error {
	plain, err := u.CopyPlain(payload)
	if err != nil {
		return err
	}
	return u.put(&pendingChunk{
		chunk: schemas.Chunk{ID: id, Kind: schemas.Tree, Trees: slices.Clone(trees), Data: slices.Clone(data)},
		plain: plain,
	})
}

// CopyPlain waits for budget for a copy of b, which putData then takes.
func (u *Uploader) CopyPlain(b []byte) (chunk.Plaintext, error) {
	if u.states.reserve(u.ctx, len(b)) != nil {
		return chunk.Plaintext{}, context.Cause(u.ctx)
	}
	return chunk.NewPlaintext(slices.Clone(b), chunk.Checksum(b)), nil
}

// release ends the use of a chunk's plaintext.
func (u *Uploader) release(o *pendingChunk) {
	if !o.plain.InBlock() {
		u.states.free(len(o.plain.Bytes))
	}
	o.plain.Release()
	o.plain = chunk.Plaintext{}
}

func (u *Uploader) put(o *pendingChunk) error {
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

// Finish waits until everything that was put is acknowledged. Nothing may be put any
// more.
func (u *Uploader) Finish() error {
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

// Abandon ends all steps; what is on its way is not waited for.
func (u *Uploader) Abandon(err error) {
	u.fail(err)
	u.steps.Wait()
}
