package tree

import (
	"context"

	"servidor-backup/schemas"
)

// leavesAhead is how many leaves of the parent's tree are read before they are
// asked for: less than a MiB each in all but strange cases.
const leavesAhead = 8

// leaf is a leaf of a path tree.
type leaf struct {
	id      schemas.ChunkID
	entries []*Entry
	last    bool // of the tree: where it ends is no border
}

// LeafPosition is the position of an entry in a tree; it has none if there is no leaf.
type LeafPosition struct {
	leaf  *leaf
	index int
}

// nextWhole is the rest of the leaf that the cursor is in, or the next leaf; nil
// after the last. It is for cursors that pass over nothing, and not to be mixed
// with Next.
func (c *cursor[T]) nextWhole() (id schemas.ChunkID, items []T, last bool, err error) {
	for c.err == nil && !c.done && c.left == 0 {
		c.err = c.nextLeaf()
	}
	if c.err != nil || c.done {
		return id, nil, false, c.err
	}
	items = make([]T, 0, c.left)
	for c.left > 0 {
		_, item := c.nextItem()
		if c.err != nil {
			return id, nil, false, c.err
		}
		items = append(items, item)
	}
	last = true
	for _, f := range c.stack {
		last = last && len(f.children) == 0
	}
	return c.id, items, last, nil
}

// Parent reads the parent version side by side with the walk. Both are in
// the same order, so each is passed over once. A nil one is empty.
type Parent struct {
	leaves chan *leaf // closed at the end of the tree, or of what can be read
	err    error      // why no more can be read; set before leaves is closed
	stop   context.CancelFunc

	leaf  *leaf
	index int // of the first of its entries that was not passed over
}

// OpenParent begins to read. It ends with the tree, with ctx, or with close.
func OpenParent(ctx context.Context, r *Reader) *Parent {
	ctx, stop := context.WithCancel(ctx)
	t := &Parent{leaves: make(chan *leaf, leavesAhead), stop: stop}
	go func() {
		defer close(t.leaves)
		for entries := r.Iterate(ctx, ""); ; {
			id, items, last, err := entries.nextWhole()
			if err != nil || len(items) == 0 {
				t.err = err
				return
			}
			select {
			case t.leaves <- &leaf{id: id, entries: items, last: last}:
			case <-ctx.Done():
				t.err = ctx.Err()
				return
			}
		}
	}()
	return t
}

// Close ends the reading.
func (t *Parent) Close() {
	if t == nil {
		return
	}
	t.stop()
	for range t.leaves {
	}
}

// Find is the parent's entry at path and where it stands, or nil. Paths must be
// asked for in order. An error is about the tree, and not about ctx.
func (t *Parent) Find(ctx context.Context, path string) (*Entry, LeafPosition, error) {
	if t == nil {
		return nil, LeafPosition{}, nil
	}
	for {
		if t.leaf != nil {
			for ; t.index < len(t.leaf.entries); t.index++ {
				e := t.leaf.entries[t.index]
				switch order := ComparePath(e.Path, path); {
				case order == 0:
					return e, LeafPosition{t.leaf, t.index}, nil
				case order > 0:
					return nil, LeafPosition{}, nil
				}
			}
		}
		leaf, ok := <-t.leaves
		if !ok {
			if ctx.Err() != nil {
				return nil, LeafPosition{}, nil
			}
			return nil, LeafPosition{}, t.err
		}
		t.leaf, t.index = leaf, 0
	}
}
