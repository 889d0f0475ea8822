package gc

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"servidor-backup/bus"
	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
)

// marker marks chunks at the nodes they are assigned to.
type marker struct {
	ctx      context.Context
	nodes    *nodeSet
	progress *progress
	damages  damages
	// unmarked are tree chunks that none of their assigned nodes could mark, and that were
	// descended.
	unmarked map[treeID]struct{}
}

// treeID is a tree chunk of a vault. Another vault may have the same chunk undamaged.
type treeID struct {
	vault schemas.VaultID
	id    schemas.ChunkID
}

// newMarker makes a marker; damageLimit 0 is the usual one.
func newMarker(ctx context.Context, nodes *nodeSet, p *progress, damageLimit int) *marker {
	return &marker{ctx: ctx, nodes: nodes, progress: p, damages: newDamages(damageLimit), unmarked: map[treeID]struct{}{}}
}

// markAll marks everything below roots, and the catalogue's backup. It reports in the result
// which roots have lost chunks.
func (m *marker) markAll(roots []root, backup []schemas.ChunkID) error {
	for _, r := range roots {
		d, err := m.markRoot(r)
		if err != nil {
			if r.version != "" {
				err = fmt.Errorf("%s of %s: %w", r.version, r.nickname, err)
			}
			return err
		}
		report(&m.progress.result, r, d, m.damages.truncated)
	}
	_, err := m.markLeaves(schemas.CatalogueVault(), backup)
	return err
}

// markRoot marks everything below one root. It returns the damage below it, or nil.
func (m *marker) markRoot(r root) (*damage, error) {
	if r.kind != schemas.Tree {
		lost, err := m.markLeaves(r.vault, []schemas.ChunkID{r.id})
		if err != nil || len(lost) == 0 {
			return nil, err
		}
		return &damage{lost: lost}, nil
	}
	fresh, err := m.markTrees(r.vault, []schemas.ChunkID{r.id})
	if err != nil || len(fresh) == 0 {
		return m.damages.known[treeID{r.vault, r.id}], err
	}
	return newDescent(m, r.vault).run(r.id)
}

// markTrees marks tree chunks. It returns those that must be descended: some node has not
// marked them before, or none of their assigned nodes could mark them.
func (m *marker) markTrees(vault schemas.VaultID, ids []schemas.ChunkID) (fresh []schemas.ChunkID, err error) {
	for batch := range slices.Chunk(ids, replica.MaxIDs) {
		marked, err := m.markBatch(vault, batch)
		if err != nil {
			return nil, err
		}
		fresh = append(fresh, marked.fresh...)
		for _, id := range marked.notFound {
			t := treeID{vault, id}
			if _, done := m.unmarked[t]; !done {
				m.unmarked[t] = struct{}{}
				fresh = append(fresh, id)
			}
		}
	}
	return fresh, nil
}

// markLeaves marks chunks without edges to follow. It returns those that are lost.
func (m *marker) markLeaves(vault schemas.VaultID, ids []schemas.ChunkID) (lost []schemas.ChunkID, err error) {
	for batch := range slices.Chunk(ids, replica.MaxIDs) {
		marked, err := m.markBatch(vault, batch)
		if err != nil {
			return nil, err
		}
		unreadable, err := m.lostOf(vault, marked.notFound)
		if err != nil {
			return nil, err
		}
		lost = append(lost, unreadable...)
	}
	return lost, nil
}

// marked is what became of a batch of chunks.
type marked struct {
	fresh    []schemas.ChunkID // some node has them and had not marked them before
	notFound []schemas.ChunkID // none of their assigned nodes has marked them
}

// markBatch marks as many chunks as one request names, at all nodes they are assigned to.
func (m *marker) markBatch(vault schemas.VaultID, ids []schemas.ChunkID) (out marked, err error) {
	d := m.nodes.all.DurabilityOf(vault)
	byNode := map[schemas.NodeID][]int{}
	var set []schemas.NodeID
	for i, id := range ids {
		set = m.nodes.assigned.Place(set[:0], id, d.Nodes())
		for _, n := range set {
			byNode[n] = append(byNode[n], i)
		}
	}
	have, fresh := make([]bool, len(ids)), make([]bool, len(ids))
	var mu sync.Mutex
	var all sync.WaitGroup
	for node, indexes := range byNode {
		if !m.nodes.takesPart(node) {
			continue
		}
		all.Go(func() {
			rep, err := m.markAt(node, vault, ids, indexes)
			if err != nil {
				// It is not known what the node has marked, so nothing of it counts.
				m.nodes.skip(node, err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			for j, i := range indexes {
				have[i] = have[i] || bit(rep.Have, j)
				fresh[i] = fresh[i] || bit(rep.Fresh, j)
			}
		})
	}
	all.Wait()
	for i, id := range ids {
		switch {
		case !have[i]:
			out.notFound = append(out.notFound, id)
		case fresh[i]:
			out.fresh = append(out.fresh, id)
		}
	}
	m.progress.result.Marked += int64(len(out.fresh))
	return out, m.ctx.Err()
}

// markAt marks those of ids that indexes name at one node.
func (m *marker) markAt(node schemas.NodeID, vault schemas.VaultID, ids []schemas.ChunkID, indexes []int) (*schemas.MarkReply, error) {
	req := &schemas.MarkRequest{Generation: m.nodes.generation, Vault: vault}
	for _, i := range indexes {
		req.IDs = append(req.IDs, ids[i][:]...)
	}
	rep := new(schemas.MarkReply)
	return rep, bus.Request(m.ctx, m.nodes.nc, schemas.MarkSubject(node), req, rep)
}

func bit(bits []byte, i int) bool { return i/8 < len(bits) && bits[i/8]&(1<<(i%8)) != 0 }

// lostOf returns those of the chunks that cannot be read from any nodes. As long as some node
// does not take part or does not respond, no chunk is known to be lost.
func (m *marker) lostOf(vault schemas.VaultID, ids []schemas.ChunkID) (lost []schemas.ChunkID, err error) {
	if len(ids) == 0 || !m.nodes.complete() {
		return nil, nil
	}
	recoverable, err := m.nodes.reader.Recoverable(m.ctx, vault, ids)
	if err != nil {
		return nil, m.ctx.Err()
	}
	for i, id := range ids {
		if !recoverable[i] {
			lost = append(lost, id)
		}
	}
	return lost, nil
}
