package tree

import (
	"errors"
	"fmt"

	"servidor-backup/client/internal/seal"
	"servidor-backup/schemas"
)

// Putter takes a finished node: its id, its clear edges and its payload, still
// to be sealed. It is called for every child before its parent, and for an
// equal node each time it comes up. The slices are good only during the call.
type Putter func(id schemas.ChunkID, trees, data []schemas.ChunkID, payload []byte) error

// Writer makes the path tree of a version. It keeps one open node per level
// and nothing else. A writer that has failed stays failed.
type Writer struct {
	b builder
	// run is a leaf of another tree that may be taken over whole: so far its
	// first held entries came. They are not in b yet.
	run  *leaf
	held int
}

func NewWriter(k *seal.Keys, put Putter) *Writer {
	return &Writer{b: builder{k: k, kind: pathTree, put: put}}
}

// ErrBadEntry is the one error of a Writer after which it goes on: the entry
// breaks a limit or a rule of the format and was left out.
var ErrBadEntry = errors.New("the entry cannot be saved")

// Add takes the next entry, strictly after the one before by ComparePath. It
// keeps nothing of it.
func (w *Writer) Add(e *Entry) error {
	if err := w.unhold(); err != nil {
		return err
	}
	if err := e.Check(); err != nil {
		return fmt.Errorf("%w: %w", ErrBadEntry, err)
	}
	return w.b.add(0, e.Path, e.encode)
}

