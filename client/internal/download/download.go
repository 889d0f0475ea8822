// Package download reads the chunks of a vault from the storage nodes.
//
// A [Reader] fetches chunks by their ids and opens them with the keys of the vault. Below it,
// a replica.Reader chooses the nodes to ask; a Reader adds limits, retries and checks:
//
//   - Requests wait for a throttle, if there is one.
//   - Nodes that do not respond are asked again for a while.
//   - If a chunk is not found, it is looked for again with the newest node map: healing may
//     have moved it to a node that the map at the start does not have.
//   - If a node that was reachable at the start no longer is, a chunk that is not found counts
//     as unreachable, and not as lost: the node may hold it.
//   - If a replica turns out to be damaged when it is opened, another one is asked for. No node
//     sees that, as it has no key, so the nodes are told: see [replica.Reader.Void].
//
// An error about single chunks satisfies [IsDamage]; all others end the restore, because they
// would meet every chunk.
package download

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"servidor-backup/bus"
	"servidor-backup/bus/replica"
	"servidor-backup/client/internal/chunk"
	"servidor-backup/client/internal/seal"
	"servidor-backup/client/internal/transfer"
	"servidor-backup/client/internal/tree"
	"servidor-backup/schemas"
)

const (
	// retryLimit is how long nodes that have responded before, and may be restarting, are
	// asked for a chunk.
	retryLimit = 20 * time.Second
	// renewPause is the least time between two questions for the node map.
	renewPause = time.Second
)

// Options say what is read, and from where.
type Options struct {
	Keys     *seal.Keys
	Vault    schemas.VaultID
	Replicas *replica.Reader    // its map is that of the start
	Throttle *transfer.Throttle // of the received bytes; nil is no limit
	// NewestMap asks for the newest node map; if it is nil, the map is not renewed.
	NewestMap func(context.Context) (*schemas.NodeMap, error)
	// Connected reports whether the server is connected; nil stands for always.
	Connected func() bool
	// Status is told what the reader waits for, and "" when it goes on.
	Status func(s schemas.Sentence)
}

// Reader reads the chunks of a vault. It is safe for concurrent use.
type Reader struct {
	opt   Options
	retry transfer.Retry
	first *schemas.NodeMap // the map at the start

	mu      sync.Mutex
	renewed time.Time // when the newest map was asked for last

	bad     sync.Map     // ids of chunks that did not open, to whether their nodes were told
	anyBad  atomic.Bool  // something was added to bad
	unnoted atomic.Int64 // parts that do not open, which their nodes have not noted
}

// NewReader makes a reader.
func NewReader(opt Options) *Reader {
	return &Reader{
		opt: opt, first: opt.Replicas.Map(),
		retry: transfer.Retry{Responded: opt.Replicas.Responded, Limit: retryLimit, Status: opt.Status, Connected: opt.Connected},
	}
}

// Received returns how many bytes of chunks have come from nodes so far.
func (r *Reader) Received() int64 { return r.opt.Replicas.BytesReceived() }

// Fetch fetches chunks, which are still sealed, and calls got once for each chunk that it
// delivers, in any order and from several goroutines; i is the index of the chunk in ids. If
// got returns an error of [Reader.Open], another replica of the chunk is asked for, and got is
// called again. A chunk that no node can deliver is an error that satisfies [IsDamage].
func (r *Reader) Fetch(ctx context.Context, ids []schemas.ChunkID, got func(i int, c *schemas.Chunk) error) error {
	if err := r.opt.Throttle.Enter(ctx); err != nil {
		return err
	}
	defer r.opt.Throttle.Leave()
	f := &fetch{r: r, ids: ids, got: got, done: make([]atomic.Bool, len(ids))}
	defer r.void(ctx, ids)
	for start := time.Now(); ; {
		err := f.try(ctx)
		if err == nil {
			return r.opt.Throttle.Wait(ctx, int(f.bytes.Load()))
		}
		if err = r.retry.Pause(ctx, start, err); err != nil {
			return err
		}
	}
}

// fetch is one call of Fetch.
type fetch struct {
	r     *Reader
	ids   []schemas.ChunkID
	got   func(i int, c *schemas.Chunk) error
	done  []atomic.Bool // for each id: got has taken the chunk
	bytes atomic.Int64  // received so far
}

// try asks for the chunks that are not done. If some are not found, it asks again with a
// newer node map, if there is one.
func (f *fetch) try(ctx context.Context) error {
	replicas := f.r.opt.Replicas
	before := replicas.Map().Epoch
	err := f.ask(ctx)
	if !mayBeOldMap(err) {
		return err
	}
	f.r.renewMap(ctx)
	if replicas.Map().Epoch != before {
		err = f.ask(ctx)
	}
	if schemas.CodeOf(err) == schemas.NotHeld && lacksNode(replicas.Map(), f.r.first) {
		// Waiting for the node is better than taking its chunks for lost.
		return fmt.Errorf("%w: %v", errNoLongerUp, err)
	}
	return err
}

// ask asks once for the chunks that are not done.
func (f *fetch) ask(ctx context.Context) error {
	var index []int // in f.ids, of each of rest
	var rest []schemas.ChunkID
	for i := range f.ids {
		if !f.done[i].Load() {
			index, rest = append(index, i), append(rest, f.ids[i])
		}
	}
	return f.r.opt.Replicas.Fetch(ctx, f.r.opt.Vault, rest, false, func(i int, c *schemas.Chunk) error {
		f.bytes.Add(int64(c.Size()))
		err := f.got(index[i], c)
		f.done[index[i]].Store(err == nil)
		return err
	})
}

