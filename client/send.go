package client

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
)

const (
	// looseBudget bounds the plaintext that is not in blocks, tree chunks mostly,
	// in bytes; flightBudget the sealed bytes between their packing and the last
	// acknowledgement, whatever the nodes' windows would allow.
	looseBudget  = 4 << 20
	flightBudget = 24 << 20
	// haveBatch is how many chunks one question to the nodes is about at most.
	haveBatch = 1024
	// haveSlots is how many such questions are under way at a time.
	haveSlots = 4
)

// uploader takes chunks in the clear and gets them to the nodes: it asks who
// holds what, seals the rest into messages and sends them. Each step has its own
// goroutines, and between them are bounded numbers of bytes, so whoever is
// slowest sets the pace.
type uploader struct {
	k       *keys
	vault   schemas.VaultID
	session string
	holders *replica.Reader
	out     *replica.Writer
	seal    sealOptions
	economy economy
	nodes   patience
	targets *targets

	blocks        blocks // for whoever reads what is to be sent
	loose, flight *semaphore.Weighted
	asked         chan *outgoing // whose nodes are to be asked
	wanted        chan *outgoing // to be sealed
	broken        chan struct{}  // some have failed
	ctx           context.Context
	fail          context.CancelCauseFunc // ends ctx; the first cause stays
	steps         sync.WaitGroup

	mu       sync.Mutex
	verdicts map[schemas.ChunkID]bool     // what holds was told last
	underWay map[schemas.ChunkID]*journey // taken, not done with: equal ones are dropped
	failed   []*parcel                    // to be mended
	ending   bool                         // nothing more will be taken
	drained  chan struct{}                // closed when ending and nothing is under way

	chunks, sent, stored atomic.Int64
}

// outgoing is a chunk on its way. Its content is plain until it is sealed.
type outgoing struct {
	chunk schemas.Chunk
	plain plaintext
	// whole: shards of it are held that were sealed at another time, with which new
	// ones would not make the chunk. Copies stand for themselves.
	whole bool
}

// newUploader starts the steps. They end with finish, or with ctx.
func newUploader(ctx context.Context, k *keys, vault schemas.VaultID, session string, holders *replica.Reader, out *replica.Writer, seal sealOptions, room room, status func(string)) *uploader {
	u := &uploader{
		k: k, vault: vault, session: session, holders: holders, out: out, seal: seal,
		nodes: patience{holders: holders, limit: shortTime, status: status}, targets: newTargets(holders, vault, status),
		blocks: newBlocks(max(room.slots(readers()+spareBlocks), readers()+1)),
		loose:  semaphore.NewWeighted(room.bytes(looseBudget)), flight: semaphore.NewWeighted(room.bytes(flightBudget)),
		asked: make(chan *outgoing, haveBatch), wanted: make(chan *outgoing), broken: make(chan struct{}, 1),
		verdicts: map[schemas.ChunkID]bool{}, underWay: map[schemas.ChunkID]*journey{}, drained: make(chan struct{}),
	}
	u.ctx, u.fail = context.WithCancelCause(ctx)
	u.step(u.ask)
	u.step(u.mend)
	for range runtime.GOMAXPROCS(0) {
		u.step(newSealer(u).run)
	}
	return u
}

// readers is how many goroutines read files side by side.
func readers() int { return max(2, min(runtime.GOMAXPROCS(0), 8)) }

// spareBlocks is how many blocks there are besides those that readers hold: what
// waits to be sealed.
const spareBlocks = 3

// step runs f beside the others; its failure ends them all.
func (u *uploader) step(f func() error) {
	u.steps.Go(func() {
		if err := f(); err != nil {
			u.fail(err)
		}
	})
}

// data takes a data chunk and its id. The uploader releases plain.
func (u *uploader) data(id schemas.ChunkID, plain plaintext) error {
	return u.take(&outgoing{chunk: schemas.Chunk{ID: id, Kind: schemas.Data}, plain: plain})
}

// tree takes a tree chunk; it is a [treePut]. It copies what it keeps.
func (u *uploader) tree(id schemas.ChunkID, trees, data []schemas.ChunkID, payload []byte) error {
	plain, err := u.copyOf(payload)
	if err != nil {
		return err
	}
	return u.take(&outgoing{
		chunk: schemas.Chunk{ID: id, Kind: schemas.Tree, Trees: slices.Clone(trees), Data: slices.Clone(data)},
		plain: plain,
	})
}

// copyOf waits for room for a copy of b.
func (u *uploader) copyOf(b []byte) (plaintext, error) {
	if u.loose.Acquire(u.ctx, int64(len(b))) != nil {
		return plaintext{}, context.Cause(u.ctx)
	}
	sum := checksum(b)
	return plaintext{bytes: slices.Clone(b), sum: sum}, nil
}