// Reuse adds an entry that the parent tree holds unchanged at that position, if any. Where all entries of a leaf come one after the other, and a leaf
// begins here as well, the leaf itself becomes part of this tree: it is what
// adding its entries would make again. It is not put: the nodes hold it already.
func (w *Writer) Reuse(e *Entry, at LeafPosition) error {
	switch {
	case at.leaf != nil && at.leaf == w.run && at.index == w.held:
		w.held++
	case at.leaf == nil || at.index > 0:
		return w.Add(e)
	default:
		if err := w.unhold(); err != nil {
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

// unhold adds the entries of a leaf that was not taken over whole.
func (w *Writer) unhold() error {
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

// graft makes the leaf whose entries are all held part of the tree.
func (w *Writer) graft() error {
	leaf := w.run
	w.run, w.held = nil, 0
	return w.b.graft(leaf.id, leaf.entries[0].Path, leaf.entries[len(leaf.entries)-1].Path)
}

// Finish puts what is still open and returns the tree's root. A tree without
// entries has one, too. The writer cannot be used any more.
func (w *Writer) Finish() (schemas.ChunkID, error) {
	// The last leaf of a tree ended with the tree, and not at a border.
	if w.run != nil && w.held == len(w.run.entries) {
		w.graft()
	}
	w.unhold()
	return w.b.finish() // fails if those have
}

// FileWriter makes the Content of a file: a list where it is short, else a file
// tree.
type FileWriter struct {
	b       builder
	content Content
	end     int64 // where the last piece ended
	grown   bool  // the pieces are in b and not in content
}

func NewFileWriter(k *seal.Keys, put Putter) *FileWriter {
	return &FileWriter{b: builder{k: k, kind: fileTree, put: put}}
}

// Add takes the next piece, which begins where the last one ended or, after a
// hole, later.
func (w *FileWriter) Add(off, length int64, id schemas.ChunkID) error {
	p := Piece{Off: off, Len: length, ID: id}
	if err := p.check(w.end, maxFileSize); err != nil {
		w.b.err = errors.Join(w.b.err, err)
		return w.b.err
	}
	w.end = off + length
	w.content.Bytes += length
	if !w.grown && len(w.content.Pieces) < maxInlinePieces {
		w.content.Pieces = append(w.content.Pieces, p)
		return w.b.err
	}
	for _, early := range w.content.Pieces {
		w.addToTree(early)
	}
	w.content.Pieces, w.grown = nil, true
	return w.addToTree(p)
}

// maxFileSize is the largest offset that a file can have, in bytes.
const maxFileSize = 1<<63 - 1

func (w *FileWriter) addToTree(p Piece) error {
	return w.b.add(0, offsetKey(p.Off), func(n *openNode) {
		n.items.arrayLen(3)
		n.items.int(p.Off)
		n.items.int(p.Len)
		n.items.place(n.dataPlace(p.ID))
	})
}

// Finish returns the content, with all its nodes put. The writer cannot be used
// any more.
func (w *FileWriter) Finish() (Content, error) {
	if !w.grown {
		return w.content, w.b.err
	}
	root, err := w.b.finish()
	w.content.Tree = root
	return w.content, err
}

// builder makes a tree of either kind from items in ascending order.
type builder struct {
	k      *seal.Keys
	kind   treeKind
	put    Putter
	levels []*openNode // from the leaves up
	last   string      // key of the last item
	err    error
}

// openNode is a node that is being filled.
type openNode struct {
	items  packer
	whole  packer // room for the payload
	count  int    // items in it
	first  string // key of the first item
	weight int
	refs   int // places given to the current item
	trees  edgeList
	data   edgeList

	closed int             // nodes put at this level so far
	lastID schemas.ChunkID // the id of the last of them
}

func newOpenNode() *openNode {
	return &openNode{trees: newEdgeList(), data: newEdgeList()}
}

// treePlace and dataPlace are where the node's edges name id, which they do
// once however many items do.
func (n *openNode) treePlace(id schemas.ChunkID) uint16 {
	n.refs++
	return n.trees.place(id)
}

func (n *openNode) dataPlace(id schemas.ChunkID) uint16 {
	n.refs++
	return n.data.place(id)
}

// edgeList is one of a node's two lists of edges, in order of first use.
type edgeList struct {
	ids    []schemas.ChunkID
	places map[schemas.ChunkID]uint16
}

func newEdgeList() edgeList { return edgeList{places: map[schemas.ChunkID]uint16{}} }

func (l *edgeList) place(id schemas.ChunkID) uint16 {
	place, ok := l.places[id]
	if !ok {
		place = uint16(len(l.ids))
		l.ids = append(l.ids, id)
		l.places[id] = place
	}
	return place
}

func (l *edgeList) reset() {
	l.ids = l.ids[:0]
	clear(l.places)
}

// add has write append one item to the open node of a level, and ends the node
// where a border is due.
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

// graft makes a finished leaf, of these first and last keys, the next of the
// tree, which must be at a border.
func (b *builder) graft(id schemas.ChunkID, first, last string) error {
	if b.err == nil {
		b.err = b.checkOrder(0, first)
	}
	if b.err == nil {
		b.last = last
		b.err = b.name(0, first, id)
	}
	return b.err
}

// checkOrder holds the leaves' keys in order; the levels above follow.
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

// open is the open node of a level, which is made if it is the first.
func (b *builder) open(level int) *openNode {
	if level == len(b.levels) {
		b.levels = append(b.levels, newOpenNode())
	}
	return b.levels[level]
}

// isFull reports whether n ends after its last item, of this key and weight.
func (b *builder) isFull(level int, n *openNode, key string, weight int) bool {
	if level > 0 && n.count < minFanout {
		return false
	}
	return n.weight >= maxNode ||
		len(n.trees.ids)+len(n.data.ids) >= maxNodeEdges ||
		n.weight >= minNode && isBorder(b.k, b.kind, level, key, weight)
}

// close puts the open node of a level and names it in the level above.
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
	return b.name(level, n.first, id)
}

// name notes a node that ended at a level, in the level above.
func (b *builder) name(level int, first string, id schemas.ChunkID) error {
	n := b.levels[level]
	n.closed, n.lastID = n.closed+1, id
	return b.add(level+1, first, func(parent *openNode) {
		parent.items.arrayLen(2)
		parent.items.bin(first)
		parent.items.place(parent.treePlace(id))
	})
}

// payload is the node as msgpack. It is good until the next call.
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

// finish closes the open nodes from the leaves up. The root is the first level
// that is one node: naming it in a node above, as close has done, would only
// make the tree deeper, and that node is never put.
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
