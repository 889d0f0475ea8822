package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/zeebo/blake3"

	"servidor-backup/schemas"
)

const (
	formatVersion = 1

	storeMagic      = "SBKSTORE"
	segmentMagic    = "SBKSEGMT"
	removedMagic    = "SBKREMVD"
	generationMagic = "SBKGENER"
	scrubMagic      = "SBKSCRUB"
	recordMagic     = "SBr1"

	fileHeaderSize   = 128
	recordHeaderSize = 152

	idSize = len(schemas.ChunkID{})
)

// Kinds of records beside those of chunks.
const (
	kindMark schemas.Kind = 0x81
	kindVoid schemas.Kind = 0x82
)

// location is a place in the store's segments. The zero location is none.
type location struct {
	segment uint32
	offset  int64 // bytes from the start of the segment file
}

// before reports whether l comes before m in writing order.
func (l location) before(m location) bool {
	return l.segment < m.segment || l.segment == m.segment && l.offset < m.offset
}

// fileHeader begins STORE and every segment.
type fileHeader struct {
	magic   string
	number  uint32
	node    schemas.NodeID
	salt    [32]byte
	created time.Time // whole seconds
}

var errHeader = errors.New("its header is damaged")

// encode gives the header's bytes, in the current version.
func (h *fileHeader) encode() []byte {
	b := make([]byte, fileHeaderSize)
	copy(b, h.magic)
	binary.LittleEndian.PutUint32(b[8:], formatVersion)
	binary.LittleEndian.PutUint32(b[12:], h.number)
	copy(b[16:48], h.node)
	copy(b[48:], h.salt[:])
	binary.LittleEndian.PutUint64(b[80:], uint64(h.created.Unix()))
	sum := blake3.Sum256(b[:96])
	copy(b[96:], sum[:])
	return b
}

// decodeFileHeader reads what encode wrote. Its error wraps errHeader or
// [ErrNewer].
func decodeFileHeader(b []byte, magic string) (h fileHeader, err error) {
	if len(b) < fileHeaderSize || string(b[:8]) != magic {
		return h, errHeader
	}
	// The checksum first: a flipped bit must not look like a newer version.
	if blake3.Sum256(b[:96]) != [32]byte(b[96:fileHeaderSize]) {
		return h, errHeader
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v > formatVersion {
		return h, fmt.Errorf("%w: format %d, this program knows up to %d", ErrNewer, v, formatVersion)
	}
	h.magic = magic
	h.number = binary.LittleEndian.Uint32(b[12:])
	h.node = schemas.NodeID(bytes.TrimRight(b[16:48], "\x00"))
	h.salt = [32]byte(b[48:80])
	h.created = time.Unix(int64(binary.LittleEndian.Uint64(b[80:])), 0)
	if !schemas.ValidNodeID(h.node) {
		return h, errHeader
	}
	return h, nil
}

// recordHeader is what stands before a record's body.
type recordHeader struct {
	kind        schemas.Kind
	shard, k, m uint8  // m says nothing; see [schemas.Part]
	trees, data uint32 // edges
	content     uint32 // bytes
	tag         uint32 // of a shard
	time        int64  // Unix seconds
	batchStart  int64
	vault       schemas.VaultID
	id          schemas.ChunkID
	sum         schemas.Sum
	edgeSum     [16]byte
}

// isChunk reports whether the record holds a chunk.
func (h *recordHeader) isChunk() bool {
	return h.kind == schemas.Data || h.kind == schemas.Tree || h.kind == schemas.Plain
}

// part says how much of the chunk it is.
func (h *recordHeader) part() schemas.Part {
	if h.k < 2 {
		return schemas.Whole
	}
	return schemas.ShardOfSeal(int(h.k), h.tag, int(h.shard))
}

// edgeBytes is the length of the edges in the body.
func (h *recordHeader) edgeBytes() int { return idSize * (int(h.trees) + int(h.data)) }

// size is the length of the whole record.
func (h *recordHeader) size() int64 {
	return recordHeaderSize + int64(h.edgeBytes()) + int64(h.content)
}

// plausible reports whether the header's fields are ones that a writer of this
// version puts together. It guards the sizes of what is read next.
func (h *recordHeader) plausible() bool {
	switch {
	case h.kind == kindMark:
		return h.trees == 0 && h.data == 0 && h.content == 0
	case h.kind == kindVoid:
		return h.trees == 0 && h.data == 0
	case !h.isChunk():
		return false
	case h.k == 0 || h.k == 1 && h.shard != 0 || h.k > 1 && h.kind != schemas.Data:
		return false
	}
	return uint64(h.trees)+uint64(h.data) <= schemas.MaxEdges &&
		int64(h.edgeBytes())+int64(h.content) <= schemas.MaxContent
}

var errRecord = errors.New("not a record of this place")

// codec encodes and decodes the records of one store. It is safe for
// concurrent use.
type codec struct {
	keyed sync.Pool // of *blake3.Hasher keyed with the store's salt
}

func newCodec(salt [32]byte) *codec {
	return &codec{keyed: sync.Pool{New: func() any {
		h, err := blake3.NewKeyed(salt[:])
		if err != nil {
			panic(err) // the key's length is right by construction
		}
		return h
	}}}
}

// headSum is the checksum of a record header that stands at the place.
func (c *codec) headSum(head []byte, at location) (sum [16]byte) {
	var place [12]byte
	binary.LittleEndian.PutUint32(place[:], at.segment)
	binary.LittleEndian.PutUint64(place[4:], uint64(at.offset))
	h := c.keyed.Get().(*blake3.Hasher)
	defer c.keyed.Put(h)
	h.Reset()
	h.Write(head[:136])
	h.Write(place[:])
	var full [32]byte
	h.Sum(full[:0])
	copy(sum[:], full[:])
	return sum
}

// appendHeader appends the bytes of a record header that will stand at the
// place.
func (c *codec) appendHeader(dst []byte, at location, h *recordHeader) []byte {
	start := len(dst)
	dst = append(dst, recordMagic...)
	dst = append(dst, byte(h.kind), h.shard, h.k, h.m)
	dst = binary.LittleEndian.AppendUint32(dst, h.trees)
	dst = binary.LittleEndian.AppendUint32(dst, h.data)
	dst = binary.LittleEndian.AppendUint32(dst, h.content)
	dst = binary.LittleEndian.AppendUint32(dst, h.tag)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.time))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.batchStart))
	dst = append(dst, h.vault[:]...)
	dst = append(dst, h.id[:]...)
	dst = append(dst, h.sum[:]...)
	dst = append(dst, h.edgeSum[:]...)
	sum := c.headSum(dst[start:], at)
	return append(dst, sum[:]...)
}

