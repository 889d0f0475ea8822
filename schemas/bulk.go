package schemas

import (
	"encoding/binary"
	"slices"
)

// The bulk messages (put, have, get, edges) carry nearly every byte of the
// system, so they are encoded by hand, without reflection, and decoded without
// copying: a decoded message aliases the bytes it was decoded from. On the wire
// they are ordinary msgpack maps that any library reads and writes.

// PutRequest asks every node that its subject names to store chunks. Each node
// answers with a [PutReply] after its disk has synced.
type PutRequest struct {
	Session string // the sender: the unit of the node's flow control
	Vault   VaultID
	// Chunks have these fields on the wire: id, conteudo_arquivo, kind, trees, data, sum,
	// and for a shard part.
	Chunks []Chunk
}

// IDsRequest is a have, get or edges request: it names the chunks.
type IDsRequest struct {
	Vault VaultID
	IDs   []ChunkID
	// Parts makes a have also report which shards are held, not only whole chunks.
	Parts bool
	// Look makes a have pin nothing: parts that the answer reports may be collected as if
	// the request had not been made.
	Look bool
	// Epoch, if it is not 0, makes a have fail with [OtherEpoch] at a node that follows
	// another map. A node that wants to drop its own part may rely only on an answer that
	// was given under its own epoch.
	Epoch uint64
	// Generation is the sender's generation of the garbage collection. A node that is in a
	// lower one enters it before it answers a have, so that the parts it pins stay for as
	// long as the parts that the sender has pinned.
	Generation uint32
}

// HaveReply answers a have: which of the requested ids the node holds on stable
// storage, as far as it knows undamaged.
type HaveReply struct {
	Reply
	// Have has a bit for each requested id, in order: bit i%8 of byte i/8. It is set
	// if the whole chunk is held.
	Have []byte `msgpack:"have"`
	// Parts, if the request asked for it, has for each id the number of shards held, as
	// one byte, followed by the [Part] of each shard as u64be. Whole chunks are in Have.
	Parts []byte `msgpack:"parts,omitempty"`
}

// Held reports whether the whole chunk of id number i is held.
func (r *HaveReply) Held(i int) bool { return i/8 < len(r.Have) && r.Have[i/8]&(1<<(i%8)) != 0 }

// HaveOf makes the answer about n ids. each calls visit for every part that is held, in
// the order of ids; i is the index of the chunk's id. With parts the answer reports shards
// too, at most 255 of a chunk; a reader that needs more asks other nodes as well.
func HaveOf(n int, parts bool, each func(visit func(i int, p Part) error) error) (*HaveReply, error) {
	r := &HaveReply{Reply: OK, Have: make([]byte, (n+7)/8)}
	count, next := 0, 0 // the offset of the current id's count in r.Parts, and the next id's index
	startUpTo := func(i int) {
		for ; parts && next <= i; next++ {
			count = len(r.Parts)
			r.Parts = append(r.Parts, 0)
		}
	}
	err := each(func(i int, p Part) error {
		startUpTo(i)
		switch {
		case p == Whole:
			r.Have[i/8] |= 1 << (i % 8)
		case parts && r.Parts[count] < 255:
			r.Parts[count]++
			r.Parts = binary.BigEndian.AppendUint64(r.Parts, uint64(p))
		}
		return nil
	})
	startUpTo(n - 1)
	return r, err
}

// Each calls visit for every part that is held, with the index of the chunk's id in
// the request of n ids. It fails with [BadRequest] if Parts is malformed.
func (r *HaveReply) Each(n int, visit func(i int, p Part)) error {
	rest := r.Parts
	for i := range n {
		if r.Held(i) {
			visit(i, Whole)
		}
		if r.Parts == nil {
			continue
		}
		if len(rest) == 0 || len(rest) < 1+8*int(rest[0]) {
			return Errorf(BadRequest, "a node's list of the parts that it holds is malformed")
		}
		count := int(rest[0])
		for j := range count {
			visit(i, Part(binary.BigEndian.Uint64(rest[1+8*j:])))
		}
		rest = rest[1+8*count:]
	}
	return nil
}

