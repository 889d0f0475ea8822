package catalog

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/vmihailenco/msgpack/v5"

	"servidor-backup/bus/kv"
	"servidor-backup/coordinator/internal/lease"
	"servidor-backup/schemas"
)

// mergeTries is how often a merge is tried again because the catalogue has changed meanwhile.
const mergeTries = 20

// Rebuild brings back what the catalogue has lost, be it everything, from the backups on nodes;
// see merge. What was saved since stays, and more may be saved meanwhile. A rebuild that has
// failed half-way continues when it is called again.
func (c *Catalog) Rebuild(ctx context.Context) (*schemas.RebuildReply, error) {
	// Nothing must be collected for half a catalogue. After a rebuild that was broken off, no
	// collection runs as long as nodes know more.
	held, release, err := c.leases.TakeSoon(ctx, lease.Collection)
	if err != nil {
		return nil, err
	}
	defer release()
	rep := &schemas.RebuildReply{Reply: schemas.OK}
	nodes := c.opt.Map()
	var reachable []schemas.NodeID
	for i := range nodes.Nodes {
		if n := &nodes.Nodes[i]; n.State.Reachable() {
			reachable = append(reachable, n.ID)
		} else {
			rep.NotAsked = append(rep.NotAsked, n.Name)
		}
	}
	if len(reachable) == 0 {
		return nil, schemas.Explain(schemas.NoNode, "no-node-to-rebuild", "no storage node is up: start all of them first")
	}
	m := newMerge()
	highestRevision, err := c.mergeBackup(held, m, nodes, reachable)
	if err != nil {
		return nil, err
	}
	defer c.logMoves(m) // even if it fails: the next call does not tell of them any more
	if rep.Keys, err = c.mergeUntilDone(held, m, highestRevision); err != nil {
		return nil, err
	}
	rep.Moved = m.moves()
	c.ScanBackup()
	return rep, c.Begin(held)
}

func (c *Catalog) logMoves(m *merge) {
	for _, moved := range m.moves() {
		c.opt.Log.Info("a version has another number", "apelido", moved.Nickname, "from", moved.From, "to", moved.To)
	}
}

// mergeUntilDone merges the catalogue into m and writes the result, again and again until
// nothing is left to write, as versions may be saved meanwhile. It returns how many values it
// has written.
func (c *Catalog) mergeUntilDone(ctx context.Context, m *merge, highestRevision map[*kv.Bucket]uint64) (written int64, err error) {
	for range mergeTries + 1 {
		now, behind, err := c.mergeOnce(ctx, m, highestRevision)
		written += now
		changed := errors.Is(err, kv.ErrExists) || errors.Is(err, kv.ErrConflict)
		if err != nil && !changed {
			return written, err
		}
		if !changed && now == 0 {
			// Last of all, as this lets collections run again.
			return written, c.continueNumbers(ctx, behind)
		}
	}
	return written, schemas.Explain(schemas.Unavailable, "catalogue-changes", "the catalogue changes all the time: ask again")
}

// mergeBackup adds the backups on nodes to m. It returns the highest revision in them, for
// each bucket.
func (c *Catalog) mergeBackup(ctx context.Context, m *merge, nodes *schemas.NodeMap, from []schemas.NodeID) (highestRevision map[*kv.Bucket]uint64, err error) {
	ids, err := c.backupIDs(ctx, from)
	if err != nil {
		return nil, err
	}
	highestRevision = map[*kv.Bucket]uint64{}
	var mu sync.Mutex
	err = c.readBackup(ctx, nodes, ids, func(e *schemas.CatalogueEntry) {
		mu.Lock()
		defer mu.Unlock()
		b := c.bucketOf(e.Key)
		highestRevision[b] = max(highestRevision[b], e.Revision)
		if err := m.add(e); err != nil {
			c.opt.Log.Warn("an entry in the catalogue's backup cannot be understood", "key", e.Key, "error", err)
		}
	})
	// The epochs of a lost bucket say nothing: nodes must be asked what they hold of a version.
	for _, v := range m.versions {
		v.version.Epoch, v.version.Tolerates, v.version.Losses = 0, 0, 0
	}
	return highestRevision, err
}