// release ends the use of an outgoing chunk's plaintext.
func (u *uploader) release(o *outgoing) {
	if o.plain.block == nil {
		u.loose.Release(int64(len(o.plain.bytes)))
	}
	o.plain.release()
	o.plain = plaintext{}
}

func (u *uploader) take(o *outgoing) error {
	u.mu.Lock()
	_, twice := u.underWay[o.chunk.ID]
	if !twice {
		u.underWay[o.chunk.ID] = &journey{}
	}
	u.mu.Unlock()
	if twice {
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

// leaves notes that a chunk begins its journey.
func (u *uploader) leaves(id schemas.ChunkID, j journey) {
	u.mu.Lock()
	defer u.mu.Unlock()
	*u.underWay[id] = j
}

// done notes that nothing more happens to a chunk.
func (u *uploader) done(id schemas.ChunkID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.underWay, id)
	if u.ending && len(u.underWay) == 0 {
		close(u.drained)
	}
}

// ask gathers what is waiting into questions. While questions are under way the
// next one grows, so batches are as large as the nodes are slow.
func (u *uploader) ask() error {
	defer close(u.wanted)
	questions, ctx := errgroup.WithContext(u.ctx)
	questions.SetLimit(haveSlots)
	for {
		some, open := u.gather()
		if len(some) > 0 {
			questions.Go(func() error {
				err := u.question(ctx, some)
				if err != nil {
					u.fail(err) // at once: nobody else takes what is waiting
				}
				return err
			})
		}
		if !open {
			return questions.Wait()
		}
	}
}

func (u *uploader) gather() (some []*outgoing, open bool) {
	select {
	case o, open := <-u.asked:
		if !open {
			return nil, false
		}
		some = append(some, o)
	case <-u.ctx.Done():
		return nil, false
	}
	for len(some) < haveBatch {
		select {
		case o, open := <-u.asked:
			if !open {
				return some, false
			}
			some = append(some, o)
		default:
			return some, true
		}
	}
	return some, true
}

// question asks who holds some chunks and passes on those that nobody does.
func (u *uploader) question(ctx context.Context, some []*outgoing) error {
	ids := make([]schemas.ChunkID, len(some))
	for i, o := range some {
		ids[i] = o.chunk.ID
	}
	var d schemas.Durability
	var held []replica.Presence
	err := u.nodes.ask(ctx, func() (err error) {
		d = u.holders.Durability(u.vault)
		held, err = u.holders.Presences(ctx, u.vault, ids)
		return err
	})
	if err != nil {
		return fmt.Errorf("ask the storage nodes what they hold: %w", err)
	}
	for i, o := range some {
		if held[i].Complete(d) {
			u.release(o)
			u.done(o.chunk.ID)
			continue
		}
		o.whole = held[i].HasShards()
		select {
		case u.wanted <- o:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// holds reports whether all of an entry's content can be had from nodes. Small files that
// stand side by side share chunks, so the last answers are kept.
func (u *uploader) holds(ctx context.Context, e *Entry) (bool, error) {
	get := treeGetter(u.k, newSource(u.vault, u.holders, u.nodes.status))
	pieces := newPieceIter(ctx, get, e.Content, e.Size)
	for more := true; more; {
		var ids []schemas.ChunkID
		for more && len(ids) < replica.MaxIDs {
			p, ok, err := pieces.Next()
			if isDamage(err) {
				return false, nil
			}
			if err != nil {
				return false, err
			}
			if more = ok; !ok {
				break
			}
			held, known := u.verdict(p.ID)
			switch {
			case !known:
				ids = append(ids, p.ID)
			case !held:
				return false, nil
			}
		}
		if len(ids) == 0 {
			continue
		}
		var held []bool
		err := u.nodes.ask(ctx, func() (err error) {
			held, err = u.holders.Recoverable(ctx, u.vault, ids)
			return err
		})
		if err != nil {
			return false, err
		}
		u.remember(ids, held)
		if slices.Contains(held, false) {
			return false, nil
		}
	}
	return true, nil
}

func (u *uploader) verdict(id schemas.ChunkID) (held, known bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	held, known = u.verdicts[id]
	return held, known
}

// remember keeps what was said of ids, in place of what was said long ago.
func (u *uploader) remember(ids []schemas.ChunkID, held []bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.verdicts) > replica.MaxIDs {
		clear(u.verdicts)
	}
	for i, id := range ids {
		u.verdicts[id] = held[i]
	}
}

// finish waits until everything that was taken is acknowledged. Nothing may be
// taken any more.
func (u *uploader) finish() error {
	close(u.asked)
	u.mu.Lock()
	if u.ending = true; len(u.underWay) == 0 {
		close(u.drained)
	}
	u.mu.Unlock()
	select {
	case <-u.drained:
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
