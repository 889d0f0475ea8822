package catalog

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/vmihailenco/msgpack/v5"

	"servidor-backup/bus"
	"servidor-backup/bus/kv"
	"servidor-backup/bus/replica"
	"servidor-backup/coordinator/internal/lease"
	"servidor-backup/schemas"
	"servidor-backup/schemas/placement"
)

// A value is backed up in the background, after it was written: no request fails because a
// backup cannot be made now. From time to time one coordinator scans for values
// without a backup.

// backupQueue is how many keys may wait for their backup; the next scan finds the others.
const backupQueue = 1024

// backupEvery is how often a scan looks for values without a backup.
const backupEvery = 5 * time.Minute

// QueueBackup asks for a backup of the value of a key, which was just written. It does not block.
func (c *Catalog) QueueBackup(key string) {
	select {
	case c.toBackUp <- key:
	default:
	}
}

// ScanBackup wakes a scan for values without a backup. It does not block.
func (c *Catalog) ScanBackup() {
	select {
	case c.scan <- struct{}{}:
	default:
	}
}

// RunBackup backs up values that were written, and scans for values without a backup when this
// coordinator has started, from time to time, and when [Catalog.ScanBackup] asks for it. It
// returns when run ends.
func (c *Catalog) RunBackup(run context.Context) {
	next := time.NewTimer(rand.N(2 * time.Second))
	defer next.Stop()
	for {
		var err error
		select {
		case <-run.Done():
			return
		case key := <-c.toBackUp:
			err = c.backUpKey(run, key)
		case flushed := <-c.flush:
			err = c.backUpQueue(run)
			close(flushed)
		case <-c.scan:
			next.Reset(0)
		case <-next.C:
			next.Reset(backupEvery + rand.N(backupEvery/5))
			err = c.backUpAll(run)
		}
		if err != nil && run.Err() == nil {
			c.opt.Log.Warn("the catalogue's backup is not complete", "error", err)
		}
	}
}

