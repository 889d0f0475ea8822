package storage

import (
	"bytes"
	"encoding/binary"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"servidor-backup/schemas"
)

// The index's keys and values, numbers little endian except in keys:
//
//	'c' vault 16 | chunk id 32 | part u48be → segment u32 | offset i64 | content u32 | edges u32 | kind u8 | flags u8 | generation u32
//	'd' segment u32be | offset u64be        → length i64: a dead record, whose chunk was forgotten or is elsewhere
//	'p'                                     → version u8 | segment u32 | offset i64 | chunks, bytes, corrupt, damaged i64 | generation u32
//	's' segment u32be                       → live, damaged i64: bytes of its records that entries point to; damaged stretches that name no chunk
const (
	keyChunk    = 'c'
	keyDead     = 'd'
	keyPosition = 'p'
	keySegment  = 's'

	entrySize   = 26
	flagCorrupt = 1
	flagMarked  = 2

	// chunkPrefix is how much of a chunk's key all its parts have in common.
	chunkPrefix = 1 + 16 + 32
	partSize    = 6
)

// keyOrder is the order of bytes. The filters are on what is before the part, so that
// one search finds all parts of a chunk.
var keyOrder = func() *pebble.Comparer {
	c := *pebble.DefaultComparer
	c.Name = "servidor-backup.parts"
	c.Split = func(key []byte) int { return min(len(key), chunkPrefix) }
	c.ImmediateSuccessor = nextPrefix
	return &c
}()

// nextPrefix appends the first key behind a, which has no part, that has none either.
func nextPrefix(dst, a []byte) []byte {
	if len(a) < chunkPrefix {
		return append(append(dst, a...), 0)
	}
	a = bytes.TrimRight(a, "\xff") // never all of it: the first byte is a letter
	dst = append(dst, a...)
	dst[len(dst)-1]++
	return dst
}

// isOtherOrder reports whether Pebble refuses a directory because its keys have
// another order, as those of older versions of the index have. There is no value to
// compare with, only the text.
func isOtherOrder(err error) bool {
	return err != nil && strings.Contains(err.Error(), "comparer name from file")
}

// indexKey names a part of a chunk.
type indexKey [chunkPrefix + partSize]byte

func partKey(vault schemas.VaultID, id schemas.ChunkID, part schemas.Part) (k indexKey) {
	k[0] = keyChunk
	copy(k[1:], vault[:])
	copy(k[17:], id[:])
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(part))
	copy(k[chunkPrefix:], b[len(b)-partSize:])
	return k
}

func (k *indexKey) vault() schemas.VaultID { return schemas.VaultID(k[1:17]) }
func (k *indexKey) id() schemas.ChunkID    { return schemas.ChunkID(k[17:chunkPrefix]) }
func (k *indexKey) part() schemas.Part {
	var b [8]byte
	copy(b[len(b)-partSize:], k[chunkPrefix:])
	return schemas.Part(binary.BigEndian.Uint64(b[:]))
}

// String names the part in errors.
func (k *indexKey) String() string {
	if p := k.part(); p != schemas.Whole {
		return p.String() + " of chunk " + k.id().Short()
	}
	return "chunk " + k.id().Short()
}

// entry says where a part's record is and how long what it consists of.
type entry struct {
	location        // the zero one for a damaged record that is gone
	content  uint32 // bytes
	edges    uint32 // number
	kind     schemas.Kind
	corrupt  bool // known to be damaged: not held
	// generation is the store's when the part was last put, said to be held, or
	// marked; and marked says that in this generation it was.
	generation uint32
	marked     bool
}

// entryOf is the entry of the chunk record r.
func entryOf(r *record) entry {
	return entry{
		location: r.at, content: r.head.content, edges: r.head.trees + r.head.data,
		kind: r.head.kind, corrupt: r.state != good,
	}
}

// markedIn reports whether it was marked in the generation.
func (e *entry) markedIn(generation uint32) bool { return e.marked && e.generation == generation }

// size is the length of the whole record, in bytes.
func (e *entry) size() int64 {
	return recordHeaderSize + int64(idSize)*int64(e.edges) + int64(e.content)
}

// encode appends the entry's bytes, of which there are entrySize.
func (e *entry) encode(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, e.segment)
	b = binary.LittleEndian.AppendUint64(b, uint64(e.offset))
	b = binary.LittleEndian.AppendUint32(b, e.content)
	b = binary.LittleEndian.AppendUint32(b, e.edges)
	var flags byte
	if e.corrupt {
		flags |= flagCorrupt
	}
	if e.marked {
		flags |= flagMarked
	}
	b = append(b, byte(e.kind), flags)
	return binary.LittleEndian.AppendUint32(b, e.generation)
}

func decodeEntry(b []byte) (e entry, err error) {
	if len(b) != entrySize {
		return e, errIndexValue
	}
	e.segment = binary.LittleEndian.Uint32(b)
	e.offset = int64(binary.LittleEndian.Uint64(b[4:]))
	e.content = binary.LittleEndian.Uint32(b[12:])
	e.edges = binary.LittleEndian.Uint32(b[16:])
	e.kind = schemas.Kind(b[20])
	e.corrupt, e.marked = b[21]&flagCorrupt != 0, b[21]&flagMarked != 0
	e.generation = binary.LittleEndian.Uint32(b[22:])
	if e.content > schemas.MaxContent || e.edges > schemas.MaxEdges {
		return e, errIndexValue
	}
	return e, nil
}
