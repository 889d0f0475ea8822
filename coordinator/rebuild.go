package coordinator

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/vmihailenco/msgpack/v5"

	"servidor-backup/bus"
	"servidor-backup/bus/kv"
	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
)

// rebuild answers backup.rebuild: it brings back what the catalogue has lost, be it
// everything, from the copies on the nodes, as merge tells. What was saved since stays, and
// more can be saved meanwhile. One that failed half-way goes on when it is asked for again.
func (c *Coordinator) rebuild(ctx context.Context, _ *schemas.RebuildRequest) (any, error) {
	// Nothing must be collected while there is half a catalogue; after one that was broken
	// off, no collection runs as long as nodes know more.
	held, release, err := c.leases.takeSoon(c.run, collectLease)
	if err != nil {
		return nil, err
	}
	defer release()
	defer context.AfterFunc(ctx, release)()
	rep := &schemas.RebuildReply{Reply: schemas.OK}
	nodes := c.members.nodeMap()
	var reachable []schemas.NodeID
	for i := range nodes.Nodes {
		if n := &nodes.Nodes[i]; n.State.Reachable() {
			reachable = append(reachable, n.ID)
		} else {
			rep.Missing = append(rep.Missing, n.Name)
		}
	}
	if len(reachable) == 0 {
		return nil, schemas.Errorf(schemas.NoNode, "no storage node can be asked: start them first, as many as there are")
	}
	m := newMerge()
	highest, err := c.mergeCopies(held, m, nodes, reachable)
	if err != nil {
		return nil, err
	}
	defer func() { // also if it fails: who asks again is not told of these any more
		for _, moved := range m.moves() {
			c.opt.Log.Info("a version has another number", "apelido", moved.Nickname, "from", moved.From, "to", moved.To)
		}
	}()
	for tries := 0; ; tries++ {
		written, behind, err := c.mergeOnce(held, m, highest)
		rep.Keys += written
		again := errors.Is(err, kv.ErrExists) || errors.Is(err, kv.ErrConflict)
		if err != nil && !again {
			return nil, err
		}
		if !again && written == 0 {
			// Last, as only what is whole is collected for.
			if err := c.state.goOn(held, behind); err != nil {
				return nil, err
			}
			break
		}
		// Until there is nothing to do: somebody may have saved meanwhile.
		if tries == mergeTries {
			return nil, schemas.Errorf(schemas.Unavailable, "the catalogue changes all the time: ask again")
		}
	}
	rep.Moved = m.moves()
	c.look()
	c.event(schemas.EventCatalogueRebuilt, c.id, "", "the catalogue was made anew from the storage nodes: %d values", rep.Keys)
	return rep, nil
}

// mergeTries is how often the catalogue may change while it is being written.
const mergeTries = 20

// mergeCopies adds what the nodes have copies of. highest is the highest revision of each
// bucket.
func (c *Coordinator) mergeCopies(ctx context.Context, m *merge, nodes *schemas.NodeMap, from []schemas.NodeID) (highest map[*kv.Bucket]uint64, err error) {
	copies, err := c.copiesAt(ctx, from)
	if err != nil {
		return nil, err
	}
	highest = map[*kv.Bucket]uint64{}
	var mu sync.Mutex
	err = c.readCopies(ctx, nodes, copies, func(e *schemas.CatalogueEntry) {
		mu.Lock()
		defer mu.Unlock()
		b := c.bucketOf(e.Key)
		highest[b] = max(highest[b], e.Revision)
		if err := m.add(e); err != nil {
			c.opt.Log.Warn("a copy of the catalogue cannot be understood", "key", e.Key, "error", err)
		}
	})
	// Epochs begin anew: what of a version is held must be asked.
	for _, s := range m.saved {
		s.version.Epoch, s.version.Tolerates = 0, 0
	}
	return highest, err
}

