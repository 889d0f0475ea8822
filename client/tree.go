package client

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vmihailenco/msgpack/v5"

	"servidor-backup/schemas"
)

// A version is a prolly tree: a search tree whose nodes are cut at borders that
// the keys decide, so that equal ranges of two versions are equal nodes, with
// equal ids, however each tree came about. The chunk list of a big file is a
// tree of the same make, keyed by offset.
//
// A node's payload is the msgpack list
//
//	[version, kind, level, [item, …]]
//
// with items strictly ascending by key:
//
//	path tree, level 0   the entry's map, see entrycodec.go
//	file tree, level 0   [offset, length, place in data]
//	level 1 and up       [first key below, place in trees]
//
// A key is the path, or the offset as 8 bytes big-endian; in inner nodes it is
// msgpack bin. A place counts in one of the chunk's two lists of clear edges;
// every edge is named by some item.
const nodeVersion = 1

// treeKind says what a tree's keys and items are. The numbers are part of the
// format.
type treeKind uint8

const (
	pathTree treeKind = 1
	fileTree treeKind = 2
)

// compare orders keys of the kind.
func (kind treeKind) compare(a, b string) int {
	if kind == pathTree {
		return comparePath(a, b)
	}
	return strings.Compare(a, b)
}

// keySize is the longest key of the kind, in bytes.
func (kind treeKind) keySize() int {
	if kind == pathTree {
		return maxPath
	}
	return 8
}

// offsetKey is the key of a piece in a file tree.
func offsetKey(off int64) string {
	return string(binary.BigEndian.AppendUint64(nil, uint64(off)))
}

// Where nodes end. Sizes are weights in bytes: an item's encoding and its edges.
const (
	// minNode and avgNode: small enough that one change costs little, large
	// enough to compress well and to be worth a request.
	minNode = 16 << 10
	avgNode = 64 << 10
	// maxNode and maxNodeEdges end a node wherever they are reached. Both
	// are passed by one item at most.
	maxNode      = 512 << 10
	maxNodeEdges = 4096
	// minFanout keeps a tree shallow even where every key is huge.
	minFanout = 4
	// maxDepth is how many levels a tree may have: far more than minFanout
	// needs for any file system, few enough to bound a hostile one.
	maxDepth = 16

	edgeSize = len(schemas.ChunkID{})
	// maxEntry is above the weight of any entry: the strings, the
	// attributes, two inline contents, and the fixed fields.
	maxEntry = 2*maxPath + maxTarget + maxInlineXattrs + 2*maxName + 2*maxInlinePieces*(edgeSize+24) + 1024
)

// A node with its last item fits a chunk. (If not, these constants are negative
// and do not compile.)
const (
	_ = uint(maxChunk - maxNode - maxEntry)
	_ = uint(maxNode - (minFanout-1)*(maxPath+edgeSize+16))
	_ = uint(schemas.MaxEdges - maxNodeEdges - 2*maxInlinePieces)
)

// isBorder decides whether a node ends after an item. It looks at the item's
// key and weight and at nothing else, so that two trees with an equal run of
// items fall into step within it; an entry whose content or time changes leaves
// the borders where they are. The chance is in proportion to the weight, which
// makes nodes of about avgNode of small and of large items alike. The level is
// in the hash because a key is first in a node of every level above, too.
func (k *keys) isBorder(kind treeKind, level int, key string, weight int) bool {
	h := k.borders.get()
	defer k.borders.put(h)
	h.Write([]byte{byte(kind), byte(level)})
	h.WriteString(key)
	var sum [32]byte
	h.Sum(sum[:0])
	draw := uint64(binary.LittleEndian.Uint32(sum[:]))
	return draw*(avgNode-minNode) < uint64(weight)<<32
}

// treeNode is a tree chunk opened: its payload and its clear edges.
type treeNode struct {
	payload     []byte
	trees, data []schemas.ChunkID
}

// damaged says what in a chunk is not as this package writes it. A payload is
// sealed and bound to its id, so this is a bug of the writer or a forger with
// the key, never a worn disk.
func damaged(what string, id schemas.ChunkID, err error) error {
	var own *schemas.Error
	if errors.As(err, &own) {
		return err
	}
	if !id.IsZero() {
		what += " " + id.Short()
	}
	return fmt.Errorf("%s cannot be read (%v): %w", what, err, ErrDamaged)
}

// nodeReader reads a node's payload. The first error stays, and everything
// after it reads as zero. Every length is checked against what is left before
// room is made for it.
type nodeReader struct {
	node    treeNode
	src     *bytes.Reader
	dec     *msgpack.Decoder
	scratch []byte // for what becomes a string
	err     error
}

func newNodeReader(node treeNode) *nodeReader {
	src := bytes.NewReader(node.payload)
	return &nodeReader{node: node, src: src, dec: msgpack.NewDecoder(src)}
}

func (r *nodeReader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *nodeReader) uint(limit uint64) uint64 {
	if r.err != nil {
		return 0
	}
	v, err := r.dec.DecodeUint64()
	switch {
	case err != nil:
		r.err = err
	case v > limit:
		r.err = fmt.Errorf("the number %d where %d is the limit", v, limit)
	default:
		return v
	}
	return 0
}

func (r *nodeReader) int() int64 {
	if r.err != nil {
		return 0
	}
	v, err := r.dec.DecodeInt64()
	if err != nil {
		r.err = err
		return 0
	}
	return v
}

func (r *nodeReader) arrayLen(limit int) int {
	n, err := r.dec.DecodeArrayLen()
	return r.length(n, err, limit)
}

func (r *nodeReader) mapLen(limit int) int {
	n, err := r.dec.DecodeMapLen()
	return r.length(n, err, limit)
}

// length passes on a length that was read, unless it is above limit or above
// the bytes that are left.
func (r *nodeReader) length(n int, err error, limit int) int {
	limit = min(limit, r.src.Len())
	switch {
	case r.err != nil:
	case err != nil:
		r.err = err
	case n < 0 || n > limit:
		r.err = fmt.Errorf("a length of %d where %d is the limit", n, limit)
	default:
		return n
	}
	return 0
}

// bytes reads a msgpack bin or str of at most limit bytes. The result is the
// caller's.
func (r *nodeReader) bytes(limit int) []byte { return r.append(nil, limit) }

func (r *nodeReader) str(limit int) string {
	r.scratch = r.append(r.scratch[:0], limit)
	return string(r.scratch)
}

// append reads a bin or str into b's room. (The decoder's own DecodeBytes makes
// room for whatever length is named.)
func (r *nodeReader) append(b []byte, limit int) []byte {
	n, err := r.dec.DecodeBytesLen()
	n = r.length(n, err, limit)
	b = slices.Grow(b, n)[:n]
	if r.err == nil {
		r.err = r.dec.ReadFull(b)
	}
	return b
}

func (r *nodeReader) treeEdge() schemas.ChunkID { return r.edge(r.node.trees) }

func (r *nodeReader) dataEdge() schemas.ChunkID { return r.edge(r.node.data) }

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

// end says that everything should have been read.
func (r *nodeReader) end() {
	if n := r.src.Len(); r.err == nil && n > 0 {
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
	return level, r.arrayLen(len(r.node.payload))
}
