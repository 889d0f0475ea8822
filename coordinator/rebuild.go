package coordinator

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vmihailenco/msgpack/v5"

	"servidor-backup/bus"
	"servidor-backup/schemas"
)

// rebuild answers backup.rebuild: it makes a catalogue that was lost anew from the
// copies on the nodes. Of each value the newest that any node has counts. One that
// failed half-way goes on when it is asked for again.
func (c *Coordinator) rebuild(ctx context.Context, _ *schemas.RebuildRequest) (any, error) {
	// Nothing must be collected while there is half a catalogue.
	held, release, err := c.leases.takeSoon(c.run, collectLease)
	if err != nil {
		return nil, err
	}
	defer release()
	defer context.AfterFunc(ctx, release)()
	base, err := c.state.copyBase(held)
	if err != nil {
		return nil, err
	}
	// One that goes on finds versions that it has written itself.
	goesOn := base.Half
	if !goesOn {
		if err := c.hasNoVersions(held); err != nil {
			return nil, err
		}
	}
	nodes := c.members.nodeMap()
	var reachable []schemas.NodeID
	for i := range nodes.Nodes {
		if n := &nodes.Nodes[i]; n.State.Reachable() {
			reachable = append(reachable, n.ID)
		}
	}
	if len(reachable) == 0 {
		return nil, schemas.Errorf(schemas.NoNode, "no storage node can be asked: start them first, as many as there are")
	}
	// From here on nobody saves: a new version would take the place of an old one.
	if err := c.state.editCopyBase(held, func(b *copyBase) { b.Half = true }); err != nil {
		return nil, err
	}
	newest, highest, err := c.newestCopies(held, nodes, reachable)
	if err == nil && !goesOn {
		err = c.hasNoVersions(held) // of who was about to be saved already
	}
	if err != nil {
		if !goesOn {
			err = errors.Join(err, c.giveUp(ctx))
		}
		return nil, err
	}
	// First, so that whatever is copied from now on goes over what there is.
	if err := c.state.goOn(held, highest); err != nil {
		return nil, err
	}
	rep := &schemas.RebuildReply{Reply: schemas.OK}
	if rep.Keys, err = c.writeAnew(held, newest); err != nil {
		return nil, err
	}
	if err := c.state.editCopyBase(held, func(b *copyBase) { b.Half = false }); err != nil {
		return nil, err
	}
	c.look()
	c.event(schemas.EventCatalogueRebuilt, c.id, "", "the catalogue was made anew from the storage nodes: %d values", rep.Keys)
	return rep, nil
}

// giveUp lets versions be saved again, as nothing was written.
func (c *Coordinator) giveUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return c.state.editCopyBase(ctx, func(b *copyBase) { b.Half = false })
}

// isWhole is an error while the catalogue is being made anew, or is so in part.
func (c *Coordinator) isWhole(ctx context.Context) error {
	base, err := c.state.copyBase(ctx)
	if err == nil && base.Half {
		err = schemas.Errorf(schemas.NotNow, "the catalogue is being made anew: wait until that is done; if it was broken off, do \"backup rebuild-catalogue\" again")
	}
	return err
}

func (c *Coordinator) hasNoVersions(ctx context.Context) error {
	return c.records.kv.Scan(ctx, "version.>", func(bus.Entry) error {
		return schemas.Errorf(schemas.NotNow, "the catalogue has versions: only an empty one is made anew")
	})
}

// newestCopies is what the nodes have of each key, and the highest revision of all.
func (c *Coordinator) newestCopies(ctx context.Context, nodes *schemas.NodeMap, from []schemas.NodeID) (newest map[string]*schemas.CatalogueEntry, highest uint64, err error) {
	copies, err := c.copiesAt(ctx, from)
	if err != nil {
		return nil, 0, err
	}
	newest = map[string]*schemas.CatalogueEntry{}
	var mu sync.Mutex
	err = c.readCopies(ctx, nodes, copies, func(e *schemas.CatalogueEntry) {
		mu.Lock()
		defer mu.Unlock()
		highest = max(highest, e.Revision)
		if old := newest[e.Key]; old == nil || old.Revision < e.Revision {
			newest[e.Key] = e
		}
	})
	return newest, highest, err
}

