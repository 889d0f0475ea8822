package tree

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"servidor-backup/client/internal/seal"
	"servidor-backup/schemas"
)

// A tree node's payload is the msgpack list
//
//	[version, kind, level, [item, …]]
//
// with items strictly ascending by key:
//
//	path tree, level 0   the entry's map, see [Entry.encode]
//	file tree, level 0   [offset, length, index in data]
//	level 1 and up       [first key below, index in trees]
//
// A key is the path, or the offset as 8 bytes big-endian; in inner tree nodes it is
// msgpack bin. An index counts, from 0, in one of the chunk's two lists of clear
// edges; every edge is named by some item.
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
		return ComparePath(a, b)
	}
	return strings.Compare(a, b)
}

// keySize returns the length of the longest key of the kind, in bytes.
func (kind treeKind) keySize() int {
	if kind == pathTree {
		return MaxPath
	}
	return 8
}

// offsetKey returns the key of a piece in a file tree.
func offsetKey(off int64) string {
	return string(binary.BigEndian.AppendUint64(nil, uint64(off)))
}

// These limits decide where tree nodes end. Sizes are weights in bytes: an item's encoding
// and its edges.
const (
	// minNode and avgNode: small enough that one change costs little, large
	// enough to compress well and to be worth a request.
	minNode = 16 << 10
	avgNode = 64 << 10
	// maxNode and maxNodeEdges end a tree node wherever they are reached. A tree node
	// exceeds each of them by at most one item.
	maxNode      = 512 << 10
	maxNodeEdges = 4096
	// minFanout keeps a tree shallow even if every key is huge.
	minFanout = 4
	// maxDepth is how many levels a tree may have: far more than minFanout
	// needs for any file system, few enough to bound a hostile tree.
	maxDepth = 16

	edgeSize = len(schemas.ChunkID{})
	// maxEntry is above the weight of any entry: the strings, the
	// attributes, two inline contents, and the fixed fields.
	maxEntry = 2*MaxPath + maxTarget + MaxInlineXattrs + 2*maxName + 2*maxInlinePieces*(edgeSize+24) + 1024
)

// A tree node with its last item fits a chunk. (If not, these constants are negative
// and do not compile.)
const (
	_ = uint(seal.MaxPlain - maxNode - maxEntry)
	_ = uint(maxNode - (minFanout-1)*(MaxPath+edgeSize+16))
	_ = uint(schemas.MaxEdges - maxNodeEdges - 2*maxInlinePieces)
)

// isBorder decides whether a tree node ends after an item. It looks at the item's
// key and weight and at nothing else, so that two trees with an equal run of
// items fall into step within it; a change of an entry's content or time leaves
// the borders where they are. The chance is in proportion to the weight, so
// tree nodes have about avgNode bytes whether their items are small or large. The level
// is hashed too, because the first key of a tree node is also a key of the level above.
func isBorder(k *seal.Keys, kind treeKind, level int, key string, weight int) bool {
	draw := uint64(k.Draw(byte(kind), byte(level), key))
	return draw*(avgNode-minNode) < uint64(weight)<<32
}

// Node is an opened tree chunk: its payload and its clear edges.
type Node struct {
	Payload     []byte
	Trees, Data []schemas.ChunkID
}

// damaged returns the error for a chunk that is not as this package writes it; what
// names the thing. A payload is sealed and bound to its id, so the cause is a bug of
// the writer or a forger with the key, never a worn disk. An error with a code of its
// own is returned as it is.
func damaged(what string, id schemas.ChunkID, err error) error {
	var own *schemas.Error
	if errors.As(err, &own) {
		return err
	}
	if !id.IsZero() {
		what += " " + id.Short()
	}
	return fmt.Errorf("%s cannot be read (%v): %w", what, err, seal.ErrDamaged)
}
