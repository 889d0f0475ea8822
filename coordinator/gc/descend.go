package gc

import (
	"fmt"
	"slices"

	"servidor-backup/schemas"
)

// treeBatch is how many tree chunks are read at a time: the edges of that many are in memory.
const treeBatch = 16

// descent marks everything below one root, depth first, so that few tree chunks wait to be
// read.
type descent struct {
	m     *marker
	vault schemas.VaultID
	open  map[schemas.ChunkID]*frame
	stack []*frame // frames that wait to be read
}

// frame is a tree chunk that waits to be read, or below which another one does. When a frame
// closes, all damage below it is known. (A cycle of edges would never close, but there is none:
// the id of a chunk is a hash of its edges.)
type frame struct {
	id      schemas.ChunkID
	parents []*frame // open frames that have an edge to this one
	pending int      // edges to open frames, and one more while it waits to be read
	waiting bool
	damage  *damage // nil as long as no damage below is known
}

func newDescent(m *marker, vault schemas.VaultID) *descent {
	return &descent{m: m, vault: vault, open: map[schemas.ChunkID]*frame{}}
}

// run descends from root. It returns the damage below it, or nil.
func (d *descent) run(root schemas.ChunkID) (*damage, error) {
	top := d.enter(root)
	var err error
	for err == nil && len(d.stack) > 0 {
		err = d.readBatch()
		d.m.progress.update()
	}
	return top.damage, err
}

// readBatch reads the edges of a batch of waiting frames, and marks the chunks they lead to.
func (d *descent) readBatch() error {
	batch := d.pop()
	ids := make([]schemas.ChunkID, len(batch))
	for i, f := range batch {
		ids[i], f.waiting = f.id, false
	}
	trees, data := make([][]schemas.ChunkID, len(batch)), make([][]schemas.ChunkID, len(batch))
	err := d.m.nodes.reader.Fetch(d.m.ctx, d.vault, ids, true, func(i int, c *schemas.Chunk) error {
		if c.Kind != schemas.Tree {
			return schemas.Errorf(schemas.Corrupt, "chunk %s is %v where a tree chunk is expected", c.ID.Short(), c.Kind)
		}
		trees[i], data[i] = c.Trees, c.Data
		return nil
	})
	if err != nil {
		return fmt.Errorf("a tree cannot be read: %w", err)
	}
	lost, err := d.m.markLeaves(d.vault, unique(slices.Concat(data...)))
	if err != nil {
		return err
	}
	if len(lost) > 0 {
		d.noteLost(batch, data, lost)
	}
	if err := d.follow(batch, trees); err != nil {
		return err
	}
	for _, f := range batch {
		d.finish(f)
	}
	return nil
}

// pop takes a batch of frames from the top of the stack.
func (d *descent) pop() []*frame {
	top := d.stack[max(0, len(d.stack)-treeBatch):]
	batch := slices.Clone(top)
	clear(top)
	d.stack = d.stack[:len(d.stack)-len(batch)]
	return batch
}

func unique(ids []schemas.ChunkID) []schemas.ChunkID {
	slices.SortFunc(ids, func(a, b schemas.ChunkID) int { return slices.Compare(a[:], b[:]) })
	return slices.Compact(ids)
}

// noteLost adds lost data to the damage of the frames that have edges to it.
func (d *descent) noteLost(batch []*frame, data [][]schemas.ChunkID, lost []schemas.ChunkID) {
	set := make(map[schemas.ChunkID]bool, len(lost))
	for _, id := range lost {
		set[id] = true
	}
	for i, f := range batch {
		for _, id := range data[i] {
			if set[id] {
				f.damage = d.m.damages.addLost(f.damage, id)
			}
		}
	}
}

// enter opens a tree chunk that must be descended. A frame that is open and was read is read
// again; one that waits to be read is not put on the stack twice.
func (d *descent) enter(id schemas.ChunkID) *frame {
	f := d.open[id]
	if f == nil {
		f = &frame{id: id, damage: d.m.damages.known[treeID{d.vault, id}]}
		d.open[id] = f
	}
	if !f.waiting {
		f.waiting = true
		f.pending++
		d.stack = append(d.stack, f)
	}
	return f
}

// follow marks the tree chunks that a batch has edges to, and enters those that must be
// descended. The damage below the others is known, or will be when they close.
func (d *descent) follow(batch []*frame, trees [][]schemas.ChunkID) error {
	fresh, err := d.m.markTrees(d.vault, unique(slices.Concat(trees...)))
	if err != nil {
		return err
	}
	for _, id := range fresh {
		d.enter(id)
	}
	for i, parent := range batch {
		for _, id := range trees[i] {
			if f := d.open[id]; f != nil {
				f.parents = append(f.parents, parent)
				parent.pending++
			} else if below := d.m.damages.known[treeID{d.vault, id}]; below != nil {
				parent.damage = d.m.damages.link(parent.damage, below)
			}
		}
	}
	return nil
}

// finish notes that one thing is over for which f was open. A frame that closes hands its
// damage to its parents.
func (d *descent) finish(f *frame) {
	for todo := []*frame{f}; len(todo) > 0; {
		f, todo = todo[len(todo)-1], todo[:len(todo)-1]
		if f.pending--; f.pending > 0 {
			continue
		}
		delete(d.open, f.id)
		if f.damage != nil {
			d.m.damages.remember(treeID{d.vault, f.id}, f.damage)
			for _, parent := range f.parents {
				parent.damage = d.m.damages.link(parent.damage, f.damage)
			}
		}
		todo = append(todo, f.parents...)
	}
}
