package coordinator

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"servidor-backup/bus"
	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
)

// mark marks what the roots need.
func (g *collection) mark() error {
	for _, r := range g.roots {
		t, err := g.markRoot(r)
		if err != nil {
			if r.version != "" {
				err = fmt.Errorf("%s of %s: %w", r.version, r.nickname, err)
			}
			return err
		}
		g.tell(r, t)
	}
	return g.markCopies()
}

func unique(ids []schemas.ChunkID) []schemas.ChunkID {
	slices.SortFunc(ids, func(a, b schemas.ChunkID) int { return slices.Compare(a[:], b[:]) })
	return slices.Compact(ids)
}

// markAll marks chunks at all nodes at whose home they are. fresh are those that must
// be descended: some node had not marked them, or none at home could say. lost are the
// leaves that no node holds.
func (g *collection) markAll(vault schemas.VaultID, ids []schemas.ChunkID, leaves bool) (fresh, lost []schemas.ChunkID, err error) {
	for some := range slices.Chunk(ids, replica.MaxIDs) {
		have, news, err := g.markSome(vault, some)
		if err != nil {
			return nil, nil, err
		}
		var away []schemas.ChunkID
		for i, id := range some {
			if !have[i] {
				away = append(away, id)
			}
			if news[i] && have[i] {
				fresh = append(fresh, id)
				g.res.Marked++
			}
		}
		if leaves {
			missing, err := g.lostOf(vault, away)
			if err != nil {
				return nil, nil, err
			}
			lost = append(lost, missing...)
			continue
		}
		for _, id := range away {
			t := vaultTree{vault, id}
			if _, done := g.strays[t]; !done {
				g.strays[t] = struct{}{}
				fresh = append(fresh, id)
			}
		}
	}
	return fresh, lost, nil
}

// markSome marks so many chunks as one request names.
func (g *collection) markSome(vault schemas.VaultID, ids []schemas.ChunkID) (have, fresh []bool, err error) {
	d := g.nodes.DurabilityOf(vault)
	byNode := map[schemas.NodeID][]int{}
	var set []schemas.NodeID
	for i, id := range ids {
		set = g.homes.Place(set[:0], id, d.Nodes())
		for _, n := range set {
			byNode[n] = append(byNode[n], i)
		}
	}
	have, fresh = make([]bool, len(ids)), make([]bool, len(ids))
	var all sync.WaitGroup
	for node, at := range byNode {
		if !g.takesPart(node) {
			continue
		}
		all.Go(func() {
			req := &schemas.MarkRequest{Generation: g.res.Generation, Vault: vault}
			for _, i := range at {
				req.IDs = append(req.IDs, ids[i][:]...)
			}
			var rep schemas.MarkReply
			if err := bus.Request(g.ctx, g.c.nc, schemas.MarkSubject(node), req, &rep); err != nil {
				// What it has marked nobody knows, so nothing of it counts.
				g.skip(node, err)
				return
			}
			g.mu.Lock()
			defer g.mu.Unlock()
			for j, i := range at {
				have[i] = have[i] || bit(rep.Have, j)
				fresh[i] = fresh[i] || bit(rep.Fresh, j)
			}
		})
	}
	all.Wait()
	return have, fresh, g.ctx.Err()
}

func bit(bits []byte, i int) bool { return i/8 < len(bits) && bits[i/8]&(1<<(i%8)) != 0 }

// lostOf are those of the chunks, of which there is nothing at home, that are nowhere.
// While some node does not take part, that is not known of any.
func (g *collection) lostOf(vault schemas.VaultID, ids []schemas.ChunkID) (lost []schemas.ChunkID, err error) {
	g.mu.Lock()
	for i := range g.nodes.Nodes {
		if n := &g.nodes.Nodes[i]; n.State != schemas.Gone && !g.members[n.ID] {
			ids = nil
		}
	}
	g.mu.Unlock()
	if len(ids) == 0 {
		return nil, nil
	}
	can, err := g.holders.Recoverable(g.ctx, vault, ids)
	if err != nil {
		return nil, g.ctx.Err() // some node does not answer: nothing is known
	}
	for i, id := range ids {
		if !can[i] {
			lost = append(lost, id)
		}
	}
	return lost, nil
}

// progress writes how far it is, from time to time, and ends what has no prospect.
func (g *collection) progress() {
	if time.Since(g.saved) > time.Second {
		g.saved = time.Now()
		_ = g.c.state.save(g.ctx, &g.res)
	}
}

// markCopies marks the catalogue's copies that are current.
func (g *collection) markCopies() error {
	_, _, err := g.markAll(schemas.CatalogueVault(), g.current, true)
	return err
}
