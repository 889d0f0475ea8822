package tree

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"

	"servidor-backup/schemas"
)

// Trees are msgpack by hand: a backup reads and writes an entry for every file,
// changed or not, and this is most of what it does for one that has not changed.

// packer writes msgpack in its shortest form to a buffer.
type packer struct{ buf []byte }

func (p *packer) arrayLen(n int) {
	switch {
	case n < 16:
		p.buf = append(p.buf, 0x90|byte(n))
	case n <= math.MaxUint16:
		p.buf = binary.BigEndian.AppendUint16(append(p.buf, 0xdc), uint16(n))
	default:
		p.buf = binary.BigEndian.AppendUint32(append(p.buf, 0xdd), uint32(n))
	}
}

func (p *packer) uint(v uint64) {
	switch {
	case v <= math.MaxInt8:
		p.buf = append(p.buf, byte(v))
	case v <= math.MaxUint8:
		p.buf = append(p.buf, 0xcc, byte(v))
	case v <= math.MaxUint16:
		p.place(uint16(v))
	case v <= math.MaxUint32:
		p.buf = binary.BigEndian.AppendUint32(append(p.buf, 0xce), uint32(v))
	default:
		p.buf = binary.BigEndian.AppendUint64(append(p.buf, 0xcf), v)
	}
}

func (p *packer) int(v int64) {
	switch {
	case v >= 0:
		p.uint(uint64(v))
	case v >= -32:
		p.buf = append(p.buf, byte(v))
	case v >= math.MinInt8:
		p.buf = append(p.buf, 0xd0, byte(v))
	case v >= math.MinInt16:
		p.buf = binary.BigEndian.AppendUint16(append(p.buf, 0xd1), uint16(v))
	case v >= math.MinInt32:
		p.buf = binary.BigEndian.AppendUint32(append(p.buf, 0xd2), uint32(v))
	default:
		p.buf = binary.BigEndian.AppendUint64(append(p.buf, 0xd3), uint64(v))
	}
}

// place writes an edge's place: three bytes always.
func (p *packer) place(v uint16) {
	p.buf = binary.BigEndian.AppendUint16(append(p.buf, 0xcd), v)
}

func (p *packer) binLen(n int) {
	switch {
	case n <= math.MaxUint8:
		p.buf = append(p.buf, 0xc4, byte(n))
	case n <= math.MaxUint16:
		p.buf = binary.BigEndian.AppendUint16(append(p.buf, 0xc5), uint16(n))
	default:
		p.buf = binary.BigEndian.AppendUint32(append(p.buf, 0xc6), uint32(n))
	}
}

func (p *packer) bin(s string) {
	p.binLen(len(s))
	p.buf = append(p.buf, s...)
}

func (p *packer) xattrList(xs []Xattr) {
	p.arrayLen(2 * len(xs))
	for i := range xs {
		p.bin(xs[i].Name)
		p.binLen(len(xs[i].Value))
		p.buf = append(p.buf, xs[i].Value...)
	}
}

// nodeReader reads a node's payload. The first error stays, and everything
// after it reads as zero. Every length is checked against what is left before
// room is made for it.
//
// Integers and lengths may be of any width, and bytes may be str: other writers
// may know no better.
type nodeReader struct {
	node Node
	text string // the payload; strings that are read are parts of it
	pos  int    // what is read of it
	err  error

	entries []Entry // room for entries and their pieces
	pieces  []Piece
}

func newNodeReader(node Node) *nodeReader {
	return &nodeReader{node: node, text: string(node.Payload)}
}

