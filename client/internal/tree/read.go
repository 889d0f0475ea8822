package tree

import (
	"context"
	"fmt"
	"io/fs"
	"sort"

	"servidor-backup/schemas"
)

// Getter fetches and opens tree chunks: one node for each id, in the same
// order. The nodes are the reader's.
type Getter func(ctx context.Context, ids []schemas.ChunkID) ([]Node, error)

// readAhead is how many leaves are asked for at once, so that a walk is not
// slowed by the way to the nodes; about 1 MiB of memory.
const readAhead = 16

// Reader reads the path tree of a version. It keeps nothing, and is safe for
// concurrent use if get is.
type Reader struct {
	Get  Getter
	Root schemas.ChunkID
}

func NewReader(get Getter, root schemas.ChunkID) *Reader {
	return &Reader{Get: get, Root: root}
}

// Entries yields entries in order; see [tree.Entries.Next].
type Entries = cursor[*Entry]

// Iterate walks the entries from the first one that is not before from; "."
// begins at the first.
func (r *Reader) Iterate(ctx context.Context, from string) *Entries {
	return r.cursor(ctx, from, readAhead)
}

// Subtree walks the entry at top and everything below it.
func (r *Reader) Subtree(ctx context.Context, top string) *Entries {
	c := r.cursor(ctx, top, readAhead)
	c.within = func(path string) bool { return InSubtree(path, top) }
	return c
}

// Lookup is the entry at path, or an fs.ErrNotExist.
func (r *Reader) Lookup(ctx context.Context, path string) (*Entry, error) {
	e, ok, err := r.cursor(ctx, path, 1).Next()
	if err != nil {
		return nil, err
	}
	if !ok || e.Path != path {
		return nil, fmt.Errorf("%q is not in this version: %w", path, fs.ErrNotExist)
	}
	return e, nil
}

// Pieces walks the content of a file of this size. (For an entry: e.Content and
// e.Size; for its attributes: e.XattrContent and MaxXattrs.)
func (r *Reader) Pieces(ctx context.Context, content Content, size int64) *Pieces {
	return NewPieces(ctx, r.Get, content, size)
}

func (r *Reader) cursor(ctx context.Context, from string, ahead int) *Entries {
	return &Entries{ctx: ctx, get: r.Get, kind: pathTree, decode: decodeEntry, from: from, ahead: ahead,
		stack: []*frame{{level: maxDepth, children: []child{{id: r.Root}}}}}
}

// Pieces yields a file's pieces, ascending by offset.
type Pieces struct {
	content Content
	cursor  *cursor[Piece] // nil when the pieces are in content
	size    int64
	end     int64 // of the last piece
	bytes   int64 // yielded so far
}

// NewPieces is [Reader.pieces] for who has no tree of paths.
func NewPieces(ctx context.Context, get Getter, content Content, size int64) *Pieces {
	it := &Pieces{content: content, size: size}
	if !content.Tree.IsZero() {
		it.cursor = &cursor[Piece]{ctx: ctx, get: get, kind: fileTree, decode: decodePiece, ahead: readAhead,
			stack: []*frame{{level: maxDepth, children: []child{{id: content.Tree}}}}}
	}
	return it
}

// Next returns the next piece, or false after the last. The pieces do not
// overlap, lie within the file, and sum up to content.Bytes: else the error is
// ErrDamaged.
func (it *Pieces) Next() (Piece, bool, error) {
	p, ok, err := it.step()
	if err != nil {
		return Piece{}, false, err
	}
	if !ok {
		if it.bytes != it.content.Bytes {
			return Piece{}, false, damaged("file tree", it.content.Tree, fmt.Errorf("%d bytes of content where %d are named", it.bytes, it.content.Bytes))
		}
		return Piece{}, false, nil
	}
	if err := p.check(it.end, it.size); err != nil {
		return Piece{}, false, damaged("file tree", it.content.Tree, err)
	}
	it.end = p.Off + p.Len
	it.bytes += p.Len
	return p, true, nil
}

