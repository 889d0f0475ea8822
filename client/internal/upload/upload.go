// Package upload brings the chunks of a backup to the storage nodes.
//
// An [Uploader] takes chunks in the clear, with their ids, and returns at once, unless it holds
// too many bytes already. A chunk then passes these steps:
//
//  1. ask: the nodes are asked whether they hold the chunk already. If they hold enough of it,
//     its way ends here.
//  2. seal: a sealer compresses and encrypts the chunk, opens the result again and compares, so
//     that bad memory is found at the backup and not at a restore. It writes the sealed chunk,
//     or its shards, into batches: messages for one set of nodes each.
//  3. send: a batch goes to its nodes when it is full, or when no chunk has come for a moment.
//     The replica.Writer sends it under the flow control of the nodes.
//  4. reroute: what some nodes of a batch refuse, or do not answer, goes to other nodes.
//
// Each step has its own goroutines. The bytes between the steps are bounded, so the slowest step
// sets the pace, and memory does not depend on what is saved.
//
// These hold what must be right across the steps:
//
//   - states owns what is known of each chunk on its way, and the budgets in bytes. An upload has
//     ended when states is drained: no more chunks come, and every chunk is held or acknowledged.
//   - destinations chooses the nodes of a chunk. A node that refuses data is avoided for a while;
//     if there are too few nodes, chunks wait for more, and the upload fails when waiting has no
//     prospect.
//   - levelChooser finds the level of compression at which most comes through.
//
// The first failure of any step ends the upload. It is the cause of [Uploader.Context].
package upload

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"servidor-backup/bus/replica"
	"servidor-backup/client/internal/chunk"
	"servidor-backup/client/internal/seal"
	"servidor-backup/client/internal/transfer"
	"servidor-backup/schemas"
)

const (
	// plainBudget bounds the plaintext that is not in blocks, in bytes; that is tree chunks
	// mostly.
	plainBudget = 4 << 20
	// flightBudget bounds the bytes of batches between their dispatch and their last answer,
	// whatever the nodes' windows would allow.
	flightBudget = 24 << 20
)

// Options say where the chunks of an upload go, and how they are sealed.
type Options struct {
	Keys     *seal.Keys
	Vault    schemas.VaultID
	Session  string          // id of the session that the chunks are put under
	Replicas *replica.Reader // asks the nodes what they hold; its map names the nodes
	Writer   *replica.Writer
	// Compression may be CompressAuto.
	Compression seal.Compression
	// Unchecked leaves out opening every sealed chunk again. That check costs from a fifth of
	// the time of sealing (text) to two thirds (random bytes).
	Unchecked bool
	// Budget scales the bytes that are held in memory.
	Budget transfer.Budget
	// Wait is how long the upload goes on without progress while storage nodes are gone or refuse
	// data; 0 is a minute.
	Wait time.Duration
	// Status is told what the upload waits for, and "" when it goes on.
	Status func(s schemas.Sentence)
}

// Uploader is one upload. Its methods may be called concurrently, except that nothing may be
// put once Finish is called.
type Uploader struct {
	opt          Options
	states       *states
	levels       *levelChooser // nil unless Compression is CompressAuto
	packer       seal.Packer
	retry        transfer.Retry
	destinations *destinations
	recoverable  answers

	queued chan *pendingChunk // to be asked for
	wanted chan *pendingChunk // to be sealed
	ctx    context.Context
	fail   context.CancelCauseFunc // ends ctx; the first cause stays
	steps  sync.WaitGroup

	chunks, stored, sent atomic.Int64 // see Stats
}

// Stats count what an upload has done so far.
type Stats struct {
	Chunks int64 // chunks sealed
	Stored int64 // their sealed bytes
	Sent   int64 // bytes sent to nodes; a request to several nodes counts once
}

// pendingChunk is a chunk that is not sealed yet.
type pendingChunk struct {
	chunk schemas.Chunk // without its content
	plain chunk.Plaintext
}

// New starts an upload. The caller ends it with Finish or Abandon; the end of ctx is a failure.
func New(ctx context.Context, opt Options) *Uploader {
	if opt.Wait == 0 {
		opt.Wait = giveUpAfter
	}
	u := &Uploader{
		opt:          opt,
		states:       newStates(opt.Budget.Bytes(plainBudget), opt.Budget.Bytes(flightBudget)),
		retry:        transfer.Retry{Responded: opt.Replicas.Responded, Limit: opt.Wait, Status: opt.Status},
		destinations: newDestinations(opt.Replicas, opt.Vault, opt.Status),
		queued:       make(chan *pendingChunk, maxAsked),
		wanted:       make(chan *pendingChunk),
	}
	u.destinations.limit = opt.Wait
	sealers := runtime.GOMAXPROCS(0)
	if opt.Compression == seal.CompressAuto {
		u.levels = newLevelChooser(sealers)
	}
	u.ctx, u.fail = context.WithCancelCause(ctx)
	u.start(u.ask)
	u.start(u.rerouteRefused)
	for range sealers {
		u.start(newSealer(u).run)
	}
	return u
}

// start runs a step; its failure ends the upload.
func (u *Uploader) start(step func() error) {
	u.steps.Go(func() {
		if err := step(); err != nil {
			u.fail(err)
		}
	})
}

// Context ends when the upload has ended. If it failed, the cause is the failure.
func (u *Uploader) Context() context.Context { return u.ctx }

// Stats returns what was done so far.
func (u *Uploader) Stats() Stats {
	return Stats{Chunks: u.chunks.Load(), Stored: u.stored.Load(), Sent: u.sent.Load()}
}

// PutData takes a data chunk and its id. plain is part of a block or comes from CopyPlain; the
// uploader releases it.
func (u *Uploader) PutData(id schemas.ChunkID, plain chunk.Plaintext) error {
	return u.put(&pendingChunk{chunk: schemas.Chunk{ID: id, Kind: schemas.Data}, plain: plain})
}

// PutTree takes a tree chunk and its id. It copies its arguments.
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

// CopyPlain waits for budget for a copy of b, and makes the copy, which must be put.
func (u *Uploader) CopyPlain(b []byte) (chunk.Plaintext, error) {
	if u.states.reserve(u.ctx, len(b)) != nil {
		return chunk.Plaintext{}, context.Cause(u.ctx)
	}
	return chunk.CopyPlaintext(b), nil
}

// put begins the way of a chunk, unless an equal chunk is on its way.
func (u *Uploader) put(p *pendingChunk) error {
	if !u.states.queue(p.chunk.ID) {
		u.release(p)
		return nil
	}
	select {
	case u.queued <- p:
		return nil
	case <-u.ctx.Done():
		return context.Cause(u.ctx)
	}
}

// release ends the use of a chunk's plaintext.
func (u *Uploader) release(p *pendingChunk) {
	if !p.plain.InBlock() {
		u.states.free(len(p.plain.Bytes))
	}
	p.plain.Release()
	p.plain = chunk.Plaintext{}
}

// Finish waits until everything that was put is held by the nodes.
func (u *Uploader) Finish() error {
	close(u.queued)
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

// Abandon ends the upload with the failure err. Chunks on their way are dropped.
func (u *Uploader) Abandon(err error) {
	u.fail(err)
	u.steps.Wait()
}