// Recoverable reports for each chunk whether nodes hold enough of it to read it.
func (r *Reader) Recoverable(ctx context.Context, ids []schemas.ChunkID) (held []bool, err error) {
	err = r.retry.Do(ctx, func() (err error) {
		held, err = r.opt.Replicas.Recoverable(ctx, r.opt.Vault, ids)
		return err
	})
	return held, err
}

// Plaintext is the content of a data chunk, in the clear.
type Plaintext struct{ Bytes, buffer []byte }

// Release ends the use of the bytes.
func (p Plaintext) Release() { chunk.Buffers.Put(p.buffer) }

// Open opens a data chunk. It overwrites the sealed bytes, which the result may be a part of. The
// caller releases the result. If the chunk is damaged, the error makes [Reader.Fetch] ask for
// another replica.
func (r *Reader) Open(c *schemas.Chunk) (Plaintext, error) {
	buf := chunk.Buffers.Get()
	plain, err := r.opt.Keys.OpenData(buf, c.ID, c.Content)
	if err != nil {
		chunk.Buffers.Put(buf)
		return Plaintext{}, r.otherReplica(c.ID, err)
	}
	return Plaintext{Bytes: plain, buffer: buf}, nil
}

// Matches reports whether plain is the content of the data chunk id.
func (r *Reader) Matches(id schemas.ChunkID, plain []byte) bool {
	return r.opt.Keys.DataID(plain) == id
}

// AppendPiece fetches the chunk of a piece and appends the piece to dst.
func (r *Reader) AppendPiece(ctx context.Context, dst []byte, p tree.Piece) ([]byte, error) {
	err := r.Fetch(ctx, []schemas.ChunkID{p.ID}, func(_ int, c *schemas.Chunk) error {
		plain, err := r.Open(c)
		if err != nil {
			return err
		}
		defer plain.Release()
		part, err := p.Cut(plain.Bytes)
		dst = append(dst, part...)
		return err
	})
	return dst, err
}

// TreeNodes fetches and opens tree chunks; it is a [tree.Getter].
func (r *Reader) TreeNodes(ctx context.Context, ids []schemas.ChunkID) ([]tree.Node, error) {
	nodes := make([]tree.Node, len(ids))
	err := r.Fetch(ctx, ids, func(i int, c *schemas.Chunk) error {
		payload, err := r.opt.Keys.OpenTree(nil, c)
		nodes[i] = tree.Node{Payload: payload, Trees: c.Trees, Data: c.Data}
		return r.otherReplica(c.ID, err)
	})
	return nodes, err
}

// otherReplica makes Fetch ask for another replica of a chunk if err is about its damage, and have
// the nodes note it.
func (r *Reader) otherReplica(id schemas.ChunkID, err error) error {
	if !IsDamage(err) {
		return err
	}
	r.bad.LoadOrStore(id, false)
	r.anyBad.Store(true)
	return replica.BadReplica(err)
}

// void has the nodes note which parts of those chunks among ids do not open that did not, once for
// each chunk. A backup of the same content then sends them again.
func (r *Reader) void(ctx context.Context, ids []schemas.ChunkID) {
	if !r.anyBad.Load() || ctx.Err() != nil {
		return
	}
	opens := func(c *schemas.Chunk) (err error) {
		buf := chunk.Buffers.Get()
		defer chunk.Buffers.Put(buf)
		if c.Kind == schemas.Tree {
			_, err = r.opt.Keys.OpenTree(buf, c)
		} else {
			_, err = r.opt.Keys.OpenData(buf, c.ID, c.Content)
		}
		if IsDamage(err) {
			return replica.BadReplica(err)
		}
		return err
	}
	for _, id := range ids {
		if r.bad.CompareAndSwap(id, false, true) {
			found, noted := r.opt.Replicas.Void(ctx, r.opt.Vault, id, opens)
			r.unnoted.Add(int64(found - noted))
		}
	}
}

// Unnoted returns how many parts were found not to open whose nodes have not noted it: they did
// not respond, or cannot write. Such a part counts as held, and a backup does not replace it.
func (r *Reader) Unnoted() int64 { return r.unnoted.Load() }

// IsDamage reports whether err is about a single chunk, which is damaged, lost, or on a disk that
// does not give it, and not about the way to it: files without that chunk can still be restored.
func IsDamage(err error) bool {
	if errors.Is(err, seal.ErrDamaged) {
		return true
	}
	switch schemas.CodeOf(err) {
	case schemas.Corrupt, schemas.NotHeld:
		return true
	case schemas.DiskFailed: // beside it, another node may not have responded
		return !transfer.IsUnresponsive(err)
	}
	return false
}

// errNoLongerUp says that a node which was reachable at the start no longer is, and may hold
// the chunk.
var errNoLongerUp = fmt.Errorf("a storage node that may hold it is no longer up: %w", bus.ErrNoResponders)

// mayBeOldMap reports whether the reason for err may be that the node map is out of date.
func mayBeOldMap(err error) bool {
	code := schemas.CodeOf(err)
	return err != nil && (code == schemas.NotHeld || code == schemas.NoNode || transfer.IsUnresponsive(err))
}

// renewMap takes over the newest node map. If no coordinator answers, the map stays as it is.
func (r *Reader) renewMap(ctx context.Context) {
	if r.opt.NewestMap == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.renewed) < renewPause {
		return
	}
	m, err := r.opt.NewestMap(ctx)
	r.renewed = time.Now()
	if err == nil {
		r.opt.Replicas.SetMap(m)
	}
}

// lacksNode reports whether some node is reachable by the old map and not by the newer one.
func lacksNode(newer, old *schemas.NodeMap) bool {
	return slices.ContainsFunc(old.Nodes, func(n schemas.Node) bool {
		now := newer.Find(n.ID)
		return n.State.Reachable() && (now == nil || !now.State.Reachable())
	})
}