// decodeHeader reads what appendHeader wrote for the place. b begins with the
// header and may be longer. The error is errRecord.
func (c *codec) decodeHeader(b []byte, at location) (h recordHeader, err error) {
	if len(b) < recordHeaderSize || string(b[:4]) != recordMagic {
		return h, errRecord
	}
	if c.headSum(b, at) != [16]byte(b[136:recordHeaderSize]) {
		return h, errRecord
	}
	h.kind, h.shard, h.k, h.m = schemas.Kind(b[4]), b[5], b[6], b[7]
	h.trees = binary.LittleEndian.Uint32(b[8:])
	h.data = binary.LittleEndian.Uint32(b[12:])
	h.content = binary.LittleEndian.Uint32(b[16:])
	h.tag = binary.LittleEndian.Uint32(b[20:])
	h.time = int64(binary.LittleEndian.Uint64(b[24:]))
	h.batchStart = int64(binary.LittleEndian.Uint64(b[32:]))
	copy(h.vault[:], b[40:])
	copy(h.id[:], b[56:])
	copy(h.sum[:], b[88:])
	copy(h.edgeSum[:], b[120:])
	if !h.plausible() {
		return h, errRecord
	}
	return h, nil
}

// appendFront appends the record of a chunk that will stand at the place, but for
// the content, which follows. h brings time, batch start and vault, and comes
// back filled.
func (c *codec) appendFront(dst []byte, at location, h *recordHeader, chunk *schemas.Chunk) []byte {
	h.kind, h.id, h.sum = chunk.Kind, chunk.ID, chunk.Sum
	h.shard, h.k, h.tag = uint8(chunk.Part.Shard()), uint8(chunk.Part.K()), chunk.Part.SealID()
	h.trees, h.data = uint32(len(chunk.Trees)), uint32(len(chunk.Data))
	h.content = uint32(len(chunk.Content))
	h.edgeSum = edgeSum(chunk.Trees, chunk.Data)
	dst = c.appendHeader(dst, at, h)
	for i := range chunk.Trees {
		dst = append(dst, chunk.Trees[i][:]...)
	}
	for i := range chunk.Data {
		dst = append(dst, chunk.Data[i][:]...)
	}
	return dst
}

var (
	noEdges = sumOf() // most chunks have none
	hashers = sync.Pool{New: func() any { return blake3.New() }}
)

// edgeSum is the checksum over edges alone.
func edgeSum(trees, data []schemas.ChunkID) [16]byte {
	if len(trees)+len(data) == 0 {
		return noEdges
	}
	return sumOf(trees, data)
}

func sumOf(lists ...[]schemas.ChunkID) (sum [16]byte) {
	h := hashers.Get().(*blake3.Hasher)
	defer hashers.Put(h)
	h.Reset()
	for _, ids := range lists {
		for i := range ids {
			h.Write(ids[i][:])
		}
	}
	var full [32]byte
	h.Sum(full[:0])
	copy(sum[:], full[:])
	return sum
}

// chunkOf is the chunk of a record: its header, and its body or the edges alone.
// The content aliases body, the edges do not. Nothing is checked; see bodyOK
// and edgesOK.
func chunkOf(h *recordHeader, body []byte) schemas.Chunk {
	c := schemas.Chunk{ID: h.id, Kind: h.kind, Part: h.part(), Sum: h.sum}
	c.Trees, body = splitIDs(body, int(h.trees))
	c.Data, body = splitIDs(body, int(h.data))
	c.Content = body
	return c
}

func splitIDs(b []byte, n int) ([]schemas.ChunkID, []byte) {
	if n == 0 {
		return nil, b
	}
	ids := make([]schemas.ChunkID, n)
	for i := range ids {
		b = b[copy(ids[i][:], b):]
	}
	return ids, b
}

// bodyOK reports whether the chunk is the one the header's checksum is of.
func bodyOK(h *recordHeader, c *schemas.Chunk) bool { return c.Checksum() == h.sum }

// edgesOK is bodyOK for the edges alone.
func edgesOK(h *recordHeader, c *schemas.Chunk) bool {
	return edgeSum(c.Trees, c.Data) == h.edgeSum
}
