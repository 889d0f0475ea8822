package tree

import (
	"context"

	"servidor-backup/schemas"
)

// leavesAhead is how many leaves of the parent's tree are decoded ahead of the walk:
// less than 1 MiB each, but for strange cases.
const leavesAhead = 8

// leaf is a leaf of a path tree.
type leaf struct {
	id      schemas.ChunkID
	entries []*Entry
	last    bool // of the tree: it ends with the tree and not at a border
}

// LeafPosition is the position of an entry in the parent's tree. The zero value is no
// position.
type LeafPosition struct {
	leaf  *leaf
	index int
}

// Parent reads the path tree of the parent version side by side with the walk. Both are
// in the same order, so each is passed over once. A nil Parent has no entries.
type Parent struct {
	leaves chan *leaf // closed at the end of the tree, or of its readable part
	err    error      // why no more can be read; set before leaves is closed
	stop   context.CancelFunc

	current *leaf
	index   int // of the first entry of current that is not passed over
}

// OpenParent begins to read in the background, until the tree ends, ctx ends, or the
// parent is closed. The caller must close it.
func OpenParent(ctx context.Context, r *Reader) *Parent {
	ctx, stop := context.WithCancel(ctx)
	p := &Parent{leaves: make(chan *leaf, leavesAhead), stop: stop}
	go func() {
		defer close(p.leaves)
		for entries := r.Iterate(ctx, ""); ; {
			id, items, last, err := entries.nextWhole()
			if err != nil || len(items) == 0 {
				p.err = err
				return
			}
			select {
			case p.leaves <- &leaf{id: id, entries: items, last: last}:
			case <-ctx.Done():
				p.err = ctx.Err()
				return
			}
		}
	}()
	return p
}

// Close ends the reading and waits for it.
func (p *Parent) Close() {
	if p == nil {
		return
	}
	p.stop()
	for range p.leaves {
	}
}

// Find returns the parent's entry at path and its position, or nil if there is none. Paths
// must be asked for in order. An error is about the tree; if ctx ends, Find finds nothing.
func (p *Parent) Find(ctx context.Context, path string) (*Entry, LeafPosition, error) {
	if p == nil {
		return nil, LeafPosition{}, nil
	}
	for {
		if p.current != nil {
			for ; p.index < len(p.current.entries); p.index++ {
				e := p.current.entries[p.index]
				switch order := ComparePath(e.Path, path); {
				case order == 0:
					return e, LeafPosition{p.current, p.index}, nil
				case order > 0:
					return nil, LeafPosition{}, nil
				}
			}
		}
		next, ok := <-p.leaves
		if !ok {
			if ctx.Err() != nil {
				return nil, LeafPosition{}, nil
			}
			return nil, LeafPosition{}, p.err
		}
		p.current, p.index = next, 0
	}
}
