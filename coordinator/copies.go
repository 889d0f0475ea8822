package coordinator

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/vmihailenco/msgpack/v5"

	"servidor-backup/bus/kv"
	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
	"servidor-backup/schemas/placement"
)

// Nodes keep copies of what matters of the catalogue, as plain chunks in a vault of
// their own, so that it can be made anew when JetStream is lost (rebuild.go). A value is
// copied after it was written, beside what was asked for: that a copy cannot be made
// now is nobody's failure. One coordinator looks from time to time for what has none.

// hasCopies reports whether values of that key are copied.
func hasCopies(key string) bool {
	return strings.HasPrefix(key, versionPrefix) || strings.HasPrefix(key, vaultPrefix) || strings.HasPrefix(key, policyPrefix)
}

// copyQueue is how many values may wait to be copied; what is beyond waits for the look.
const copyQueue = 1024

// copiesEvery is how often it is looked for values without a copy.
const copiesEvery = 5 * time.Minute

// wrote notes that a value was written, which is to be copied.
func (c *Coordinator) wrote(key string) {
	select {
	case c.written <- key:
	default:
	}
}

// keepCopies copies what was written, and looks for what was not copied at once, when
// this coordinator comes up, and whenever look is asked for.
func (c *Coordinator) keepCopies() {
	look := time.NewTimer(rand.N(2 * time.Second))
	defer look.Stop()
	for {
		var err error
		select {
		case <-c.run.Done():
			return
		case key := <-c.written:
			err = c.copyKey(c.run, key)
		case <-c.lookForCopies:
			look.Reset(0)
		case <-look.C:
			look.Reset(copiesEvery + rand.N(copiesEvery/5))
			err = c.copyAll(c.run)
		}
		if err != nil && c.run.Err() == nil {
			c.opt.Log.Warn("the catalogue's copies are not complete", "error", err)
		}
	}
}

// bucketOf is where a key that has copies is.
func (c *Coordinator) bucketOf(key string) *kv.Bucket {
	if strings.HasPrefix(key, policyPrefix) {
		return c.members.kv
	}
	return c.records.kv
}

// copyKey makes a key's value be held.
func (c *Coordinator) copyKey(ctx context.Context, key string) error {
	var value msgpack.RawMessage
	revision, err := c.bucketOf(key).Get(ctx, key, &value)
	if errors.Is(err, kv.ErrNotFound) {
		return nil // collected since
	}
	if err != nil {
		return err
	}
	base, err := c.state.copyBase(ctx)
	if err != nil {
		return err
	}
	chunk, err := copyOf(&schemas.CatalogueEntry{Key: key, Revision: base + revision, Value: value})
	if err != nil {
		return err
	}
	return c.hold(ctx, []schemas.Chunk{chunk})
}

// copyOf is the chunk for a value.
func copyOf(e *schemas.CatalogueEntry) (schemas.Chunk, error) {
	b, err := schemas.Marshal(e)
	chunk := schemas.Chunk{ID: schemas.PlainChunkID(schemas.CatalogueVault(), b), Kind: schemas.Plain, Content: b}
	chunk.Sum = chunk.Checksum()
	return chunk, err
}

// hold stores those of the chunks that are not held by so many nodes as they should be.
func (c *Coordinator) hold(ctx context.Context, chunks []schemas.Chunk) error {
	vault := schemas.CatalogueVault()
	nodes := c.members.nodeMap()
	d := nodes.DurabilityOf(vault)
	ids := make([]schemas.ChunkID, len(chunks))
	for i := range chunks {
		ids[i] = chunks[i].ID
	}
	// What is not known to be held, because a node does not answer, is stored.
	held, _ := replica.NewReader(c.nc, nodes).Have(ctx, vault, ids)
	placement := placement.New(nodes)
	for i := range chunks {
		if held[i] {
			continue
		}
		// With fewer nodes than it needs a copy is better than none.
		set := placement.Place(nil, ids[i], d.Replicas())
		if err := c.put(ctx, set, vault, &chunks[i]); err != nil {
			return err
		}
	}
	return nil
}

// copyBatch is how many bytes of copies are in memory at a time.
const copyBatch = 4 << 20

// copyAll copies what has no copies.
func (c *Coordinator) copyAll(ctx context.Context) error {
	held, release, err := c.leases.take(ctx, "copies")
	if errors.Is(err, errHeld) {
		return nil
	}
	if err != nil {
		return err
	}
	defer release()
	if len(c.members.nodeMap().Writable()) == 0 {
		time.AfterFunc(time.Second, c.look)
		return nil
	}
	var some []schemas.Chunk
	bytes := 0
	flush := func() error {
		err := c.hold(held, some)
		some, bytes = nil, 0
		return err
	}
	err = c.eachEntry(held, func(e *schemas.CatalogueEntry) error {
		chunk, err := copyOf(e)
		if err != nil {
			return err
		}
		some, bytes = append(some, chunk), bytes+len(chunk.Content)
		if bytes < copyBatch {
			return nil
		}
		return flush()
	})
	if err != nil || len(some) == 0 {
		return err
	}
	return flush()
}

// look asks for a look for what has no copies.
func (c *Coordinator) look() {
	select {
	case c.lookForCopies <- struct{}{}:
	default:
	}
}

// eachEntry calls visit for everything that has copies.
func (c *Coordinator) eachEntry(ctx context.Context, visit func(*schemas.CatalogueEntry) error) error {
	base, err := c.state.copyBase(ctx)
	if err != nil {
		return err
	}
	each := func(e kv.Entry) error {
		if !hasCopies(e.Key) {
			return nil
		}
		return visit(&schemas.CatalogueEntry{Key: e.Key, Revision: base + e.Revision, Value: e.Raw(), Deleted: e.Deleted})
	}
	if err := c.records.kv.ScanAll(ctx, ">", each); err != nil {
		return err
	}
	return c.members.kv.Scan(ctx, policyPrefix+">", each) // which are never deleted
}