// copiesAt is which copies of the catalogue nodes have.
func (c *Coordinator) copiesAt(ctx context.Context, nodes []schemas.NodeID) ([]schemas.ChunkID, error) {
	var ids []schemas.ChunkID
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
	return unique(ids), nil
}

// readCopies hands out what is in copies, from several goroutines. One that cannot be
// read any more, or is none, is passed over.
func (c *Coordinator) readCopies(ctx context.Context, nodes *schemas.NodeMap, ids []schemas.ChunkID, got func(*schemas.CatalogueEntry)) error {
	vault, holders := schemas.CatalogueVault(), bus.NewHolders(c.nc, nodes)
	take := func(_ int, chunk *schemas.Chunk) error {
		e := new(schemas.CatalogueEntry)
		if schemas.PlainChunkID(vault, chunk.Content) == chunk.ID && schemas.Unmarshal(chunk.Content, e) == nil && hasCopies(e.Key) {
			got(e)
		} else {
			c.opt.Log.Warn("a copy of the catalogue is none", "chunk", chunk.ID)
		}
		return nil
	}
	for some := range slices.Chunk(ids, bus.MaxIDs) {
		err := holders.Chunks(ctx, vault, some, false, take)
		if code := schemas.CodeOf(err); code == schemas.NotHeld || code == schemas.Corrupt {
			// One by one, so that a bad one does not hide others.
			for i := range some {
				err = holders.Chunks(ctx, vault, some[i:i+1], false, take)
				if code := schemas.CodeOf(err); err != nil && code != schemas.NotHeld && code != schemas.Corrupt {
					return err
				}
			}
		} else if err != nil {
			return err
		}
	}
	return nil
}

// writeAnew writes the values, and returns how many there are.
func (c *Coordinator) writeAnew(ctx context.Context, newest map[string]*schemas.CatalogueEntry) (n int64, err error) {
	heads := map[string]*schemas.Version{} // some version of each record, by the key without its number
	highest := map[string]uint64{}
	for key, e := range newest {
		if strings.HasPrefix(key, "version.") {
			record, number, _ := strings.Cut(strings.TrimPrefix(key, "version."), ".")
			token, digits, _ := strings.Cut(number, ".")
			given, err := strconv.ParseUint(digits, 10, 64)
			if err != nil {
				continue // no key of a version
			}
			record += "." + token
			highest[record] = max(highest[record], given)
			v := new(schemas.Version)
			if !e.Deleted {
				if err := schemas.Unmarshal(e.Value, v); err != nil {
					return n, err
				}
				heads[record] = v
				// Epochs begin anew: what of it is held must be asked.
				v.Epoch, v.Tolerates = 0, 0
			}
			if err := c.writeVersion(ctx, key, v, e.Deleted); err != nil {
				return n, err
			}
		} else if err := c.writeKey(ctx, key, msgpack.RawMessage(e.Value)); err != nil {
			return n, err
		}
		n++
	}
	for record, v := range heads {
		if err := c.records.refresh(ctx, v.Nickname, v.Record); err != nil {
			return n, err
		}
		err := c.records.editHead(ctx, v.Nickname, v.Record, func(h *head) error {
			h.Highest = max(h.Highest, highest[record])
			return nil
		})
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// writeKey writes a value that is not there yet.
func (c *Coordinator) writeKey(ctx context.Context, key string, v any) error {
	_, err := c.bucketOf(key).Create(ctx, key, v)
	if errors.Is(err, bus.ErrExists) {
		return nil
	}
	return err
}

// writeVersion writes one that is not there yet. Of one that was deleted the mark is
// left, after a value without a session. Another one in its place is never taken for
// it, as it could not be found any more.
func (c *Coordinator) writeVersion(ctx context.Context, key string, v *schemas.Version, deleted bool) error {
	kv := c.records.kv
	revision, err := kv.Create(ctx, key, v)
	if errors.Is(err, bus.ErrExists) {
		var there schemas.Version
		if revision, err = kv.Get(ctx, key, &there); err == nil && there.Session != v.Session {
			err = schemas.Errorf(schemas.Internal, "%s was saved anew before the old one could be written (%s): the catalogue is made anew in part only", there.ID, key)
		}
	}
	if err == nil && deleted {
		err = kv.DeleteAt(ctx, key, revision)
	}
	return err
}