func (it *Pieces) step() (Piece, bool, error) {
	if it.cursor != nil {
		return it.cursor.Next()
	}
	if len(it.content.Pieces) == 0 {
		return Piece{}, false, nil
	}
	p := it.content.Pieces[0]
	it.content.Pieces = it.content.Pieces[1:]
	return p, true, nil
}

func decodePiece(r *nodeReader) (string, Piece) {
	if n := r.arrayLen(3); r.err == nil && n != 3 {
		r.fail(fmt.Errorf("a piece of %d numbers", n))
	}
	p := Piece{Off: r.int(), Len: r.int(), ID: r.dataEdge()}
	if r.err == nil {
		r.err = p.check(0, maxFileSize)
	}
	return offsetKey(p.Off), p
}

// cursor walks the items of a tree in order. Its memory is bounded by the
// depth of the tree and the read-ahead. It holds the tree to its rules: kinds
// and levels are right, keys ascend, and the keys of inner nodes are true.
type cursor[T any] struct {
	ctx    context.Context
	get    Getter
	kind   treeKind
	decode func(*nodeReader) (key string, item T)
	from   string                // items before it are passed over
	within func(key string) bool // false for keys after the last wanted; nil: all
	ahead  int

	stack []*frame // inner nodes from the root down
	leaf  *nodeReader
	id    schemas.ChunkID // of the leaf
	left  int             // items left in leaf
	first string          // what the leaf's first key must be; "" in a root
	last  string          // key of the last item
	done  bool
	err   error
	// failed: err is one of get.
	failed bool
}

// KeyRange are the keys from one on and before the other; "" is the end.
type KeyRange struct{ From, To string }

// Resume lets the cursor go on after get has failed. At first it asks for one node
// at a time, and lost is nil. If that is what it did, it passes over the node that
// get failed with, and lost is what was below that. It reports false, and changes
// nothing, if the error is not one of get, or if the node is the root.
func (c *cursor[T]) Resume() (lost *KeyRange, ok bool) {
	if !c.failed || len(c.stack) == 1 {
		return nil, false
	}
	c.err, c.failed = nil, false
	if c.ahead > 1 {
		c.ahead = 1
		return nil, true
	}
	c.ahead = readAhead
	top := c.stack[len(c.stack)-1]
	lost = &KeyRange{From: top.children[0].key}
	top.children = top.children[1:]
	for _, f := range c.stack { // from the root down: the lowest one that has more is the next
		if len(f.children) > 0 {
			lost.To = f.children[0].key
		}
	}
	return lost, true
}

// frame is an inner node on the way down, with its children from the next one
// on. The lowest frame stands above the root and has it as its only child.
type frame struct {
	level    int
	children []child
	fetched  []Node // the first of children
}

type child struct {
	key string
	id  schemas.ChunkID
}

// Next returns the next item, or false after the last. After an error it
// returns that error again. The item is the caller's.
func (c *cursor[T]) Next() (T, bool, error) {
	var none T
	for c.err == nil && !c.done {
		if c.left == 0 {
			c.err = c.nextLeaf()
			continue
		}
		key, item := c.nextItem()
		switch {
		case c.err != nil:
			return none, false, c.err
		case c.within != nil && c.beyond(key):
			c.done = true
		case c.from == "" || c.kind.compare(key, c.from) >= 0:
			return item, true, nil
		}
	}
	return none, false, c.err
}

// beyond reports whether key comes after everything that is wanted.
func (c *cursor[T]) beyond(key string) bool {
	return c.kind.compare(key, c.from) > 0 && !c.within(key)
}

// nextItem decodes an item of the leaf.
func (c *cursor[T]) nextItem() (string, T) {
	key, item := c.decode(c.leaf)
	c.left--
	if c.left == 0 {
		c.leaf.end()
	}
	switch {
	case c.first != "" && key != c.first:
		c.leaf.fail(fmt.Errorf("it begins with %q and not with %q", key, c.first))
	case c.last != "" && c.kind.compare(key, c.last) <= 0:
		c.leaf.fail(fmt.Errorf("%q comes after %q", key, c.last))
	}
	c.first, c.last = "", key
	if c.leaf.err != nil {
		c.err = damaged("tree chunk", c.id, c.leaf.err)
	}
	return key, item
}

