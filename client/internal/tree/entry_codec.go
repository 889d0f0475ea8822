package tree

import (
	"fmt"
	"slices"
)

// An entry in a leaf is a msgpack map of one-letter keys. Fields that are zero
// are left out, the others come in this order:
//
//	p path       t type      m mode      u uid        g gid
//	U user       G group     w mtime     c ctime      s size
//	d dev        i ino       h hard link l target     r rdev
//	x xattrs     X xattr content         b content
//
// Paths, names and targets are msgpack bin, because they need not be UTF-8. x is a
// flat list name, value, name, value, …. A content is a flat list as well. It has three
// numbers (gap, length, index) for each piece, where gap is the length of the hole
// before it; a lone piece that does not begin where its chunk does has a fourth number,
// skip. A file tree has the two numbers (bytes, index) instead. The index is that of
// the edge: in the leaf's trees for a file tree, in its data for a piece. It always
// takes three bytes, so that the length of an entry does not depend on its position.
//
// A new field needs a new nodeVersion: a program that does not know the field would
// drop it when it reuses the entry in the next version.

// encode writes the entry as an item of n.
func (e *Entry) encode(n *openNode) {
	f := fieldWriter{packer: &n.items, node: n, head: len(n.items.buf)}
	f.buf = append(f.buf, 0) // for the map's length, which end writes
	f.bytes('p', e.Path)
	f.uint('t', uint64(e.Type))
	f.uint('m', uint64(e.Mode))
	f.uint('u', uint64(e.UID))
	f.uint('g', uint64(e.GID))
	f.bytes('U', e.User)
	f.bytes('G', e.Group)
	f.int('w', e.Mtime)
	f.int('c', e.Ctime)
	f.int('s', e.Size)
	f.uint('d', e.Dev)
	f.uint('i', e.Ino)
	f.bytes('h', e.HardLink)
	f.bytes('l', e.Target)
	f.uint('r', e.Rdev)
	f.xattrs('x', e.Xattrs)
	f.content('X', &e.XattrContent)
	f.content('b', &e.Content)
	f.end()
}

// fieldWriter writes the fields of a map and counts them.
type fieldWriter struct {
	*packer
	node  *openNode
	head  int // offset in buf where the map begins
	count int
}

// key begins a field if write is set, and returns write.
func (f *fieldWriter) key(key byte, write bool) bool {
	if write {
		f.count++
		f.buf = append(f.buf, 0xa1, key)
	}
	return write
}

// end writes the map's length into the byte that is reserved for it. The few maps whose
// length needs more bytes are moved.
func (f *fieldWriter) end() {
	if f.count < 16 {
		f.buf[f.head] = 0x80 | byte(f.count)
		return
	}
	f.buf = slices.Replace(f.buf, f.head, f.head+1, 0xde, 0, byte(f.count))
}

func (f *fieldWriter) uint(key byte, v uint64) {
	if f.key(key, v != 0) {
		f.packer.uint(v)
	}
}

func (f *fieldWriter) int(key byte, v int64) {
	if f.key(key, v != 0) {
		f.packer.int(v)
	}
}

func (f *fieldWriter) bytes(key byte, v string) {
	if f.key(key, v != "") {
		f.bin(v)
	}
}

func (f *fieldWriter) xattrs(key byte, xs []Xattr) {
	if f.key(key, len(xs) > 0) {
		f.xattrList(xs)
	}
}

func (f *fieldWriter) content(key byte, c *Content) {
	if !f.key(key, !c.isEmpty()) {
		return
	}
	if !c.Tree.IsZero() {
		f.arrayLen(2)
		f.packer.int(c.Bytes)
		f.index(f.node.treeIndex(c.Tree))
		return
	}
	skip := c.Pieces[0].Skip
	f.arrayLen(3*len(c.Pieces) + boolInt(skip != 0))
	end := int64(0)
	for _, p := range c.Pieces {
		f.packer.int(p.Off - end)
		f.packer.int(p.Len)
		f.index(f.node.dataIndex(p.ID))
		end = p.Off + p.Len
	}
	if skip != 0 {
		f.packer.int(skip)
	}
}

// decodeEntry reads an item that encode wrote. An error stays in r.
func decodeEntry(r *nodeReader) (string, *Entry) {
	e := r.newEntry()
	for range r.mapLen(maxFields) {
		e.decodeField(r, r.str(1))
	}
	if r.err == nil {
		r.err = e.Check()
	}
	return e.Path, e
}

// maxFields is the number of fields that an entry has in nodeVersion 1.
const maxFields = 18

func (e *Entry) decodeField(r *nodeReader, key string) {
	switch key {
	case "p":
		e.Path = r.str(MaxPath)
	case "t":
		e.Type = EntryType(r.uint(1<<8 - 1))
	case "m":
		e.Mode = uint32(r.uint(1<<32 - 1))
	case "u":
		e.UID = uint32(r.uint(1<<32 - 1))
	case "g":
		e.GID = uint32(r.uint(1<<32 - 1))
	case "U":
		e.User = r.str(maxName)
	case "G":
		e.Group = r.str(maxName)
	case "w":
		e.Mtime = r.int()
	case "c":
		e.Ctime = r.int()
	case "s":
		e.Size = r.int()
	case "d":
		e.Dev = r.uint(1<<64 - 1)
	case "i":
		e.Ino = r.uint(1<<64 - 1)
	case "h":
		e.HardLink = r.str(MaxPath)
	case "l":
		e.Target = r.str(maxTarget)
	case "r":
		e.Rdev = r.uint(1<<64 - 1)
	case "x":
		e.Xattrs = r.xattrs(MaxInlineXattrs)
	case "X":
		e.XattrContent = r.content()
	case "b":
		e.Content = r.content()
	default:
		r.fail(fmt.Errorf("the entry has the unknown field %q", key))
	}
}

// content reads what fieldWriter.content wrote.
func (r *nodeReader) content() (c Content) {
	n := r.arrayLen(3 * maxInlinePieces)
	if n == 2 {
		c.Bytes = r.int()
		c.Tree = r.treeEdge()
		return c
	}
	hasSkip := n == 4
	if n%3 != 0 && !hasSkip {
		r.fail(fmt.Errorf("a content has %d numbers", n))
		return c
	}
	end := int64(0)
	c.Pieces = r.newPieces(n / 3)
	for i := range c.Pieces {
		p := Piece{Off: end + r.int(), Len: r.int(), ID: r.dataEdge()}
		c.Pieces[i] = p
		c.Bytes += p.Len
		end = p.Off + p.Len
	}
	if hasSkip {
		c.Pieces[0].Skip = r.int()
	}
	return c
}

// xattrs reads what packer.xattrList wrote. Names and values have at most limit bytes
// each.
func (r *nodeReader) xattrs(limit int) []Xattr {
	n := r.arrayLen(limit)
	if n%2 != 0 {
		r.fail(fmt.Errorf("a list of attributes has the odd length %d", n))
	}
	var xs []Xattr
	for range n / 2 {
		x := Xattr{Name: r.str(limit), Value: r.bytes(limit)}
		if r.err != nil {
			return nil
		}
		xs = append(xs, x)
	}
	if err := checkXattrOrder(xs); err != nil {
		r.fail(err)
	}
	return xs
}
