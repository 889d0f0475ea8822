package coordinator

import (
	"fmt"
	"slices"

	"servidor-backup/schemas"
)

// treeBatch is how many tree chunks are read at a time while marking: so many times
// the edges of one are in memory.
const treeBatch = 16

// walk marks everything below one root, depth first, so that what is still to be read
// stays little.
type walk struct {
	g     *collection
	vault schemas.VaultID
	open  map[schemas.ChunkID]*opened
	stack []*opened // are still to be read
}

// opened is a tree chunk that is to be read, or below which one is. What is lost below is
// known when it closes. (In a circle none ever would, but ids are hashes of what is below.)
type opened struct {
	id      schemas.ChunkID
	above   []*opened // that have an edge to it
	left    int       // edges to what is open; and one more while it waits to be read
	waiting bool
	taint   *taint // nil as long as nothing below is known to be lost
}

// markRoot marks everything below one root. It returns what is lost of it, or nil.
func (g *collection) markRoot(r root) (*taint, error) {
	if r.kind != schemas.Tree {
		_, lost, err := g.markAll(r.vault, []schemas.ChunkID{r.id}, true)
		if err != nil || len(lost) == 0 {
			return nil, err
		}
		return &taint{lost: lost}, nil
	}
	fresh, _, err := g.markAll(r.vault, []schemas.ChunkID{r.id}, false)
	if err != nil || len(fresh) == 0 {
		return g.taints.of[vaultTree{r.vault, r.id}], err
	}
	w := &walk{g: g, vault: r.vault, open: map[schemas.ChunkID]*opened{}}
	top := w.enter(r.id)
	for err == nil && len(w.stack) > 0 {
		err = w.read()
		g.progress()
	}
	return top.taint, err
}

// read reads the edges of some tree chunks, and marks what they lead to.
func (w *walk) read() error {
	end := w.stack[max(0, len(w.stack)-treeBatch):]
	some := slices.Clone(end)
	clear(end)
	w.stack = w.stack[:len(w.stack)-len(some)]
	ids := make([]schemas.ChunkID, len(some))
	for i, o := range some {
		ids[i], o.waiting = o.id, false
	}
	trees, data := make([][]schemas.ChunkID, len(some)), make([][]schemas.ChunkID, len(some))
	err := w.g.holders.Fetch(w.g.ctx, w.vault, ids, true, func(i int, c *schemas.Chunk) error {
		if c.Kind != schemas.Tree {
			return schemas.Errorf(schemas.Corrupt, "chunk %s is %v where a tree chunk is expected", c.ID.Short(), c.Kind)
		}
		trees[i], data[i] = c.Trees, c.Data
		return nil
	})
	if err != nil {
		return fmt.Errorf("a tree cannot be read: %w", err)
	}
	_, lost, err := w.g.markAll(w.vault, unique(slices.Concat(data...)), true)
	if err != nil {
		return err
	}
	if len(lost) > 0 {
		w.lose(some, data, lost)
	}
	if err := w.follow(some, trees); err != nil {
		return err
	}
	for _, o := range some {
		w.done(o)
	}
	return nil
}

// lose taints those of some whose data is lost.
func (w *walk) lose(some []*opened, data [][]schemas.ChunkID, lost []schemas.ChunkID) {
	is := make(map[schemas.ChunkID]bool, len(lost))
	for _, id := range lost {
		is[id] = true
	}
	for i, o := range some {
		for _, id := range data[i] {
			if is[id] {
				o.taint = w.g.taints.lose(o.taint, id)
			}
		}
	}
}

// enter opens a tree chunk that must be descended, also if it is open and was read; one that
// waits to be read is not asked for twice.
func (w *walk) enter(id schemas.ChunkID) *opened {
	o := w.open[id]
	if o == nil {
		o = &opened{id: id, taint: w.g.taints.of[vaultTree{w.vault, id}]}
		w.open[id] = o
	}
	if !o.waiting {
		o.waiting = true
		o.left++
		w.stack = append(w.stack, o)
	}
	return o
}

// follow marks the tree chunks to which edges of some lead, and enters those that must be
// descended. What is lost below those that were is known, or will be when they close.
func (w *walk) follow(some []*opened, trees [][]schemas.ChunkID) error {
	fresh, _, err := w.g.markAll(w.vault, unique(slices.Concat(trees...)), false)
	if err != nil {
		return err
	}
	for _, id := range fresh {
		w.enter(id)
	}
	for i, above := range some {
		for _, id := range trees[i] {
			if o := w.open[id]; o != nil {
				o.above = append(o.above, above)
				above.left++
			} else if t := w.g.taints.of[vaultTree{w.vault, id}]; t != nil {
				above.taint = w.g.taints.link(above.taint, t)
			}
		}
	}
	return nil
}

// done says that one of the things that o was open for is over. What closes tells those
// above what is lost.
func (w *walk) done(o *opened) {
	for some := []*opened{o}; len(some) > 0; {
		o, some = some[len(some)-1], some[:len(some)-1]
		if o.left--; o.left > 0 {
			continue
		}
		delete(w.open, o.id)
		if o.taint != nil {
			w.g.taints.keep(vaultTree{w.vault, o.id}, o.taint)
			for _, above := range o.above {
				above.taint = w.g.taints.link(above.taint, o.taint)
			}
		}
		some = append(some, o.above...)
	}
}
