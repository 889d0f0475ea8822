package tree

import (
	"context"
	"fmt"
	"sort"

	"servidor-backup/schemas"
)

// cursor walks the items of a tree in order. Its memory is bounded by the
// depth of the tree and the read-ahead. It enforces the rules of a tree: kinds
// and levels are right, keys ascend, and the keys of inner tree nodes are those of the
// first items below.
type cursor[T any] struct {
	ctx    context.Context
	get    Getter
	kind   treeKind
	decode func(*nodeReader) (key string, item T)
	from   string                // items before it are passed over
	within func(key string) bool // false for keys after the last wanted; nil: all
	ahead  int                   // how many leaves are fetched at once

	stack []*inner // the inner nodes on the way down, from the root
	leaf  *nodeReader
	id    schemas.ChunkID // of the leaf
	left  int             // items left in leaf
	first string          // what the leaf's first key must be; "" in a root
	last  string          // key of the last item
	done  bool
	err   error
	// getFailed: err is an error of get.
	getFailed bool
}

// inner is an inner tree node on the way down, with its children from the next one on.
type inner struct {
	level    int
	children []child
	fetched  []Node // the nodes of the first children
}

type child struct {
	key string // the first one below it; "" for the root
	id  schemas.ChunkID
}

// aboveRoot returns the stack with which a walk begins: an inner tree node above the root,
// with the root as its only child.
func aboveRoot(root schemas.ChunkID) []*inner {
	return []*inner{{level: maxDepth, children: []child{{id: root}}}}
}

// KeyRange is a range of keys, From included and To excluded. An empty To is the end of
// the tree.
type KeyRange struct{ From, To string }

// Resume lets the cursor go on after get has failed. After the first failure it makes the
// cursor fetch one tree node at a time, and lost is nil. If the cursor did that already, Resume
// makes it pass over the tree node that get failed with, and lost is the range of keys below
// that tree node. It reports false, and changes nothing, if the error is not one of get or if
// the tree node is the root.
func (c *cursor[T]) Resume() (lost *KeyRange, ok bool) {
	if !c.getFailed || len(c.stack) == 1 {
		return nil, false
	}
	c.err, c.getFailed = nil, false
	if c.ahead > 1 {
		c.ahead = 1
		return nil, true
	}
	c.ahead = readAhead
	top := c.stack[len(c.stack)-1]
	lost = &KeyRange{From: top.children[0].key}
	top.children = top.children[1:]
	// The lowest tree node that has more children has the next key.
	for _, n := range c.stack {
		if len(n.children) > 0 {
			lost.To = n.children[0].key
		}
	}
	return lost, true
}

// Next returns the next item, or false after the last. After an error it
// returns that error again. The caller owns the item.
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
		case c.within != nil && c.isBeyond(key):
			c.done = true
		case c.from == "" || c.kind.compare(key, c.from) >= 0:
			return item, true, nil
		}
	}
	return none, false, c.err
}

// nextWhole returns the rest of the leaf that the cursor is in, or the next leaf; nil
// items after the last. last says that it is the last leaf. It is for cursors that pass
// over nothing, and must not be mixed with Next.
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
	for _, n := range c.stack {
		last = last && len(n.children) == 0
	}
	return c.id, items, last, nil
}

// isBeyond reports whether key comes after everything that is wanted.
func (c *cursor[T]) isBeyond(key string) bool {
	return c.kind.compare(key, c.from) > 0 && !c.within(key)
}

// nextItem decodes the next item of the leaf.
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

// nextLeaf goes down to the next leaf that may have wanted items.
func (c *cursor[T]) nextLeaf() error {
	for len(c.stack) > 0 {
		top := c.stack[len(c.stack)-1]
		if len(top.children) == 0 || c.within != nil && c.isChildBeyond(top.children[0]) {
			c.stack = c.stack[:len(c.stack)-1]
			continue
		}
		if err := c.fetch(top); err != nil {
			return err
		}
		next, node := top.children[0], top.fetched[0]
		top.children, top.fetched = top.children[1:], top.fetched[1:]
		isLeaf, err := c.enter(top.level, next, node)
		if err != nil {
			return damaged("tree chunk", next.id, err)
		}
		if isLeaf {
			return nil
		}
	}
	c.done = true
	return nil
}

func (c *cursor[T]) isChildBeyond(next child) bool { return next.key != "" && c.isBeyond(next.key) }

// fetch fetches the next child of n unless it is fetched already. If the children are
// leaves, it fetches the siblings after it too.
func (c *cursor[T]) fetch(n *inner) error {
	if len(n.fetched) > 0 {
		return nil
	}
	count := 1
	if n.level == 1 {
		count = min(c.ahead, len(n.children))
	}
	var ids []schemas.ChunkID
	for i, next := range n.children[:count] {
		if i > 0 && c.within != nil && c.isChildBeyond(next) {
			break
		}
		ids = append(ids, next.id)
	}
	nodes, err := c.get(c.ctx, ids)
	if err != nil {
		c.getFailed = true
		return err
	}
	if len(nodes) != len(ids) {
		return fmt.Errorf("asked for %d tree chunks, got %d: this is a bug", len(ids), len(nodes))
	}
	n.fetched = nodes
	return nil
}

// enter makes a tree node the cursor's leaf or the top of its stack. The tree node is the child
// of one at the level above.
func (c *cursor[T]) enter(above int, at child, node Node) (isLeaf bool, err error) {
	r := newNodeReader(node)
	level, items := r.header(c.kind)
	isRoot := above == maxDepth
	switch {
	case r.err != nil:
		return false, r.err
	case !isRoot && level != above-1:
		return false, fmt.Errorf("level %d below level %d", level, above)
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
	c.stack = append(c.stack, &inner{level: level, children: c.skipBeforeFrom(children)})
	return false, nil
}

// children reads the items of an inner tree node. Its first key must be first, unless that is
// "".
func (c *cursor[T]) children(r *nodeReader, items int, first string) ([]child, error) {
	children := make([]child, 0, items)
	for range items {
		if n := r.arrayLen(2); r.err == nil && n != 2 {
			r.fail(fmt.Errorf("an item has %d parts", n))
		}
		next := child{key: r.str(c.kind.keySize()), id: r.treeEdge()}
		switch {
		case r.err != nil:
			return nil, r.err
		case next.key == "":
			return nil, fmt.Errorf("an item has no key")
		case len(children) > 0 && c.kind.compare(next.key, children[len(children)-1].key) <= 0:
			return nil, fmt.Errorf("%q comes after %q", next.key, children[len(children)-1].key)
		}
		children = append(children, next)
	}
	r.end()
	if r.err == nil && first != "" && children[0].key != first {
		r.err = fmt.Errorf("it begins with %q and not with %q", children[0].key, first)
	}
	return children, r.err
}

// skipBeforeFrom leaves out the children that end before c.from.
func (c *cursor[T]) skipBeforeFrom(children []child) []child {
	if c.from == "" {
		return children
	}
	after := sort.Search(len(children), func(i int) bool { return c.kind.compare(children[i].key, c.from) > 0 })
	return children[max(after-1, 0):]
}
