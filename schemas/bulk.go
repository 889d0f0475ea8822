package schemas

import (
	"encoding/binary"
	"slices"
)

// The bulk messages (put, have, get, edges) carry nearly every byte of the
// system, so they are encoded by hand, without reflection, and decoded without
// copying: a decoded message aliases the bytes it was decoded from. On the wire
// they are ordinary msgpack maps that any library reads and writes.

// PutRequest asks every node that its subject names to store chunks. The
// answer is a [PutReply] from each, after its disk has synced.
type PutRequest struct {
	Session string  // who sends: the unit of the node's flow control
	Vault   VaultID //
	Chunks  []Chunk // fields on the wire: id, conteudo_arquivo, kind, trees, data, sum, and part for a shard
}

// IDsRequest is a have, get or edges request: about which chunks.
type IDsRequest struct {
	Vault VaultID
	IDs   []ChunkID
	// Parts asks a have for which parts are held, not only for whole chunks.
	Parts bool
	// Look makes a have promise nothing: what it says to be held is collected as if
	// nobody had asked.
	Look bool
	// Epoch, if it is not 0, makes a have fail with [OtherEpoch] at a node that
	// follows another map: only so may the asker drop what it holds itself.
	Epoch uint64
	// Generation is the one of collections that the asker is in. A node that is in a
	// lower one enters it before it answers a have, so that what it says to be held
	// stays for as long as what the asker has said.
	Generation uint32
}

// HaveReply answers storage.have: which of the asked ids the node holds on
// stable storage, known to be good.
type HaveReply struct {
	Reply
	// Have has a bit for each asked id, in order: bit i%8 of byte i/8. It is set
	// if the whole chunk is held.
	Have []byte `msgpack:"have"`
	// Parts, if they were asked for, says for each id how many shards are held, as
	// a byte, and which, each [Part] as u64be. What is held whole is in Have.
	Parts []byte `msgpack:"parts,omitempty"`
}

// Held reports bit i.
func (r *HaveReply) Held(i int) bool { return i/8 < len(r.Have) && r.Have[i/8]&(1<<(i%8)) != 0 }

// HaveOf makes the answer about n ids. each calls visit for every part that is held, in
// the order of ids. Shards are in the answer if parts were asked for, and at most 255
// of a chunk: whoever is told of fewer asks others as well.
func HaveOf(n int, parts bool, each func(visit func(i int, p Part) error) error) (*HaveReply, error) {
	r := &HaveReply{Reply: OK, Have: make([]byte, (n+7)/8)}
	count, next := 0, 0 // where the count of the last id is, and which id comes next
	begin := func(i int) {
		for ; parts && next <= i; next++ {
			count = len(r.Parts)
			r.Parts = append(r.Parts, 0)
		}
	}
	err := each(func(i int, p Part) error {
		begin(i)
		switch {
		case p == Whole:
			r.Have[i/8] |= 1 << (i % 8)
		case parts && r.Parts[count] < 255:
			r.Parts[count]++
			r.Parts = binary.BigEndian.AppendUint64(r.Parts, uint64(p))
		}
		return nil
	})
	begin(n - 1)
	return r, err
}

// Each calls visit for every part that is held, with the place of the chunk's id in
// the request of n ids. It fails if Parts is malformed.
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
			return Errorf(BadRequest, "the parts that a node holds are malformed")
		}
		count := int(rest[0])
		for j := range count {
			visit(i, Part(binary.BigEndian.Uint64(rest[1+8*j:])))
		}
		rest = rest[1+8*count:]
	}
	return nil
}

// ChunksReply answers storage.get and storage.edges (there without contents).
// Chunks are in the order asked and may be fewer than asked, when the rest did
// not fit the message or failed: the asker asks again for what is missing. What
// the node could not read is in Failed.
type ChunksReply struct {
	Reply
	Chunks []Chunk  // fields on the wire: id_arquivo, conteudo_arquivo, kind, trees, data, sum, and part for a shard
	Failed []Failed // each with the reason
}

// Failed is one chunk that a node could not read.
type Failed struct {
	ID      ChunkID `msgpack:"id"`
	Code    Code    `msgpack:"code"`
	Message string  `msgpack:"message"`
}