// backUpQueue backs up what waits for its backup now.
func (c *Catalog) backUpQueue(ctx context.Context) error {
	for {
		select {
		case key := <-c.toBackUp:
			if err := c.backUpKey(ctx, key); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

// FlushBackup waits until everything that was queued has been backed up, or could not be.
func (c *Catalog) FlushBackup(ctx context.Context) error {
	flushed := make(chan struct{})
	select {
	case c.flush <- flushed:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-flushed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// isBackedUp reports whether values of that key are backed up.
func (c *Catalog) isBackedUp(key string) bool {
	return key == systemKey || strings.HasPrefix(key, versionPrefix) || strings.HasPrefix(key, vaultPrefix) || strings.HasPrefix(key, c.opt.PolicyPrefix)
}

// bucketOf is the bucket of a key that is backed up.
func (c *Catalog) bucketOf(key string) *kv.Bucket {
	if strings.HasPrefix(key, c.opt.PolicyPrefix) {
		return c.policies
	}
	return c.catalogue
}

// Entries calls visit with every value that is backed up, in the order of their last writes;
// policies come last. Deleted values are among them.
func (c *Catalog) Entries(ctx context.Context, visit func(*schemas.CatalogueEntry) error) error {
	base, err := c.revisionBase(ctx)
	if err != nil {
		return err
	}
	each := func(e kv.Entry) error {
		if !c.isBackedUp(e.Key) {
			return nil
		}
		return visit(&schemas.CatalogueEntry{Key: e.Key, Revision: base + e.Revision, Value: e.Raw(), Deleted: e.Deleted})
	}
	if err := c.catalogue.ScanAll(ctx, ">", each); err != nil {
		return err
	}
	return c.policies.Scan(ctx, c.opt.PolicyPrefix+">", each) // policies are never deleted
}

// BackupChunk is the chunk that backs up an entry.
func BackupChunk(e *schemas.CatalogueEntry) (schemas.Chunk, error) {
	b, err := schemas.Marshal(e)
	chunk := schemas.Chunk{ID: schemas.PlainChunkID(schemas.CatalogueVault(), b), Kind: schemas.Plain, Content: b}
	chunk.Sum = chunk.Checksum()
	return chunk, err
}

// backUpKey backs up a key's value, unless the value was deleted since.
func (c *Catalog) backUpKey(ctx context.Context, key string) error {
	var value msgpack.RawMessage
	revision, err := c.bucketOf(key).Get(ctx, key, &value)
	if errors.Is(err, kv.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	base, err := c.revisionBase(ctx)
	if err != nil {
		return err
	}
	chunk, err := BackupChunk(&schemas.CatalogueEntry{Key: key, Revision: base + revision, Value: value})
	if err != nil {
		return err
	}
	return c.store(ctx, []schemas.Chunk{chunk})
}

// store puts those of the chunks that have fewer replicas than they should have.
func (c *Catalog) store(ctx context.Context, chunks []schemas.Chunk) error {
	vault := schemas.CatalogueVault()
	nodes := c.opt.Map()
	d := nodes.DurabilityOf(vault)
	ids := make([]schemas.ChunkID, len(chunks))
	for i := range chunks {
		ids[i] = chunks[i].ID
	}
	// A node that does not respond counts as one that has none of them.
	held, _ := replica.NewReader(c.nc, nodes).Have(ctx, vault, ids)
	p := placement.New(nodes)
	for i := range chunks {
		if held[i] {
			continue
		}
		// If there are fewer nodes than replicas, all nodes get one.
		set := p.Place(nil, ids[i], d.Replicas())
		if err := c.opt.Put(ctx, set, vault, &chunks[i]); err != nil {
			return err
		}
	}
	return nil
}

// backupBatch is how many bytes of backup chunks are in memory at a time.
const backupBatch = 4 << 20

// noNodeRetry is how long a scan is put off while no node takes data.
const noNodeRetry = time.Second

// backUpAll backs up all values that have no backup, unless another coordinator does it.
func (c *Catalog) backUpAll(ctx context.Context) error {
	held, release, err := c.leases.Take(ctx, lease.Backup)
	if errors.Is(err, lease.ErrHeld) {
		return nil
	}
	if err != nil {
		return err
	}
	defer release()
	if len(c.opt.Map().Writable()) == 0 {
		time.AfterFunc(noNodeRetry, c.ScanBackup)
		return nil
	}
	var batch []schemas.Chunk
	bytes := 0
	flush := func() error {
		err := c.store(held, batch)
		batch, bytes = nil, 0
		return err
	}
	err = c.Entries(held, func(e *schemas.CatalogueEntry) error {
		chunk, err := BackupChunk(e)
		if err != nil {
			return err
		}
		batch, bytes = append(batch, chunk), bytes+len(chunk.Content)
		if bytes < backupBatch {
			return nil
		}
		return flush()
	})
	if err != nil || len(batch) == 0 {
		return err
	}
	return flush()
}

// backupIDs lists the chunks of catalogue backups that nodes have, sorted. It fails if one of
// the nodes does not respond.
func (c *Catalog) backupIDs(ctx context.Context, nodes []schemas.NodeID) (ids []schemas.ChunkID, err error) {
	for _, n := range nodes {
		req := &schemas.ChunksRequest{Vault: schemas.CatalogueVault()}
		for {
			var rep schemas.ChunkIDsReply
			if err := bus.Request(ctx, c.nc, schemas.ChunksSubject(n), req, &rep); err != nil {
				return nil, err
			}
			if len(rep.IDs) < len(schemas.ChunkID{}) {
				break
			}
			for b := range slices.Chunk(rep.IDs, len(schemas.ChunkID{})) {
				var id schemas.ChunkID
				copy(id[:], b)
				ids, req.After = append(ids, id), &id
			}
		}
	}
	slices.SortFunc(ids, func(a, b schemas.ChunkID) int { return slices.Compare(a[:], b[:]) })
	return slices.Compact(ids), nil
}

// readBackup calls visit, from several goroutines, with the entries in backup chunks. It skips
// a chunk that cannot be read any more, or holds no entry.
func (c *Catalog) readBackup(ctx context.Context, nodes *schemas.NodeMap, ids []schemas.ChunkID, visit func(*schemas.CatalogueEntry)) error {
	vault, reader := schemas.CatalogueVault(), replica.NewReader(c.nc, nodes)
	decode := func(_ int, chunk *schemas.Chunk) error {
		e := new(schemas.CatalogueEntry)
		if schemas.PlainChunkID(vault, chunk.Content) != chunk.ID {
			return replica.BadReplica(schemas.Errorf(schemas.Corrupt, "it does not match its id"))
		}
		if schemas.Unmarshal(chunk.Content, e) == nil && c.isBackedUp(e.Key) {
			visit(e)
		} else {
			c.opt.Log.Warn("a chunk in the vault of the catalogue holds no entry of it", "chunk", chunk.ID)
		}
		return nil
	}
	unreadable := func(err error) bool {
		code := schemas.CodeOf(err)
		return code == schemas.NotHeld || code == schemas.Corrupt
	}
	for batch := range slices.Chunk(ids, replica.MaxIDs) {
		err := reader.Fetch(ctx, vault, batch, false, decode)
		if err == nil {
			continue
		}
		if !unreadable(err) {
			return err
		}
		// One by one, so that a chunk that cannot be read does not hide others.
		for i := range batch {
			if err := reader.Fetch(ctx, vault, batch[i:i+1], false, decode); err != nil && !unreadable(err) {
				return err
			}
		}
	}
	return nil
}
