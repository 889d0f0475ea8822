package segment

import (
	"encoding/binary"
	"errors"
	"sync"

	"github.com/zeebo/blake3"

	"servidor-backup/schemas"
)

const (
	// HeaderSize is the length of a record header, in bytes.
	HeaderSize = 152

	recordMagic = "SBr1"
	idSize      = len(schemas.ChunkID{})
)

// Kinds of segment records beside those of chunks: sync marks and voids.
const (
	KindMark schemas.Kind = 0x81
	KindVoid schemas.Kind = 0x82
)

// ErrRecord is the error for bytes that are not the record that was written at
// their location.
var ErrRecord = errors.New("not the record of this location")

// Location says where a segment record begins: in which segment, at which offset. The zero
// Location is none.
type Location struct {
	Segment uint32
	Offset  int64 // bytes from the start of the segment's file
}

// Before reports whether l comes before m in the order of writing.
func (l Location) Before(m Location) bool {
	return l.Segment < m.Segment || l.Segment == m.Segment && l.Offset < m.Offset
}

// Header is the header of a record; see the package comment.
type Header struct {
	Kind        schemas.Kind
	Shard, K, M uint8  // of the [schemas.Part]; M is 0 and unused
	Trees, Data uint32 // number of edges
	Content     uint32 // bytes
	SealID      uint32 // of a shard
	Time        int64  // Unix seconds
	BatchStart  int64  // offset
	Vault       schemas.VaultID
	ID          schemas.ChunkID
	Sum         schemas.Sum
	EdgeSum     [16]byte
}

// IsChunk reports whether the record holds a part of a chunk.
func (h *Header) IsChunk() bool {
	return h.Kind == schemas.Data || h.Kind == schemas.Tree || h.Kind == schemas.Plain
}

// Part returns the part of the chunk that the record holds.
func (h *Header) Part() schemas.Part {
	if h.K < 2 {
		return schemas.Whole
	}
	return schemas.ShardOfSeal(int(h.K), h.SealID, int(h.Shard))
}

// edgeBytes is the length of the edges in the body.
func (h *Header) edgeBytes() int { return idSize * (int(h.Trees) + int(h.Data)) }

// Size is the length of the whole record, in bytes.
func (h *Header) Size() int64 {
	return HeaderSize + int64(h.edgeBytes()) + int64(h.Content)
}

// Size is the length, in bytes, of a record whose chunk has the given number of
// edges and bytes of content.
func Size(edges, content uint32) int64 {
	return HeaderSize + int64(idSize)*int64(edges) + int64(content)
}

// plausible reports whether a writer of this version can have put these fields
// together. It limits the sizes of what is read next.
func (h *Header) plausible() bool {
	switch {
	case h.Kind == KindMark:
		return h.Trees == 0 && h.Data == 0 && h.Content == 0
	case h.Kind == KindVoid:
		return h.Trees == 0 && h.Data == 0
	case !h.IsChunk():
		return false
	case h.K == 0 || h.K == 1 && h.Shard != 0 || h.K > 1 && h.Kind != schemas.Data:
		return false
	}
	return uint64(h.Trees)+uint64(h.Data) <= schemas.MaxEdges &&
		int64(h.edgeBytes())+int64(h.Content) <= schemas.MaxContent
}

