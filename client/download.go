package client

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
	"servidor-backup/schemas"
)

// fetchTime is for how long a chunk is asked for of nodes that have answered before, and
// may be restarting.
const fetchTime = 20 * time.Second

// renewTime is how long after a question for the node map no other is asked.
const renewTime = time.Second

// chunkReader reads the chunks of a vault: it fetches them from the storage nodes,
// as fast as a throttle allows and as often as it takes, and opens them. It is safe
// for concurrent use.
type chunkReader struct {
	keys     *keys
	vault    schemas.VaultID
	retry    retryPolicy
	throttle *throttle        // of the bytes that come; nil is no limit
	first    *schemas.NodeMap // the map at the start
	// newestMap asks for the node map; nil leaves it as it is.
	newestMap func(context.Context) (*schemas.NodeMap, error)

	mu      sync.Mutex
	renewed time.Time
}

func newChunkReader(k *keys, vault schemas.VaultID, holders *replica.Reader, status func(string)) *chunkReader {
	return &chunkReader{
		keys: k, vault: vault, first: holders.Map(),
		retry: retryPolicy{holders: holders, limit: fetchTime, status: status},
	}
}

// received is how many bytes of chunks have come from nodes so far.
func (r *chunkReader) received() int64 { return r.retry.holders.BytesReceived() }

// chunks fetches chunks, which are still sealed, and calls got once for each, in
// any order and from several goroutines; place is the chunk's place in ids. If got
// answers with an error of open, another replica of the chunk is asked for. What
// no node can deliver is an error that [isDamage].
func (r *chunkReader) chunks(ctx context.Context, ids []schemas.ChunkID, got func(place int, c *schemas.Chunk) error) error {
	if err := r.throttle.enter(ctx); err != nil {
		return err
	}
	defer r.throttle.leave()
	d := &chunkDownload{r: r, ids: ids, got: got, came: make([]atomic.Bool, len(ids))}
	for start := time.Now(); ; {
		err := d.attempt(ctx)
		if err == nil {
			return r.throttle.wait(ctx, int(d.bytes.Load()))
		}
		if err = r.retry.pause(ctx, start, err); err != nil {
			return err
		}
	}
}

// chunkDownload is one call of chunks.
type chunkDownload struct {
	r     *chunkReader
	ids   []schemas.ChunkID
	got   func(place int, c *schemas.Chunk) error
	came  []atomic.Bool // for each id: got has taken the chunk
	bytes atomic.Int64
}

// attempt asks for what has not come yet. What is not found is looked for again
// with a newer node map, if there is one.
func (d *chunkDownload) attempt(ctx context.Context) error {
	holders := d.r.retry.holders
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
	return d.r.retry.holders.Fetch(ctx, d.r.vault, rest, false, func(i int, c *schemas.Chunk) error {
		d.bytes.Add(int64(c.Size()))
		err := d.got(at[i], c)
		d.came[at[i]].Store(err == nil)
		return err
	})
}

// recoverable reports for each chunk whether nodes hold enough to read it.
func (r *chunkReader) recoverable(ctx context.Context, ids []schemas.ChunkID) (held []bool, err error) {
	err = r.retry.do(ctx, func() (err error) {
		held, err = r.retry.holders.Recoverable(ctx, r.vault, ids)
		return err
	})
	return held, err
}

// openedChunk is a data chunk in the clear.
type openedChunk struct{ bytes, buffer []byte }

// release ends the use of the bytes.
func (p openedChunk) release() { plains.put(p.buffer) }

// open opens a data chunk, whose sealed bytes are lost with that. The error of a
// chunk that is damaged makes [chunkReader.chunks] ask for another replica.
func (r *chunkReader) open(c *schemas.Chunk) (openedChunk, error) {
	buf := plains.get()
	plain, err := r.keys.unseal(buf, c.ID, c.Content)
	if err != nil {
		plains.put(buf)
		return openedChunk{}, otherReplica(err)
	}
	return openedChunk{bytes: plain, buffer: buf}, nil
}

// matches reports whether plain is the content of the data chunk id.
func (r *chunkReader) matches(id schemas.ChunkID, plain []byte) bool {
	return r.keys.dataID(plain) == id
}

// appendPiece fetches the chunk of a piece and appends the piece to dst.
func (r *chunkReader) appendPiece(ctx context.Context, dst []byte, p Piece) ([]byte, error) {
	err := r.chunks(ctx, []schemas.ChunkID{p.ID}, func(_ int, c *schemas.Chunk) error {
		plain, err := r.open(c)
		if err != nil {
			return err
		}
		defer plain.release()
		part, err := p.cut(plain.bytes)
		dst = append(dst, part...)
		return err
	})
	return dst, err
}

// treeNodes fetches and opens tree chunks; it is a treeGet.
func (r *chunkReader) treeNodes(ctx context.Context, ids []schemas.ChunkID) ([]treeNode, error) {
	nodes := make([]treeNode, len(ids))
	err := r.chunks(ctx, ids, func(place int, c *schemas.Chunk) error {
		payload, err := r.keys.openTree(nil, c)
		nodes[place] = treeNode{payload: payload, trees: c.Trees, data: c.Data}
		return otherReplica(err)
	})
	return nodes, err
}

// otherReplica asks for another replica of a chunk that is damaged.
func otherReplica(err error) error {
	if isDamage(err) {
		return replica.BadReplica(err)
	}
	return err
}

// isDamage reports whether err is about one chunk, and not about the way to it:
// other files can still be brought back.
func isDamage(err error) bool {
	code := schemas.CodeOf(err)
	return code == schemas.Corrupt || code == schemas.NotHeld || errors.Is(err, ErrDamaged)
}

// errLeft says that a node which was there has left, and may have had what is asked for.
var errLeft = fmt.Errorf("a storage node is away: %w", bus.ErrNoResponders)

// isAbsence reports whether err may come of a node map that is out of date.
func isAbsence(err error) bool {
	code := schemas.CodeOf(err)
	return err != nil && (code == schemas.NotHeld || code == schemas.NoNode || isUnresponsive(err))
}

// renewMap follows the newest node map. A coordinator that does not answer changes
// nothing.
func (r *chunkReader) renewMap(ctx context.Context) {
	if r.newestMap == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.renewed) < renewTime {
		return
	}
	m, err := r.newestMap(ctx)
	r.renewed = time.Now()
	if err == nil {
		r.retry.holders.SetMap(m)
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