// mergeOnce adds the catalogue as it is now to m, and writes the values that differ. behind is
// how far the catalogue's revisions are behind the highest ones in the backup.
func (c *Catalog) mergeOnce(ctx context.Context, m *merge, highestRevision map[*kv.Bucket]uint64) (written int64, behind uint64, err error) {
	w := mergeWriter{c: c, ctx: ctx, now: map[string]*schemas.CatalogueEntry{}, heads: map[string]Head{}}
	if w.base, err = c.revisionBase(ctx); err != nil {
		return 0, 0, err
	}
	reached := map[*kv.Bucket]uint64{} // the highest revision in the bucket, or what it began with
	for b := range highestRevision {
		reached[b] = w.base + b.FirstRevision()
	}
	err = c.Entries(ctx, func(e *schemas.CatalogueEntry) error {
		b := c.bucketOf(e.Key)
		reached[b] = max(reached[b], e.Revision)
		w.now[e.Key] = e
		return m.add(e)
	})
	if err != nil {
		return 0, 0, err
	}
	if now := w.now[systemKey]; now != nil && !now.Deleted {
		m.values[systemKey] = now // the id of a catalogue never changes
	}
	for b, r := range highestRevision {
		behind = max(behind, r-min(r, reached[b]))
	}
	err = c.catalogue.Scan(ctx, recordPrefix+">", func(e kv.Entry) error {
		var h Head
		err := e.Decode(&h)
		h.complete()
		w.heads[e.Key] = h
		m.raise(e.Key, highest{h.Highest, h.Last})
		return err
	})
	if err == nil {
		err = w.write(m)
	}
	return w.written, behind, err
}

// mergeWriter applies a merge to the catalogue.
type mergeWriter struct {
	c       *Catalog
	ctx     context.Context
	now     map[string]*schemas.CatalogueEntry // the catalogue's entries before
	heads   map[string]Head                    // and heads
	base    uint64                             // of the revisions in now
	written int64
}

// write writes versions under free keys before it replaces any: at each moment every version
// is under some key.
func (w *mergeWriter) write(m *merge) error {
	for key, e := range m.values {
		if err := w.put(key, e.Value); err != nil {
			return err
		}
	}
	all := m.renumber()
	for _, taken := range []bool{false, true} {
		for key, v := range all {
			if now := w.now[key]; taken != (now != nil && !now.Deleted) {
				continue
			}
			if err := w.putVersion(key, v); err != nil {
				return err
			}
		}
	}
	if err := w.buryMoved(all); err != nil {
		return err
	}
	return w.putHeads(m.headsOf(all))
}

// buryMoved leaves a tombstone without a session under every key whose version has another
// number now.
func (w *mergeWriter) buryMoved(all map[string]*mergedVersion) error {
	for key, now := range w.now {
		if !strings.HasPrefix(key, versionPrefix) || now.Deleted || all[key] != nil {
			continue
		}
		v := new(schemas.Version)
		err := schemas.Unmarshal(now.Value, v)
		if err == nil {
			err = w.bury(key, &schemas.Version{Nickname: v.Nickname, Record: v.Record, Number: v.Number})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// putVersion writes a version, or its tombstone if it was collected.
func (w *mergeWriter) putVersion(key string, v *mergedVersion) error {
	if v.collected {
		return w.bury(key, tombstoneOf(v.version))
	}
	value, err := schemas.Marshal(v.version)
	if err != nil {
		return err
	}
	return w.put(key, value)
}

// put writes a value, unless the key has it already.
func (w *mergeWriter) put(key string, value []byte) (err error) {
	now, b := w.now[key], w.c.bucketOf(key)
	switch {
	case now == nil || now.Deleted:
		_, err = b.Create(w.ctx, key, msgpack.RawMessage(value))
	case bytes.Equal(now.Value, value):
		return nil
	default:
		_, err = b.Update(w.ctx, key, msgpack.RawMessage(value), now.Revision-w.base)
	}
	return w.count(err)
}

// bury leaves only a tombstone under a key, unless the key has it already.
func (w *mergeWriter) bury(key string, tombstone *schemas.Version) error {
	revision := uint64(0)
	if now := w.now[key]; now != nil {
		value, err := schemas.Marshal(tombstone)
		if err != nil || now.Deleted && bytes.Equal(value, now.Value) {
			return err
		}
		revision = now.Revision - w.base
	}
	return w.count(w.c.catalogue.DeleteRevision(w.ctx, key, revision, tombstone))
}

func (w *mergeWriter) count(err error) error {
	if err == nil {
		w.written++
	}
	return err
}

// putHeads makes heads show their versions.
func (w *mergeWriter) putHeads(heads map[string]*recordHead) error {
	for key, h := range heads {
		if w.heads[key] == h.Head {
			continue
		}
		if err := w.c.refreshHead(w.ctx, h.nickname, h.Name); err != nil {
			return err
		}
		err := w.c.editHead(w.ctx, h.nickname, h.Name, func(now *Head) error {
			now.Highest, now.Last = max(now.Highest, h.Highest), max(now.Last, h.Last)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