// mergeOnce adds what the catalogue says now, and writes what is to be otherwise. behind is
// by how much its revisions are behind those of copies.
func (c *Coordinator) mergeOnce(ctx context.Context, m *merge, highest map[*kv.Bucket]uint64) (written int64, behind uint64, err error) {
	w := mergeWriter{c: c, ctx: ctx, now: map[string]*schemas.CatalogueEntry{}, heads: map[string]head{}}
	if w.base, err = c.state.copyBase(ctx); err != nil {
		return 0, 0, err
	}
	at := map[*kv.Bucket]uint64{} // the revision that it has come to, at least
	for b := range highest {
		at[b] = w.base + b.FirstRevision()
	}
	err = c.eachEntry(ctx, func(e *schemas.CatalogueEntry) error {
		b := c.bucketOf(e.Key)
		at[b] = max(at[b], e.Revision)
		w.now[e.Key] = e
		return m.add(e)
	})
	if err != nil {
		return 0, 0, err
	}
	for b, r := range highest {
		behind = max(behind, r-min(r, at[b]))
	}
	err = c.records.kv.Scan(ctx, recordPrefix+">", func(e kv.Entry) error {
		var h head
		err := e.Decode(&h)
		h.mend()
		w.heads[e.Key] = h
		m.came(e.Key, reached{h.Highest, h.Last})
		return err
	})
	if err == nil {
		err = w.write(m)
	}
	return w.written, behind, err
}

// mergeWriter makes a catalogue say what it shall.
type mergeWriter struct {
	c       *Coordinator
	ctx     context.Context
	now     map[string]*schemas.CatalogueEntry // what it says
	heads   map[string]head
	base    uint64 // of the revisions in now
	written int64
}

// write writes versions to where there is none before it takes the place of any: at each
// moment all are somewhere.
func (w *mergeWriter) write(m *merge) error {
	for key, e := range m.values {
		if err := w.put(key, e.Value); err != nil {
			return err
		}
	}
	all := m.number()
	for _, taken := range []bool{false, true} {
		for key, s := range all {
			if now := w.now[key]; taken != (now != nil && !now.Deleted) {
				continue
			}
			if err := w.version(key, s); err != nil {
				return err
			}
		}
	}
	for key, now := range w.now {
		if strings.HasPrefix(key, versionPrefix) && !now.Deleted && all[key] == nil {
			v := new(schemas.Version) // which has another number now
			err := schemas.Unmarshal(now.Value, v)
			if err == nil {
				err = w.leave(key, &schemas.Version{Nickname: v.Nickname, Record: v.Record, Number: v.Number})
			}
			if err != nil {
				return err
			}
		}
	}
	return w.follow(m.headsOf(all))
}

// version makes a key have a version, or the mark that is left of it.
func (w *mergeWriter) version(key string, s *savedAt) error {
	if s.gone {
		return w.leave(key, mark(s.version))
	}
	value, err := schemas.Marshal(s.version)
	if err != nil {
		return err
	}
	return w.put(key, value)
}

// put makes a key have that value.
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

// leave makes a key have a mark only.
func (w *mergeWriter) leave(key string, mark *schemas.Version) error {
	revision := uint64(0)
	if now := w.now[key]; now != nil {
		value, err := schemas.Marshal(mark)
		if err != nil || now.Deleted && bytes.Equal(value, now.Value) {
			return err
		}
		revision = now.Revision - w.base
	}
	return w.count(w.c.records.kv.DeleteAt(w.ctx, key, revision, mark))
}

func (w *mergeWriter) count(err error) error {
	if err == nil {
		w.written++
	}
	return err
}

// follow makes records tell of their versions.
func (w *mergeWriter) follow(heads map[string]*recordHead) error {
	r := w.c.records
	for key, h := range heads {
		if w.heads[key] == h.head {
			continue
		}
		if err := r.refresh(w.ctx, h.nickname, h.Name); err != nil {
			return err
		}
		err := r.editHead(w.ctx, h.nickname, h.Name, func(now *head) error {
			now.Highest, now.Last = max(now.Highest, h.Highest), max(now.Last, h.Last)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
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
	vault, holders := schemas.CatalogueVault(), replica.NewReader(c.nc, nodes)
	take := func(_ int, chunk *schemas.Chunk) error {
		e := new(schemas.CatalogueEntry)
		if schemas.PlainChunkID(vault, chunk.Content) == chunk.ID && schemas.Unmarshal(chunk.Content, e) == nil && hasCopies(e.Key) {
			got(e)
		} else {
			c.opt.Log.Warn("a copy of the catalogue is none", "chunk", chunk.ID)
		}
		return nil
	}
	for some := range slices.Chunk(ids, replica.MaxIDs) {
		err := holders.Fetch(ctx, vault, some, false, take)
		if code := schemas.CodeOf(err); code == schemas.NotHeld || code == schemas.Corrupt {
			// One by one, so that a bad one does not hide others.
			for i := range some {
				err = holders.Fetch(ctx, vault, some[i:i+1], false, take)
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