// ChunksReply answers a get, and without contents an edges request. Chunks are in the
// order of the request. They may be fewer than requested, because the message has no space
// for the rest or because some failed; the sender of the request asks again for chunks
// that are neither in Chunks nor in Failed.
type ChunksReply struct {
	Reply
	// Chunks have these fields on the wire: id_arquivo, conteudo_arquivo, kind, trees, data,
	// sum, and for a shard part.
	Chunks []Chunk
	Failed []Failed // chunks that the node could not read, with the reasons
}

// Failed is one chunk that a node could not read.
type Failed struct {
	ID      ChunkID `msgpack:"id"`
	Code    Code    `msgpack:"code"`
	Message string  `msgpack:"message"`
}

// BatchBuilder collects chunks into one bulk message of at most [MaxBatch]
// bytes. The zero value is not ready; use [NewPut] or [NewChunks].
type BatchBuilder struct {
	buf      []byte
	countPos int    // offset in buf of the array's length
	sumPos   int    // offset in buf of the checksum of the last chunk
	n        uint32 // number of chunks
	idKey    string // name of the id's field on the wire
}

// NewPut starts a put in buf[:0]; the builder owns buf from then on.
func NewPut(buf []byte, session string, vault VaultID) *BatchBuilder {
	buf = append(buf[:0], 0x83)
	buf = appendString(appendString(buf, "session"), session)
	buf = appendBin(appendString(buf, "vault"), vault[:])
	return startChunks(buf, "id")
}

// NewChunks starts a successful reply to a get or edges request in buf[:0]; the builder
// owns buf from then on.
func NewChunks(buf []byte) *BatchBuilder {
	buf = append(buf[:0], 0x83)
	buf = append(appendString(buf, "status"), 0xcc, byte(Success))
	return startChunks(buf, "id_arquivo")
}

func startChunks(buf []byte, idKey string) *BatchBuilder {
	buf = append(appendString(buf, "chunks"), 0xdd, 0, 0, 0, 0)
	return &BatchBuilder{buf: buf, countPos: len(buf) - 4, idKey: idKey}
}

// chunkEnvelope is an upper bound for the bytes of a chunk's field names, lengths and
// checksum.
const chunkEnvelope = 160

// HasSpace reports whether the message has space for a chunk of that [Chunk.Size]. The
// first chunk always fits if it is valid.
func (b *BatchBuilder) HasSpace(size int) bool {
	return b.n == 0 || len(b.buf)+size+chunkEnvelope <= MaxBatch
}

// Add copies c into the message.
func (b *BatchBuilder) Add(c *Chunk) {
	copy(b.reserve(c, len(c.Content)), c.Content)
	b.setSum(c.Sum)
}

// AddSealed adds c, whose content of size bytes seal writes straight into the message.
// Before it calls seal it sets c.Content to that part of the message, which c.Content then
// aliases. AddSealed sets c.Sum. After an error the message must not be used.
func (b *BatchBuilder) AddSealed(c *Chunk, size int, seal func(*Chunk) error) error {
	c.Content = b.reserve(c, size)
	if err := seal(c); err != nil {
		return err
	}
	c.Sum = c.Checksum()
	b.setSum(c.Sum)
	return nil
}

// AddFrom adds c, whose content of size bytes fill writes straight into the message.
// After an error the message is as it was before.
func (b *BatchBuilder) AddFrom(c *Chunk, size int, fill func([]byte) error) error {
	before := len(b.buf)
	if err := fill(b.reserve(c, size)); err != nil {
		b.buf = b.buf[:before]
		b.n--
		return err
	}
	b.setSum(c.Sum)
	return nil
}

