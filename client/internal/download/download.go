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

// fetchTime is for how long a chunk is asked for of nodes that have answered before, and
// may be restarting.
const fetchTime = 20 * time.Second

// renewTime is how long after a question for the node map no other is asked.
const renewTime = time.Second

// Reader reads the chunks of a vault: it fetches them from the storage nodes,
// as fast as a throttle allows and as often as it takes, and opens them. It is safe
// for concurrent use.
type Reader struct {
	keys     *seal.Keys
	vault    schemas.VaultID
	Retry    transfer.Retry
	Throttle *transfer.Throttle // of the bytes that come; nil is no limit
	first    *schemas.NodeMap   // the map at the start
	// newestMap asks for the node map; nil leaves it as it is.
	NewestMap func(context.Context) (*schemas.NodeMap, error)

	mu      sync.Mutex
	renewed time.Time
}

func NewReader(k *seal.Keys, vault schemas.VaultID, holders *replica.Reader, status func(string)) *Reader {
	return &Reader{
		keys: k, vault: vault, first: holders.Map(),
		Retry: transfer.Retry{Reader: holders, Limit: fetchTime, Status: status},
	}
}

// Received is how many bytes of chunks have come from nodes so far.
func (r *Reader) Received() int64 { return r.Retry.Reader.BytesReceived() }

// Chunks fetches chunks, which are still sealed, and calls got once for each, in
// any order and from several goroutines; place is the chunk's place in ids. If got
// answers with an error of open, another replica of the chunk is asked for. What
// no node can deliver is an error that [IsDamage].
func (r *Reader) Chunks(ctx context.Context, ids []schemas.ChunkID, got func(place int, c *schemas.Chunk) error) error {
	if err := r.Throttle.Enter(ctx); err != nil {
		return err
	}
	defer r.Throttle.Leave()
	d := &chunkDownload{r: r, ids: ids, got: got, came: make([]atomic.Bool, len(ids))}
	for start := time.Now(); ; {
		err := d.attempt(ctx)
		if err == nil {
			return r.Throttle.Wait(ctx, int(d.bytes.Load()))
		}
		if err = r.Retry.Pause(ctx, start, err); err != nil {
			return err
		}
	}
}

// chunkDownload is one call of chunks.
type chunkDownload struct {
	r     *Reader
	ids   []schemas.ChunkID
	got   func(place int, c *schemas.Chunk) error
	came  []atomic.Bool // for each id: got has taken the chunk
	bytes atomic.Int64
}

// attempt asks for what has not come yet. What is not found is looked for again
// with a newer node map, if there is one.
func (d *chunkDownload) attempt(ctx context.Context) error {
	holders := d.r.Retry.Reader
	before := holders.Map().Epoch
	err := d.ask(ctx)
	if !isAbsence(err) {
		return err
	}
	d.r.renewMap(ctx)
	if holders.Map().Epoch != before {
		err = d.ask(ctx)
	}
	if schemas.CodeOf(err) == schemas.NotHeld && leavesOut(holders.Map(), d.r.first) {
		// It is rather waited for than its chunks taken for lost.
		return fmt.Errorf("%w: %v", errLeft, err)
	}
	return err
}

func (d *chunkDownload) ask(ctx context.Context) error {
	var at []int
	var rest []schemas.ChunkID
	for i := range d.ids {
		if !d.came[i].Load() {
			at, rest = append(at, i), append(rest, d.ids[i])
		}
	}
	return d.r.Retry.Reader.Fetch(ctx, d.r.vault, rest, false, func(i int, c *schemas.Chunk) error {
		d.bytes.Add(int64(c.Size()))
		err := d.got(at[i], c)
		d.came[at[i]].Store(err == nil)
		return err
	})
}

// Recoverable reports for each chunk whether nodes hold enough to read it.
func (r *Reader) Recoverable(ctx context.Context, ids []schemas.ChunkID) (held []bool, err error) {
	err = r.Retry.Do(ctx, func() (err error) {
		held, err = r.Retry.Reader.Recoverable(ctx, r.vault, ids)
		return err
	})
	return held, err
}

// Chunk is a data chunk in the clear.
type Chunk struct{ Bytes, buffer []byte }

// Release ends the use of the bytes.
func (p Chunk) Release() { chunk.Buffers.Put(p.buffer) }

// Open opens a data chunk, whose sealed bytes are lost with that. The error of a
// chunk that is damaged makes [Reader.chunks] ask for another replica.
func (r *Reader) Open(c *schemas.Chunk) (Chunk, error) {
	buf := chunk.Buffers.Get()
	plain, err := r.keys.OpenData(buf, c.ID, c.Content)
	if err != nil {
		chunk.Buffers.Put(buf)
		return Chunk{}, otherReplica(err)
	}
	return Chunk{Bytes: plain, buffer: buf}, nil
}

// Matches reports whether plain is the content of the data chunk id.
func (r *Reader) Matches(id schemas.ChunkID, plain []byte) bool {
	return r.keys.DataID(plain) == id
}

// AppendPiece fetches the chunk of a piece and appends the piece to dst.
func (r *Reader) AppendPiece(ctx context.Context, dst []byte, p tree.Piece) ([]byte, error) {
	err := r.Chunks(ctx, []schemas.ChunkID{p.ID}, func(_ int, c *schemas.Chunk) error {
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

// TreeNodes fetches and opens tree chunks; it is a Getter.
func (r *Reader) TreeNodes(ctx context.Context, ids []schemas.ChunkID) ([]tree.Node, error) {
	nodes := make([]tree.Node, len(ids))
	err := r.Chunks(ctx, ids, func(place int, c *schemas.Chunk) error {
		payload, err := r.keys.OpenTree(nil, c)
		nodes[place] = tree.Node{Payload: payload, Trees: c.Trees, Data: c.Data}
		return otherReplica(err)
	})
	return nodes, err
}

// otherReplica asks for another replica of a chunk that is damaged.
func otherReplica(err error) error {
	if IsDamage(err) {
		return replica.BadReplica(err)
	}
	return err
}

// IsDamage reports whether err is about one chunk, and not about the way to it:
// other files can still be brought back.
func IsDamage(err error) bool {
	code := schemas.CodeOf(err)
	return code == schemas.Corrupt || code == schemas.NotHeld || errors.Is(err, seal.ErrDamaged)
}

// errLeft says that a node which was there has left, and may have had what is asked for.
var errLeft = fmt.Errorf("a storage node is away: %w", bus.ErrNoResponders)

// isAbsence reports whether err may come of a node map that is out of date.
func isAbsence(err error) bool {
	code := schemas.CodeOf(err)
	return err != nil && (code == schemas.NotHeld || code == schemas.NoNode || transfer.IsUnresponsive(err))
}

// renewMap follows the newest node map. A coordinator that does not answer changes
// nothing.
func (r *Reader) renewMap(ctx context.Context) {
	if r.NewestMap == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.renewed) < renewTime {
		return
	}
	m, err := r.NewestMap(ctx)
	r.renewed = time.Now()
	if err == nil {
		r.Retry.Reader.SetMap(m)
	}
}

// leavesOut reports whether some node could be asked under the old map and cannot
// under the newer one.
func leavesOut(newer, old *schemas.NodeMap) bool {
	return slices.ContainsFunc(old.Nodes, func(n schemas.Node) bool {
		now := newer.Find(n.ID)
		return n.State.Reachable() && (now == nil || !now.State.Reachable())
	})
}
