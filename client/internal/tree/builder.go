package tree

import (
	"errors"
	"fmt"

	"servidor-backup/client/internal/seal"
	"servidor-backup/schemas"
)

// builder makes a tree of either kind from items in ascending order.
type builder struct {
	k      *seal.Keys
	kind   treeKind
	put    Putter
	levels []*openNode // from the leaves up
	last   string      // key of the last item
	err    error
}

// openNode is a tree node that is being filled.
type openNode struct {
	items  packer
	whole  packer // buffer for the payload
	count  int    // items in it
	first  string // key of the first item
	weight int
	refs   int // edges that the current item names, repeated ones included
	trees  edgeList
	data   edgeList

	closed int             // nodes finished at this level so far
	lastID schemas.ChunkID // the id of the last of them
}

func newOpenNode() *openNode {
	return &openNode{trees: newEdgeList(), data: newEdgeList()}
}

// treeIndex and dataIndex return the index of id in the tree node's edges and count it for the
// current item's weight. An edge is listed once, however many items name it.
func (n *openNode) treeIndex(id schemas.ChunkID) uint16 {
	n.refs++
	return n.trees.index(id)
}

func (n *openNode) dataIndex(id schemas.ChunkID) uint16 {
	n.refs++
	return n.data.index(id)
}

// edgeList is one of a tree node's two lists of edges, in order of first use.
type edgeList struct {
	ids     []schemas.ChunkID
	indices map[schemas.ChunkID]uint16
}

func newEdgeList() edgeList { return edgeList{indices: map[schemas.ChunkID]uint16{}} }

// index returns the index of id, which it appends if the list does not have it.
func (l *edgeList) index(id schemas.ChunkID) uint16 {
	i, ok := l.indices[id]
	if !ok {
		i = uint16(len(l.ids))
		l.ids = append(l.ids, id)
		l.indices[id] = i
	}
	return i
}

func (l *edgeList) reset() {
	l.ids = l.ids[:0]
	clear(l.indices)
}

// add makes write append one item to the open tree node of a level, and ends the tree node
// if the item is a border.
func (b *builder) add(level int, key string, write func(*openNode)) error {
	if b.err != nil {
		return b.err
	}
	if err := b.checkOrder(level, key); err != nil {
		b.err = err
		return err
	}
	n := b.open(level)
	before := len(n.items.buf)
	n.refs = 0
	write(n)
	weight := len(n.items.buf) - before + n.refs*edgeSize
	if n.count == 0 {
		n.first = key
	}
	n.count++
	n.weight += weight
	if b.isFull(level, n, key, weight) {
		b.err = b.close(level)
	}
	return b.err
}

// atBorder reports whether the next item begins a leaf.
func (b *builder) atBorder() bool { return b.open(0).count == 0 }

// graft makes a finished leaf the next one of the tree, which must be at a border. first
// and last are the leaf's first and last keys.
func (b *builder) graft(id schemas.ChunkID, first, last string) error {
	if b.err == nil {
		b.err = b.checkOrder(0, first)
	}
	if b.err == nil {
		b.last = last
		b.err = b.addToParent(0, first, id)
	}
	return b.err
}

// checkOrder returns an error if the key of a leaf's item is not after the last one. The
// order of the levels above follows from that of the leaves.
func (b *builder) checkOrder(level int, key string) error {
	if level > 0 {
		return nil
	}
	if b.last != "" && b.kind.compare(key, b.last) <= 0 {
		return fmt.Errorf("%q does not come after %q in a tree: this is a bug", key, b.last)
	}
	b.last = key
	return nil
}

// open returns the open tree node of a level. It makes the first tree node of a level.
func (b *builder) open(level int) *openNode {
	if level == len(b.levels) {
		b.levels = append(b.levels, newOpenNode())
	}
	return b.levels[level]
}

// isFull reports whether n ends after its last item, which has this key and weight.
func (b *builder) isFull(level int, n *openNode, key string, weight int) bool {
	if level > 0 && n.count < minFanout {
		return false
	}
	return n.weight >= maxNode ||
		len(n.trees.ids)+len(n.data.ids) >= maxNodeEdges ||
		n.weight >= minNode && isBorder(b.k, b.kind, level, key, weight)
}

// close puts the open tree node of a level and adds it to the level above.
func (b *builder) close(level int) error {
	n := b.levels[level]
	payload := b.payload(level, n)
	id := b.k.TreeID(n.trees.ids, n.data.ids, payload)
	if err := b.put(id, n.trees.ids, n.data.ids, payload); err != nil {
		return err
	}
	n.items.buf = n.items.buf[:0]
	n.trees.reset()
	n.data.reset()
	n.count, n.weight = 0, 0
	return b.addToParent(level, n.first, id)
}

// addToParent adds to the level above an item for a tree node that ended at a level.
func (b *builder) addToParent(level int, first string, id schemas.ChunkID) error {
	n := b.levels[level]
	n.closed, n.lastID = n.closed+1, id
	return b.add(level+1, first, func(parent *openNode) {
		parent.items.arrayLen(2)
		parent.items.bin(first)
		parent.items.index(parent.treeIndex(id))
	})
}

// payload returns the tree node as msgpack. It is valid until the next call.
func (b *builder) payload(level int, n *openNode) []byte {
	p := &n.whole
	p.buf = p.buf[:0]
	p.arrayLen(4)
	p.uint(nodeVersion)
	p.uint(uint64(b.kind))
	p.uint(uint64(level))
	p.arrayLen(n.count)
	p.buf = append(p.buf, n.items.buf...)
	return p.buf
}

// finish closes the open tree nodes from the leaves up. The root is the tree node of the first
// level that has only one. close has added it to a tree node above, which would only make the tree
// deeper and is never put.
func (b *builder) finish() (schemas.ChunkID, error) {
	for level := 0; b.err == nil; level++ {
		n := b.open(level)
		if n.count > 0 || n.closed == 0 {
			b.err = b.close(level)
		}
		if b.err == nil && n.closed == 1 {
			b.err = errFinished
			return n.lastID, nil
		}
	}
	return schemas.ChunkID{}, b.err
}

var errFinished = errors.New("the tree is finished: this is a bug")
