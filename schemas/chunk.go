package schemas

import (
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/zeebo/blake3"
)

// MaxContent is the largest size of one stored chunk, content and edges together, in
// bytes. With the envelope of a put it always fits NATS's default max_payload of 1 MiB,
// which includes headers.
const MaxContent = 1_000_000

// MaxBatch is the largest bulk message, in bytes: 1 MiB less some space for headers, so
// that it passes any NATS server with default settings.
const MaxBatch = 1<<20 - 4096

// MaxEdges bounds the clear edges of one tree chunk.
const MaxEdges = 16384

// Kind is the type of a stored chunk.
type Kind uint8

const (
	// Data is a sealed piece of a file. It has no edges.
	Data Kind = 1
	// Tree is a sealed chunk with clear edges to other chunks.
	Tree Kind = 2
	// Plain is an unsealed small file, as the seed's transmit sends it. Its
	// id is its [PlainChunkID]. It has no edges.
	Plain Kind = 3
)

// String is the kind's name in documents and messages.
func (k Kind) String() string {
	switch k {
	case Data:
		return "data"
	case Tree:
		return "tree"
	case Plain:
		return "plain"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Chunk is the unit that is sent to a node, stored there and read back: a whole chunk or a
// shard of one.
//
// A decoded chunk's Content aliases the message's bytes; a holder that outlives the
// message must copy it.
type Chunk struct {
	ID   ChunkID
	Kind Kind
	// Part says whether this is the whole chunk or a shard of it.
	Part Part
	// Trees and Data are the clear edges of a tree chunk: the ids of the tree
	// chunks and of the data chunks it points to. The sealed content names a
	// child by its index in one of the two lists.
	Trees, Data []ChunkID
	// Content is the sealed frame (or, for Plain, the file itself).
	Content []byte
	// Sum is the [Chunk.Checksum] as the sender computed it.
	Sum Sum
}

// Size is the size, in bytes, that counts against windows and [MaxContent]: the content
// and the edges.
func (c *Chunk) Size() int {
	return len(c.Content) + len(ChunkID{})*(len(c.Trees)+len(c.Data))
}

// Checksum is the BLAKE3-256 over id, kind, edges and content:
//
//	id | kind u8 | len(trees) u32le | len(data) u32le | trees | data | content
//
// For a shard, which has no edges, the part as u64le follows the two lengths.
//
// The client computes the checksum after sealing; the node checks it on put, get, scrub
// and when it copies the chunk. The checksum covers the id because a node has no key to
// compute ids with: this way it notices content that is stored under another chunk's id.
func (c *Chunk) Checksum() (s Sum) {
	h := hashers.Get().(*blake3.Hasher)
	defer hashers.Put(h)
	h.Reset()
	const plain = len(c.ID) + 9
	var head [plain + 8]byte
	rest := head[copy(head[:], c.ID[:]):]
	rest[0] = byte(c.Kind)
	binary.LittleEndian.PutUint32(rest[1:], uint32(len(c.Trees)))
	binary.LittleEndian.PutUint32(rest[5:], uint32(len(c.Data)))
	if c.Part == Whole {
		h.Write(head[:plain])
	} else {
		binary.LittleEndian.PutUint64(rest[9:], uint64(c.Part))
		h.Write(head[:])
	}
	for i := range c.Trees {
		h.Write(c.Trees[i][:])
	}
	for i := range c.Data {
		h.Write(c.Data[i][:])
	}
	h.Write(c.Content)
	h.Sum(s[:0])
	return s
}

// hashers are reused because a new one clears 10 KB, which is more than many chunks have.
var hashers = sync.Pool{New: func() any { return blake3.New() }}

// Validate reports what is wrong with the chunk's id, kind, part, edges or size, with the
// code [BadChunk]. It does not compute the checksum.
func (c *Chunk) Validate() error {
	switch {
	case c.ID.IsZero():
		return Errorf(BadChunk, "a chunk has no id")
	case c.Kind != Data && c.Kind != Tree && c.Kind != Plain:
		return Errorf(BadChunk, "chunk %s has the unknown kind %d", c.ID.Short(), c.Kind)
	case !c.Part.Valid() || c.Part != Whole && c.Kind != Data:
		return Errorf(BadChunk, "chunk %s is of kind %v, which has no part %v", c.ID.Short(), c.Kind, c.Part)
	case c.Kind != Tree && len(c.Trees)+len(c.Data) > 0:
		return Errorf(BadChunk, "chunk %s is of kind %v and has edges, which only a tree may have", c.ID.Short(), c.Kind)
	case len(c.Trees)+len(c.Data) > MaxEdges:
		return Errorf(BadChunk, "chunk %s has %d edges, at most %d are allowed", c.ID.Short(), len(c.Trees)+len(c.Data), MaxEdges)
	case c.Size() > MaxContent:
		return Errorf(BadChunk, "chunk %s has %d bytes, at most %d are allowed", c.ID.Short(), c.Size(), MaxContent)
	}
	return nil
}