func (r *nodeReader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// rest is how many bytes are left.
func (r *nodeReader) rest() int { return len(r.text) - r.pos }

// take reads n bytes, "" if there are not so many.
func (r *nodeReader) take(n int) string {
	if r.err != nil || n > r.rest() {
		r.fail(io.ErrUnexpectedEOF)
		return ""
	}
	r.pos += n
	return r.text[r.pos-n : r.pos]
}

// code reads the byte that says what comes; 0xc1, which nothing begins with, at
// the end.
func (r *nodeReader) code() byte {
	if r.err != nil || r.pos == len(r.text) {
		r.fail(io.ErrUnexpectedEOF)
		return 0xc1
	}
	r.pos++
	return r.text[r.pos-1]
}

// bigEndian reads a number of n bytes.
func (r *nodeReader) bigEndian(n int) (v uint64) {
	s := r.take(n)
	for i := range len(s) {
		v = v<<8 | uint64(s[i])
	}
	return v
}

// number reads an integer of any form; a negative one as its complement.
func (r *nodeReader) number() uint64 {
	switch c := r.code(); {
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

// listLen reads the length of a list or map: fix is the first byte of a short
// one, long that of one with a length of 16 bits.
func (r *nodeReader) listLen(fix, long byte, limit int) int {
	switch c := r.code(); {
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

// length passes on a length that was read, unless it is above limit or above
// the bytes that are left.
func (r *nodeReader) length(n uint64, limit int) int {
	limit = min(limit, r.rest())
	if n > uint64(limit) {
		r.fail(fmt.Errorf("a length of %d where %d is the limit", n, limit))
	}
	if r.err != nil {
		return 0
	}
	return int(n)
}

// str reads a msgpack bin or str of at most limit bytes. The result shares its
// memory with the whole node: who keeps it for long keeps a copy.
func (r *nodeReader) str(limit int) string {
	n := uint64(0)
	switch c := r.code(); {
	case c&0xe0 == 0xa0:
		n = uint64(c & 0x1f)
	case c >= 0xc4 && c <= 0xc6:
		n = r.bigEndian(1 << (c - 0xc4))
	case c >= 0xd9 && c <= 0xdb:
		n = r.bigEndian(1 << (c - 0xd9))
	default:
		r.fail(fmt.Errorf("bytes that begin with %#x", c))
	}
	return r.take(r.length(n, limit))
}

// bytes reads the same as str. The result is the caller's.
func (r *nodeReader) bytes(limit int) []byte { return append([]byte(nil), r.str(limit)...) }

func (r *nodeReader) treeEdge() schemas.ChunkID { return r.edge(r.node.Trees) }

func (r *nodeReader) dataEdge() schemas.ChunkID { return r.edge(r.node.Data) }

func (r *nodeReader) edge(edges []schemas.ChunkID) (id schemas.ChunkID) {
	place := r.uint(schemas.MaxEdges)
	switch {
	case r.err != nil:
	case place >= uint64(len(edges)):
		r.err = fmt.Errorf("the edge %d of %d", place, len(edges))
	default:
		id = edges[place]
	}
	return id
}

// roomFor is how many entries, or pieces, room is made for at once: what one of
// them keeps in memory when the others are gone is little.
const roomFor = 32

// newEntry is an empty entry. Making many at once is much faster.
func (r *nodeReader) newEntry() *Entry {
	if len(r.entries) == 0 {
		r.entries = make([]Entry, roomFor)
	}
	e := &r.entries[0]
	r.entries = r.entries[1:]
	return e
}

// newPieces are n empty pieces.
func (r *nodeReader) newPieces(n int) []Piece {
	if n > len(r.pieces) {
		r.pieces = make([]Piece, max(n, roomFor))
	}
	ps := slices.Clip(r.pieces[:n])
	r.pieces = r.pieces[n:]
	return ps
}

// end says that everything should have been read.
func (r *nodeReader) end() {
	if n := r.rest(); r.err == nil && n > 0 {
		r.err = fmt.Errorf("%d bytes too many", n)
	}
}

// header reads what comes before the items.
func (r *nodeReader) header(kind treeKind) (level, items int) {
	if n := r.arrayLen(4); r.err == nil && n != 4 {
		r.fail(fmt.Errorf("a node of %d parts", n))
	}
	if v := r.uint(1<<64 - 1); r.err == nil && v != nodeVersion {
		r.fail(schemas.Errorf(schemas.TooNew, "a tree of version %d, and this program knows version %d: use a newer program", v, nodeVersion))
	}
	if k := r.uint(255); r.err == nil && k != uint64(kind) {
		r.fail(fmt.Errorf("a node of kind %d where %d was expected", k, kind))
	}
	level = int(r.uint(maxDepth - 1))
	return level, r.arrayLen(len(r.node.Payload))
}