// nextLeaf goes down to the next leaf that has wanted items.
func (c *cursor[T]) nextLeaf() error {
	for len(c.stack) > 0 {
		top := c.stack[len(c.stack)-1]
		if len(top.children) == 0 || c.within != nil && c.beyondChild(top.children[0]) {
			c.stack = c.stack[:len(c.stack)-1]
			continue
		}
		if err := c.fetch(top); err != nil {
			return err
		}
		at, node := top.children[0], top.fetched[0]
		top.children, top.fetched = top.children[1:], top.fetched[1:]
		isLeaf, err := c.enter(top.level, at, node)
		if err != nil {
			return damaged("tree chunk", at.id, err)
		}
		if isLeaf {
			return nil
		}
	}
	c.done = true
	return nil
}

func (c *cursor[T]) beyondChild(at child) bool { return at.key != "" && c.beyond(at.key) }

// fetch has the next child of f at hand: with siblings, if they are leaves.
func (c *cursor[T]) fetch(f *frame) error {
	if len(f.fetched) > 0 {
		return nil
	}
	want := 1
	if f.level == 1 {
		want = min(c.ahead, len(f.children))
	}
	var ids []schemas.ChunkID
	for i, at := range f.children[:want] {
		if i > 0 && c.within != nil && c.beyondChild(at) {
			break
		}
		ids = append(ids, at.id)
	}
	nodes, err := c.get(c.ctx, ids)
	if err != nil {
		c.failed = true
		return err
	}
	if len(nodes) != len(ids) {
		return fmt.Errorf("%d tree chunks came back where %d were asked for: this is a bug", len(nodes), len(ids))
	}
	f.fetched = nodes
	return nil
}

// enter makes a node, found below a level, the cursor's leaf or its top frame.
func (c *cursor[T]) enter(below int, at child, node Node) (isLeaf bool, err error) {
	r := newNodeReader(node)
	level, items := r.header(c.kind)
	isRoot := below == maxDepth
	switch {
	case r.err != nil:
		return false, r.err
	case !isRoot && level != below-1:
		return false, fmt.Errorf("level %d below level %d", level, below)
	case items == 0 && (level > 0 || !isRoot):
		return false, fmt.Errorf("it has no items")
	case level == 0:
		c.leaf, c.id, c.left, c.first = r, at.id, items, at.key
		if items == 0 {
			r.end()
		}
		return true, r.err
	}
	children, err := c.children(r, items, at.key)
	if err != nil {
		return false, err
	}
	c.stack = append(c.stack, &frame{level: level, children: c.skip(children)})
	return false, nil
}

// children reads the items of an inner node whose first key must be first.
func (c *cursor[T]) children(r *nodeReader, items int, first string) ([]child, error) {
	children := make([]child, 0, items)
	for range items {
		if n := r.arrayLen(2); r.err == nil && n != 2 {
			r.fail(fmt.Errorf("an item of %d parts", n))
		}
		at := child{key: r.str(c.kind.keySize()), id: r.treeEdge()}
		switch {
		case r.err != nil:
			return nil, r.err
		case at.key == "":
			return nil, fmt.Errorf("an item without a key")
		case len(children) > 0 && c.kind.compare(at.key, children[len(children)-1].key) <= 0:
			return nil, fmt.Errorf("%q comes after %q", at.key, children[len(children)-1].key)
		}
		children = append(children, at)
	}
	r.end()
	if r.err == nil && first != "" && children[0].key != first {
		r.err = fmt.Errorf("it begins with %q and not with %q", children[0].key, first)
	}
	return children, r.err
}

// skip leaves out the children that end before from.
func (c *cursor[T]) skip(children []child) []child {
	if c.from == "" {
		return children
	}
	after := sort.Search(len(children), func(i int) bool { return c.kind.compare(children[i].key, c.from) > 0 })
	return children[max(after-1, 0):]
}