// BatchBuilder collects chunks into one bulk message of at most [MaxBatch]
// bytes. The zero value is not ready; see [NewPut] and [NewChunks].
type BatchBuilder struct {
	buf   []byte
	count int // where the array's length stands in buf
	sum   int // where the sum of the chunk added last does
	n     uint32
	idKey string
}

// NewPut starts a put in buf[:0].
func NewPut(buf []byte, session string, vault VaultID) *BatchBuilder {
	buf = append(buf[:0], 0x83)
	buf = appendString(appendString(buf, "session"), session)
	buf = appendBin(appendString(buf, "vault"), vault[:])
	return startChunks(buf, "id")
}

// NewChunks starts a successful reply to a get or edges request in buf[:0].
func NewChunks(buf []byte) *BatchBuilder {
	buf = append(buf[:0], 0x83)
	buf = append(appendString(buf, "status"), 0xcc, byte(Success))
	return startChunks(buf, "id_arquivo")
}

func startChunks(buf []byte, idKey string) *BatchBuilder {
	buf = append(appendString(buf, "chunks"), 0xdd, 0, 0, 0, 0)
	return &BatchBuilder{buf: buf, count: len(buf) - 4, idKey: idKey}
}

// chunkEnvelope is more than the names, lengths and checksum of a chunk take.
const chunkEnvelope = 160

// HasRoom reports whether a chunk of that [Chunk.Size] can still be added. The
// first one always can, as long as it is valid.
func (b *BatchBuilder) HasRoom(size int) bool {
	return b.n == 0 || len(b.buf)+size+chunkEnvelope <= MaxBatch
}

// Add copies c into the message.
func (b *BatchBuilder) Add(c *Chunk) {
	copy(b.reserve(c, len(c.Content)), c.Content)
	b.sign(c.Sum)
}

// AddSealed adds c, whose content of size bytes seal writes straight into the
// message: seal finds it in c.Content, which stays a part of the message. It sets
// c.Sum. After an error the message is of no more use.
func (b *BatchBuilder) AddSealed(c *Chunk, size int, seal func(*Chunk) error) error {
	c.Content = b.reserve(c, size)
	if err := seal(c); err != nil {
		return err
	}
	c.Sum = c.Checksum()
	b.sign(c.Sum)
	return nil
}

// AddFrom adds c, whose content of size bytes fill reads straight into the message,
// where c.Content then is. After an error the message is as it was before.
func (b *BatchBuilder) AddFrom(c *Chunk, size int, fill func([]byte) error) error {
	before := len(b.buf)
	if err := fill(b.reserve(c, size)); err != nil {
		b.buf = b.buf[:before]
		b.n--
		return err
	}
	b.sign(c.Sum)
	return nil
}

// reserve adds c but for its sum, and returns the size bytes of its content.
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
	b.sum = len(b.buf) - len(c.Sum)
	b.buf = appendBinHead(appendString(b.buf, "conteudo_arquivo"), size)
	start := len(b.buf)
	b.buf = slices.Grow(b.buf, size)[:start+size]
	return b.buf[start:]
}

// sign sets the sum of the chunk added last.
func (b *BatchBuilder) sign(sum Sum) { copy(b.buf[b.sum:], sum[:]) }

// Len is how many chunks were added; Size how many bytes the message has so far.
func (b *BatchBuilder) Len() int  { return int(b.n) }
func (b *BatchBuilder) Size() int { return len(b.buf) }

// Put is the finished put. It is the builder's own buffer.
func (b *BatchBuilder) Put() []byte {
	binary.BigEndian.PutUint32(b.buf[b.count:], b.n)
	return b.buf
}

// Reply is the finished reply. It is the builder's own buffer.
func (b *BatchBuilder) Reply(failed []Failed) []byte {
	binary.BigEndian.PutUint32(b.buf[b.count:], b.n)
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

// Encode is the request as msgpack.
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

// appendIDs writes ids as one bin: their bytes one after the other.
func appendIDs(b []byte, ids []ChunkID) []byte {
	b = appendBinHead(b, len(ids)*len(ChunkID{}))
	for i := range ids {
		b = append(b, ids[i][:]...)
	}
	return b
}