// Chunk returns the chunk of a record from its header and its body, or from the
// header and the edges alone. The content aliases body, the edges do not. Nothing
// is checked; see [Header.Matches] and [Header.EdgesMatch].
func (h *Header) Chunk(body []byte) schemas.Chunk {
	c := schemas.Chunk{ID: h.ID, Kind: h.Kind, Part: h.Part(), Sum: h.Sum}
	c.Trees, body = splitIDs(body, int(h.Trees))
	c.Data, body = splitIDs(body, int(h.Data))
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

// Matches reports whether the chunk has the header's checksum.
func (h *Header) Matches(c *schemas.Chunk) bool { return c.Checksum() == h.Sum }

// EdgesMatch reports whether the chunk's edges have the header's checksum of edges.
func (h *Header) EdgesMatch(c *schemas.Chunk) bool {
	return edgeSum(c.Trees, c.Data) == h.EdgeSum
}

// Codec encodes and decodes the records of one store. It is safe for concurrent
// use.
type Codec struct {
	keyed sync.Pool // of *blake3.Hasher keyed with the store's salt
}

// NewCodec returns the codec of the store with the given salt.
func NewCodec(salt [32]byte) *Codec {
	return &Codec{keyed: sync.Pool{New: func() any {
		h, err := blake3.NewKeyed(salt[:])
		if err != nil {
			panic(err) // the key has the right length
		}
		return h
	}}}
}

// headSum returns the checksum of a record header at the location.
func (c *Codec) headSum(head []byte, at Location) (sum [16]byte) {
	var location [12]byte
	binary.LittleEndian.PutUint32(location[:], at.Segment)
	binary.LittleEndian.PutUint64(location[4:], uint64(at.Offset))
	h := c.keyed.Get().(*blake3.Hasher)
	defer c.keyed.Put(h)
	h.Reset()
	h.Write(head[:136])
	h.Write(location[:])
	var full [32]byte
	h.Sum(full[:0])
	copy(sum[:], full[:])
	return sum
}

// AppendHeader appends the bytes of a record header that will be written at the
// location.
func (c *Codec) AppendHeader(dst []byte, at Location, h *Header) []byte {
	start := len(dst)
	dst = append(dst, recordMagic...)
	dst = append(dst, byte(h.Kind), h.Shard, h.K, h.M)
	dst = binary.LittleEndian.AppendUint32(dst, h.Trees)
	dst = binary.LittleEndian.AppendUint32(dst, h.Data)
	dst = binary.LittleEndian.AppendUint32(dst, h.Content)
	dst = binary.LittleEndian.AppendUint32(dst, h.SealID)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.Time))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.BatchStart))
	dst = append(dst, h.Vault[:]...)
	dst = append(dst, h.ID[:]...)
	dst = append(dst, h.Sum[:]...)
	dst = append(dst, h.EdgeSum[:]...)
	sum := c.headSum(dst[start:], at)
	return append(dst, sum[:]...)
}

// DecodeHeader reads the header that AppendHeader wrote for the location. b begins
// with the header and may be longer. The error is [ErrRecord].
func (c *Codec) DecodeHeader(b []byte, at Location) (h Header, err error) {
	if len(b) < HeaderSize || string(b[:4]) != recordMagic {
		return h, ErrRecord
	}
	if c.headSum(b, at) != [16]byte(b[136:HeaderSize]) {
		return h, ErrRecord
	}
	h.Kind, h.Shard, h.K, h.M = schemas.Kind(b[4]), b[5], b[6], b[7]
	h.Trees = binary.LittleEndian.Uint32(b[8:])
	h.Data = binary.LittleEndian.Uint32(b[12:])
	h.Content = binary.LittleEndian.Uint32(b[16:])
	h.SealID = binary.LittleEndian.Uint32(b[20:])
	h.Time = int64(binary.LittleEndian.Uint64(b[24:]))
	h.BatchStart = int64(binary.LittleEndian.Uint64(b[32:]))
	copy(h.Vault[:], b[40:])
	copy(h.ID[:], b[56:])
	copy(h.Sum[:], b[88:])
	copy(h.EdgeSum[:], b[120:])
	if !h.plausible() {
		return h, ErrRecord
	}
	return h, nil
}

// AppendFront appends the header and the edges of a chunk's record that will be
// written at the location; the content must follow. The caller sets h's Time,
// BatchStart and Vault; AppendFront sets the other fields from the chunk.
func (c *Codec) AppendFront(dst []byte, at Location, h *Header, chunk *schemas.Chunk) []byte {
	h.Kind, h.ID, h.Sum = chunk.Kind, chunk.ID, chunk.Sum
	h.Shard, h.K, h.SealID = uint8(chunk.Part.Shard()), uint8(chunk.Part.K()), chunk.Part.SealID()
	h.Trees, h.Data = uint32(len(chunk.Trees)), uint32(len(chunk.Data))
	h.Content = uint32(len(chunk.Content))
	h.EdgeSum = edgeSum(chunk.Trees, chunk.Data)
	dst = c.AppendHeader(dst, at, h)
	for i := range chunk.Trees {
		dst = append(dst, chunk.Trees[i][:]...)
	}
	for i := range chunk.Data {
		dst = append(dst, chunk.Data[i][:]...)
	}
	return dst
}

var (
	noEdges = sumIDs() // most chunks have no edges
	hashers = sync.Pool{New: func() any { return blake3.New() }}
)

// edgeSum returns the checksum of the edges.
func edgeSum(trees, data []schemas.ChunkID) [16]byte {
	if len(trees)+len(data) == 0 {
		return noEdges
	}
	return sumIDs(trees, data)
}

func sumIDs(lists ...[]schemas.ChunkID) (sum [16]byte) {
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