// reserve appends c without its content, and returns the size bytes in the message that
// are reserved for the content. [BatchBuilder.setSum] then sets the checksum.
func (b *BatchBuilder) reserve(c *Chunk, size int) []byte {
	b.n++
	if c.Part == Whole {
		b.buf = append(b.buf, 0x86)
	} else {
		b.buf = append(b.buf, 0x87)
		b.buf = binary.BigEndian.AppendUint64(append(appendString(b.buf, "part"), 0xcf), uint64(c.Part))
	}
	b.buf = appendBin(appendString(b.buf, b.idKey), c.ID[:])
	b.buf = append(appendString(b.buf, "kind"), byte(c.Kind))
	b.buf = appendIDs(appendString(b.buf, "trees"), c.Trees)
	b.buf = appendIDs(appendString(b.buf, "data"), c.Data)
	b.buf = appendBin(appendString(b.buf, "sum"), c.Sum[:])
	b.sumPos = len(b.buf) - len(c.Sum)
	b.buf = appendBinHead(appendString(b.buf, "conteudo_arquivo"), size)
	start := len(b.buf)
	b.buf = slices.Grow(b.buf, size)[:start+size]
	return b.buf[start:]
}

// setSum sets the checksum of the last chunk.
func (b *BatchBuilder) setSum(sum Sum) { copy(b.buf[b.sumPos:], sum[:]) }

// Len is the number of chunks added.
func (b *BatchBuilder) Len() int { return int(b.n) }

// Size is the length of the message so far, in bytes.
func (b *BatchBuilder) Size() int { return len(b.buf) }

// Put returns the finished put, in the builder's own buffer.
func (b *BatchBuilder) Put() []byte {
	binary.BigEndian.PutUint32(b.buf[b.countPos:], b.n)
	return b.buf
}

// Reply returns the finished reply, in the builder's own buffer.
func (b *BatchBuilder) Reply(failed []Failed) []byte {
	binary.BigEndian.PutUint32(b.buf[b.countPos:], b.n)
	b.buf = append(appendString(b.buf, "failed"), 0xdd, 0, 0, 0, 0)
	binary.BigEndian.PutUint32(b.buf[len(b.buf)-4:], uint32(len(failed)))
	for _, f := range failed {
		b.buf = append(b.buf, 0x83)
		b.buf = appendBin(appendString(b.buf, "id"), f.ID[:])
		b.buf = appendString(appendString(b.buf, "code"), string(f.Code))
		b.buf = appendString(appendString(b.buf, "message"), f.Message)
	}
	return b.buf
}

// Encode returns the request as msgpack, in a new slice.
func (r *IDsRequest) Encode() []byte {
	b := append(make([]byte, 0, 80+len(r.IDs)*len(ChunkID{})), 0x82)
	if r.Parts {
		b[0]++
		b = append(appendString(b, "parts"), 0xc3)
	}
	if r.Look {
		b[0]++
		b = append(appendString(b, "look"), 0xc3)
	}
	if r.Epoch != 0 {
		b[0]++
		b = binary.BigEndian.AppendUint64(append(appendString(b, "epoch"), 0xcf), r.Epoch)
	}
	if r.Generation != 0 {
		b[0]++
		b = binary.BigEndian.AppendUint32(append(appendString(b, "generation"), 0xce), r.Generation)
	}
	b = appendBin(appendString(b, "vault"), r.Vault[:])
	return appendIDs(appendString(b, "id_arquivo"), r.IDs)
}

// appendString appends s as msgpack str, cut to 64 KiB less one byte.
func appendString(b []byte, s string) []byte {
	switch n := len(s); {
	case n < 32:
		b = append(b, 0xa0|byte(n))
	case n < 256:
		b = append(b, 0xd9, byte(n))
	default:
		b = binary.BigEndian.AppendUint16(append(b, 0xda), uint16(min(n, 1<<16-1)))
		s = s[:min(n, 1<<16-1)]
	}
	return append(b, s...)
}

func appendBinHead(b []byte, n int) []byte {
	switch {
	case n < 256:
		return append(b, 0xc4, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, 0xc5), uint16(n))
	}
	return binary.BigEndian.AppendUint32(append(b, 0xc6), uint32(n))
}

func appendBin(b, v []byte) []byte { return append(appendBinHead(b, len(v)), v...) }

// appendIDs appends ids as one bin: their bytes one after the other.
func appendIDs(b []byte, ids []ChunkID) []byte {
	b = appendBinHead(b, len(ids)*len(ChunkID{}))
	for i := range ids {
		b = append(b, ids[i][:]...)
	}
	return b
}
