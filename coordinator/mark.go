package coordinator

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"servidor-backup/bus"
	"servidor-backup/schemas"
)

// treeBatch is how many tree chunks are read at a time while marking: so many times
// the edges of one are in memory.
const treeBatch = 16

// maxLost bounds the versions that are remembered as having lost chunks.
const maxLost = 1000

// mark marks what the roots need.
func (g *collection) mark() error {
	lost := map[string]*schemas.Lost{}
	for _, r := range g.roots {
		missing, err := g.markRoot(r)
		if err != nil {
			if r.version != "" {
				err = fmt.Errorf("%s of %s: %w", r.version, r.nickname, err)
			}
			return err
		}
		if missing > 0 && r.version != "" && lost[r.nickname+"/"+r.version] == nil && len(lost) < maxLost {
			lost[r.nickname+"/"+r.version] = &schemas.Lost{Nickname: r.nickname, Version: r.version, Chunks: missing}
			g.res.Lost = append(g.res.Lost, *lost[r.nickname+"/"+r.version])
		}
	}
	return g.markCopies()
}

// markRoot marks everything below one root, depth first, so that what is still to be
// read stays little. It returns how many chunks nobody holds.
func (g *collection) markRoot(r root) (lost int64, err error) {
	if r.kind != schemas.Tree {
		_, missing, err := g.markAll(r.vault, []schemas.ChunkID{r.id}, true)
		return missing, err
	}
	below := func(trees []schemas.ChunkID) ([]schemas.ChunkID, error) {
		fresh, _, err := g.markAll(r.vault, trees, false)
		return fresh, err
	}
	stack, err := below([]schemas.ChunkID{r.id})
	for err == nil && len(stack) > 0 {
		some := slices.Clone(stack[max(0, len(stack)-treeBatch):])
		stack = stack[:len(stack)-len(some)]
		var mu sync.Mutex
		var trees, data []schemas.ChunkID
		err = g.holders.Chunks(g.ctx, r.vault, some, true, func(_ int, c *schemas.Chunk) error {
			if c.Kind != schemas.Tree {
				return schemas.Errorf(schemas.Corrupt, "chunk %s is %v where a tree chunk is expected", c.ID.Short(), c.Kind)
			}
			mu.Lock()
			defer mu.Unlock()
			trees, data = append(trees, c.Trees...), append(data, c.Data...)
			return nil
		})
		if err != nil {
			return lost, fmt.Errorf("a tree cannot be read: %w", err)
		}
		_, missing, err := g.markAll(r.vault, unique(data), true)
		if err != nil {
			return lost, err
		}
		lost += missing
		fresh, err := below(unique(trees))
		if err != nil {
			return lost, err
		}
		stack = append(stack, fresh...)
		g.progress()
	}
	return lost, err
}

func unique(ids []schemas.ChunkID) []schemas.ChunkID {
	slices.SortFunc(ids, func(a, b schemas.ChunkID) int { return slices.Compare(a[:], b[:]) })
	return slices.Compact(ids)
}

// markAll marks chunks at all nodes at whose home they are. fresh are those that must
// be descended: some node had not marked them, or none at home could say. lost is how
// many leaves no node holds.
func (g *collection) markAll(vault schemas.VaultID, ids []schemas.ChunkID, leaves bool) (fresh []schemas.ChunkID, lost int64, err error) {
	for some := range slices.Chunk(ids, bus.MaxIDs) {
		have, news, err := g.markSome(vault, some)
		if err != nil {
			return nil, 0, err
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
				return nil, 0, err
			}
			lost += missing
			continue
		}
		for _, id := range away {
			if _, done := g.strays[id]; !done {
				g.strays[id] = struct{}{}
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

// lostOf is how many of the chunks, of which there is nothing at home, are nowhere.
// While some node does not take part, that is not known of any.
func (g *collection) lostOf(vault schemas.VaultID, ids []schemas.ChunkID) (lost int64, err error) {
	g.mu.Lock()
	for i := range g.nodes.Nodes {
		if n := &g.nodes.Nodes[i]; n.State != schemas.Gone && !g.members[n.ID] {
			ids = nil
		}
	}
	g.mu.Unlock()
	if len(ids) == 0 {
		return 0, nil
	}
	can, err := g.holders.Recoverable(g.ctx, vault, ids)
	if err != nil {
		return 0, g.ctx.Err() // some node does not answer: nothing is known
	}
	for i := range can {
		if !can[i] {
			lost++
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
