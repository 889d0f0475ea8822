package tree

import (
	"fmt"
	"io"
	"slices"

	"servidor-backup/schemas"
)

// nodeReader reads a tree node's payload. The first error stays, and everything
// after it reads as zero. Every length is checked against the bytes that are left
// before memory is allocated for it.
//
// Integers and lengths may have any width, and bytes may be str, because another
// program may have written them so.
type nodeReader struct {
	node Node
	text string // the payload; strings that are read are parts of it
	pos  int    // how many of its bytes are read
	err  error

	entries []Entry // allocated and not yet used
	pieces  []Piece // allocated and not yet used
}

func newNodeReader(node Node) *nodeReader {
	return &nodeReader{node: node, text: string(node.Payload)}
}

func (r *nodeReader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// left returns how many bytes are left.
func (r *nodeReader) left() int { return len(r.text) - r.pos }

// read reads n bytes. It returns "" and fails if fewer are left.
func (r *nodeReader) read(n int) string {
	if r.err != nil || n > r.left() {
		r.fail(io.ErrUnexpectedEOF)
		return ""
	}
	r.pos += n
	return r.text[r.pos-n : r.pos]
}

// format reads the first byte of a value, which says what the value is. At the end it
// returns 0xc1, with which no value begins.
func (r *nodeReader) format() byte {
	if r.err != nil || r.pos == len(r.text) {
		r.fail(io.ErrUnexpectedEOF)
		return 0xc1
	}
	r.pos++
	return r.text[r.pos-1]
}

// bigEndian reads an unsigned number of n bytes.
func (r *nodeReader) bigEndian(n int) (v uint64) {
	s := r.read(n)
	for i := range len(s) {
		v = v<<8 | uint64(s[i])
	}
	return v
}

// number reads an integer of any form. A negative integer is in two's complement.
func (r *nodeReader) number() uint64 {
	switch c := r.format(); {
	case c <= 0x7f || c >= 0xe0:
		return uint64(int8(c))
	case c >= 0xcc && c <= 0xcf:
		return r.bigEndian(1 << (c - 0xcc))
	case c == 0xd0:
		return uint64(int8(r.bigEndian(1)))
	case c == 0xd1:
		return uint64(int16(r.bigEndian(2)))
	case c == 0xd2:
		return uint64(int32(r.bigEndian(4)))
	case c == 0xd3:
		return r.bigEndian(8)
	case c != 0xc0: // nil is 0
		r.fail(fmt.Errorf("a number that begins with %#x", c))
	}
	return 0
}

func (r *nodeReader) uint(limit uint64) uint64 {
	v := r.number()
	if r.err != nil {
		return 0
	}
	if v > limit {
		r.err = fmt.Errorf("the number %d where %d is the limit", v, limit)
		return 0
	}
	return v
}

func (r *nodeReader) int() int64 {
	v := r.number()
	if r.err != nil {
		return 0
	}
	return int64(v)
}

func (r *nodeReader) arrayLen(limit int) int { return r.listLen(0x90, 0xdc, limit) }

func (r *nodeReader) mapLen(limit int) int { return r.listLen(0x80, 0xde, limit) }

// listLen reads the length of a list or map. fix is the first byte of an empty one, to
// which the length of a short one is added; long is the first byte of one with a length
// of 16 bits.
func (r *nodeReader) listLen(fix, long byte, limit int) int {
	switch c := r.format(); {
	case c&0xf0 == fix:
		return r.length(uint64(c&0x0f), limit)
	case c == long:
		return r.length(r.bigEndian(2), limit)
	case c == long+1:
		return r.length(r.bigEndian(4), limit)
	default:
		r.fail(fmt.Errorf("a list that begins with %#x", c))
		return 0
	}
}

// length checks a length that was read against limit and the bytes that are left. It
// returns the length, or 0 after an error.
func (r *nodeReader) length(n uint64, limit int) int {
	limit = min(limit, r.left())
	if n > uint64(limit) {
		r.fail(fmt.Errorf("a length of %d where %d is the limit", n, limit))
	}
	if r.err != nil {
		return 0
	}
	return int(n)
}

// str reads a msgpack bin or str of at most limit bytes. The result shares memory with
// the whole payload, so a caller that keeps it for long should keep a copy.
func (r *nodeReader) str(limit int) string {
	n := uint64(0)
	switch c := r.format(); {
	case c&0xe0 == 0xa0:
		n = uint64(c & 0x1f)
	case c >= 0xc4 && c <= 0xc6:
		n = r.bigEndian(1 << (c - 0xc4))
	case c >= 0xd9 && c <= 0xdb:
		n = r.bigEndian(1 << (c - 0xd9))
	default:
		r.fail(fmt.Errorf("bytes that begin with %#x", c))
	}
	return r.read(r.length(n, limit))
}

// bytes reads the same as str. The caller owns the result.
func (r *nodeReader) bytes(limit int) []byte { return append([]byte(nil), r.str(limit)...) }

func (r *nodeReader) treeEdge() schemas.ChunkID { return r.edge(r.node.Trees) }

func (r *nodeReader) dataEdge() schemas.ChunkID { return r.edge(r.node.Data) }

func (r *nodeReader) edge(edges []schemas.ChunkID) (id schemas.ChunkID) {
	index := r.uint(schemas.MaxEdges)
	switch {
	case r.err != nil:
	case index >= uint64(len(edges)):
		r.err = fmt.Errorf("the index %d in a list of %d edges", index, len(edges))
	default:
		id = edges[index]
	}
	return id
}

// allocBatch is how many entries or pieces are allocated at once. One of them keeps the
// whole batch in memory, so a batch is small.
const allocBatch = 32

// newEntry returns an empty entry. Allocating many at once is much faster.
func (r *nodeReader) newEntry() *Entry {
	if len(r.entries) == 0 {
		r.entries = make([]Entry, allocBatch)
	}
	e := &r.entries[0]
	r.entries = r.entries[1:]
	return e
}

// newPieces returns n empty pieces.
func (r *nodeReader) newPieces(n int) []Piece {
	if n > len(r.pieces) {
		r.pieces = make([]Piece, max(n, allocBatch))
	}
	ps := slices.Clip(r.pieces[:n])
	r.pieces = r.pieces[n:]
	return ps
}

// end fails unless everything has been read.
func (r *nodeReader) end() {
	if n := r.left(); r.err == nil && n > 0 {
		r.err = fmt.Errorf("%d bytes follow the end", n)
	}
}

// header reads what comes before the items, and the number of items.
func (r *nodeReader) header(kind treeKind) (level, items int) {
	if n := r.arrayLen(4); r.err == nil && n != 4 {
		r.fail(fmt.Errorf("a node of %d parts", n))
	}
	if v := r.uint(1<<64 - 1); r.err == nil && v != nodeVersion {
		r.fail(schemas.Errorf(schemas.TooNew, "the tree has version %d, and this program knows version %d: use a newer program", v, nodeVersion))
	}
	if k := r.uint(255); r.err == nil && k != uint64(kind) {
		r.fail(fmt.Errorf("a node of kind %d where %d was expected", k, kind))
	}
	level = int(r.uint(maxDepth - 1))
	return level, r.arrayLen(len(r.node.Payload))
}
