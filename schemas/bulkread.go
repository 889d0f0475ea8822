package schemas

// DecodePut decodes a put. The contents of chunks alias b. Errors have the code
// [BadRequest].
func DecodePut(b []byte) (*PutRequest, error) {
	r := new(PutRequest)
	err := decodeMap(b, func(c *cursor, key string) {
		switch key {
		case "session":
			r.Session = string(c.bytes())
		case "vault":
			c.id(r.Vault[:])
		case "chunks":
			r.Chunks = c.chunks("id")
		default:
			c.skip()
		}
	})
	if err == nil && len(r.Chunks) == 0 {
		err = Errorf(BadRequest, "the put has no chunks")
	}
	return r, err
}

// DecodeIDs decodes a have, get or edges request. Nothing aliases b. Errors have the code
// [BadRequest].
func DecodeIDs(b []byte) (*IDsRequest, error) {
	r := new(IDsRequest)
	err := decodeMap(b, func(c *cursor, key string) {
		switch key {
		case "vault":
			c.id(r.Vault[:])
		case "id_arquivo":
			r.IDs = c.ids()
		case "parts":
			r.Parts = c.bool()
		case "look":
			r.Look = c.bool()
		case "generation":
			r.Generation = uint32(min(c.uint(), 1<<32-1))
		case "epoch":
			r.Epoch = c.uint()
		default:
			c.skip()
		}
	})
	return r, err
}

// DecodeChunks decodes the reply to a get or edges request. The contents of chunks alias
// b. A reply with a failure status is returned as its *[Error].
func DecodeChunks(b []byte) (*ChunksReply, error) {
	r := new(ChunksReply)
	err := decodeMap(b, func(c *cursor, key string) {
		switch key {
		case "status":
			r.Status = Status(c.uint())
		case "code":
			r.Code = Code(c.bytes())
		case "message":
			r.Message = string(c.bytes())
		case "chunks":
			r.Chunks = c.chunks("id_arquivo")
		case "failed":
			r.Failed = c.failed()
		default:
			c.skip()
		}
	})
	if err != nil {
		return nil, err
	}
	return r, r.Err()
}

// cursor reads a well-formed message. After its first error, which it keeps, every method
// returns a zero value.
type cursor struct {
	b   []byte
	err error
}

// decodeMap checks that b is well formed and calls field for each key of the map. field
// must read or skip the value.
func decodeMap(b []byte, field func(c *cursor, key string)) error {
	if err := WellFormed(b); err != nil {
		return err
	}
	c := &cursor{b: b}
	c.fields(func(key string) { field(c, key) })
	if c.err != nil {
		return Errorf(BadRequest, "the message cannot be read: %v", c.err)
	}
	return nil
}

// head reads the head of a value of a class, or of a str where a bin is expected, and
// returns its [head].n.
func (c *cursor) head(class byte) uint64 {
	if c.err != nil {
		return 0
	}
	h, rest, err := readHead(c.b)
	if err == nil && h.class != class && (class != classBin || h.class != classStr) {
		err = errType
	}
	if err != nil {
		c.err = err
		return 0
	}
	c.b = rest
	return h.n
}

// bytes reads a bin or str. The result aliases the message.
func (c *cursor) bytes() []byte {
	n := c.head(classBin)
	if c.err != nil {
		return nil
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return v
}

func (c *cursor) uint() uint64 { return c.head(classUint) }

func (c *cursor) bool() bool {
	if c.err == nil && (len(c.b) == 0 || c.b[0] != 0xc2 && c.b[0] != 0xc3) {
		c.err = errType
	}
	if c.err != nil {
		return false
	}
	v := c.b[0] == 0xc3
	c.b = c.b[1:]
	return v
}

func (c *cursor) skip() {
	if c.err == nil {
		c.b, c.err = skip(c.b, maxDepth)
	}
}

func (c *cursor) fields(field func(key string)) {
	for n := c.head(classMap); n > 0 && c.err == nil; n-- {
		if key := c.bytes(); c.err == nil {
			field(string(key))
		}
	}
}

func (c *cursor) id(dst []byte) {
	v := c.bytes()
	if c.err == nil && len(v) != len(dst) {
		c.err = errIDLength
		return
	}
	copy(dst, v)
}

func (c *cursor) ids() []ChunkID {
	v := c.bytes()
	const size = len(ChunkID{})
	if len(v)%size != 0 {
		c.err = errIDLength
		return nil
	}
	if len(v) == 0 {
		return nil
	}
	ids := make([]ChunkID, len(v)/size)
	for i := range ids {
		copy(ids[i][:], v[i*size:])
	}
	return ids
}

func (c *cursor) chunks(idKey string) []Chunk {
	n := c.head(classArray)
	chunks := make([]Chunk, 0, min(n, 4096))
	for ; n > 0 && c.err == nil; n-- {
		chunks = append(chunks, c.chunk(idKey))
	}
	return chunks
}

func (c *cursor) chunk(idKey string) (k Chunk) {
	c.fields(func(key string) {
		switch key {
		case idKey:
			c.id(k.ID[:])
		case "kind":
			k.Kind = Kind(min(c.uint(), 255))
		case "trees":
			k.Trees = c.ids()
		case "data":
			k.Data = c.ids()
		case "part":
			k.Part = Part(c.uint())
		case "sum":
			c.id(k.Sum[:])
		case "conteudo_arquivo":
			k.Content = c.bytes()
		default:
			c.skip()
		}
	})
	return k
}

func (c *cursor) failed() []Failed {
	var all []Failed
	for n := c.head(classArray); n > 0 && c.err == nil; n-- {
		var f Failed
		c.fields(func(key string) {
			switch key {
			case "id":
				c.id(f.ID[:])
			case "code":
				f.Code = Code(c.bytes())
			case "message":
				f.Message = string(c.bytes())
			default:
				c.skip()
			}
		})
		all = append(all, f)
	}
	return all
}
