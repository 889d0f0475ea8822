package tree

import (
	"errors"
	"fmt"

	"servidor-backup/client/internal/seal"
	"servidor-backup/schemas"
)

// Putter takes a finished tree node: its id, its clear edges and its payload, still
// to be sealed. It is called for every child before its parent, and for an
// equal tree node each time it comes up. The slices are valid only during the call.
type Putter func(id schemas.ChunkID, trees, data []schemas.ChunkID, payload []byte) error

// Writer makes the path tree of a version. It holds one open tree node per level
// and, while entries are reused, one leaf of the parent. A writer that has failed stays
// failed.
type Writer struct {
	b builder
	// run is a leaf of the parent's tree that may be reused whole. Its first held
	// entries have come so far; they are not in b yet.
	run  *leaf
	held int
}

// NewWriter returns a writer that gives finished tree nodes to put.
func NewWriter(k *seal.Keys, put Putter) *Writer {
	return &Writer{b: builder{k: k, kind: pathTree, put: put}}
}

// ErrBadEntry is the only error after which a Writer goes on: the entry
// breaks a limit or a rule of the format and was left out.
var ErrBadEntry = errors.New("the entry cannot be saved")

// Add adds the next entry, strictly after the one before by [ComparePath]. It does not
// keep the entry.
func (w *Writer) Add(e *Entry) error {
	if err := w.addHeld(); err != nil {
		return err
	}
	if err := e.Check(); err != nil {
		return fmt.Errorf("%w: %w", ErrBadEntry, err)
	}
	return w.b.add(0, e.Path, e.encode)
}

// Reuse adds the next entry, which the parent tree holds unchanged at a position; with no
// position it is Add. If all entries of a parent's leaf come one after the other, and a
// leaf of this tree begins with the first of them, the parent's leaf becomes part of this
// tree: adding its entries would make an equal leaf. It is not put, because the tree nodes hold
// it already.
func (w *Writer) Reuse(e *Entry, at LeafPosition) error {
	switch {
	case at.leaf != nil && at.leaf == w.run && at.index == w.held:
		w.held++
	case at.leaf == nil || at.index > 0:
		return w.Add(e)
	default:
		if err := w.addHeld(); err != nil {
			return err
		}
		if !w.b.atBorder() {
			return w.Add(e)
		}
		w.run, w.held = at.leaf, 1
	}
	if w.held < len(w.run.entries) || w.run.last {
		return w.b.err
	}
	return w.graft()
}

// addHeld adds the held entries of a leaf that is not reused whole.
func (w *Writer) addHeld() error {
	if w.run == nil {
		return nil
	}
	held := w.run.entries[:w.held]
	w.run, w.held = nil, 0
	for _, e := range held {
		if err := w.Add(e); err != nil {
			return err
		}
	}
	return nil
}

// graft makes the leaf, all of whose entries are held, part of the tree.
func (w *Writer) graft() error {
	leaf := w.run
	w.run, w.held = nil, 0
	return w.b.graft(leaf.id, leaf.entries[0].Path, leaf.entries[len(leaf.entries)-1].Path)
}

// Finish puts the tree nodes that are still open and returns the tree's root. A tree without
// entries has a root too. The writer cannot be used any more.
func (w *Writer) Finish() (schemas.ChunkID, error) {
	// The last leaf of a tree ended with the tree and not at a border, so it can be
	// reused only as the last leaf.
	if w.run != nil && w.held == len(w.run.entries) {
		w.graft()
	}
	w.addHeld()
	return w.b.finish() // fails if one of the two has failed
}
