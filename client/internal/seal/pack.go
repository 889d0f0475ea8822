package seal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"servidor-backup/schemas"
)

// Packer packs chunks and decides what CompressDefault means. Now and then it tries
// both of that level's zstd levels on a chunk, and keeps the slower one for as long as
// it pays. Which level pays depends on the data and not on its length: logs pack better
// at the fastest level, prose at the default one. The zero value is ready. It is safe
// for concurrent use.
type Packer struct {
	trials atomic.Uint32 // chunks that could have been tried
	slower atomic.Bool
}

const (
	// trialEvery is the number of compressible chunks for each trial.
	trialEvery = 32
	// slowerPays is the fraction of the packed bytes that the slower level must
	// save, as 1/slowerPays. It takes a third more time.
	slowerPays = 40
)

// Pack makes plain smaller where that pays. For CompressDefault the packer chooses the
// level. The result refers to plain, which must not change until [Packed.Release].
func (p *Packer) Pack(id schemas.ChunkID, plain []byte, level Compression) (*Packed, error) {
	space := workspaces.Get().(*workspace)
	result, err := p.pack(&space.packed, id, plain, level)
	if err != nil {
		workspaces.Put(space)
		return nil, err
	}
	space.result = result
	space.result.space = space
	return &space.result, nil
}

// pack packs plain at the level of the packer's choice. A compressed body lies in scratch.
func (p *Packer) pack(scratch *[]byte, id schemas.ChunkID, plain []byte, level Compression) (Packed, error) {
	// In a short chunk the fastest level finds too little to compare.
	if level != CompressDefault || len(plain) < probeFrom {
		return pack(scratch, id, plain, level)
	}
	level, other := CompressFast, CompressDefault
	if p.slower.Load() {
		level, other = other, level
	}
	first, err := pack(scratch, id, plain, level)
	// A chunk with much noise in it says little about the next ones.
	if err != nil || 5*len(first.body) > 3*len(plain) || p.trials.Add(1)%trialEvery != 1 {
		return first, err
	}
	otherScratch := getScratch()
	defer putScratch(otherScratch)
	second, err := pack(otherScratch, id, plain, other)
	if err != nil || second.head[0] != packZstd {
		return first, err
	}
	fast, slow := len(first.body), len(second.body)
	if level == CompressDefault {
		fast, slow = slow, fast
	}
	p.slower.Store(slow <= fast-fast/slowerPays)
	if len(second.body) < len(first.body) {
		*scratch, *otherScratch = *otherScratch, *scratch // a packed body lies in its scratch
		return second, nil
	}
	return first, nil
}

// Packed is what a frame encrypts: a head with the packing and two lengths, and the body.
type Packed struct {
	head     [1 + 2*3]byte
	headSize int
	body     []byte // the plaintext, or a zstd frame in the scratch it was packed in
	space    *workspace
}

// Release gives the buffers back. p must not be used afterwards.
func (p *Packed) Release() {
	space := p.space
	*p = Packed{}
	workspaces.Put(space)
}

// FrameSize returns the length of the frame, in bytes.
func (p *Packed) FrameSize() int { return 1 + nonceSize + p.headSize + len(p.body) + tagSize }

// pack packs plain at a level. The result is valid while plain and scratch are unchanged.
func pack(scratch *[]byte, id schemas.ChunkID, plain []byte, level Compression) (p Packed, err error) {
	if len(plain) > MaxPlain {
		return p, fmt.Errorf("chunk %s has %d bytes, at most %d can be sealed", id.Short(), len(plain), MaxPlain)
	}
	if int(level) >= len(encoders) {
		return p, fmt.Errorf("chunk %s cannot be packed at the level %v", id.Short(), level)
	}
	p.body = plain
	if z := compress((*scratch)[:0], plain, level); z != nil {
		*scratch = z
		p.head[0], p.body = packZstd, z
	}
	p.headSize = 1 + binary.PutUvarint(p.head[1:], uint64(len(plain)))
	p.headSize += binary.PutUvarint(p.head[p.headSize:], uint64(len(p.body)))
	return p, nil
}

// packedParts are the parsed parts of what a frame encrypts.
type packedParts struct {
	packing byte
	length  int // of the plaintext, in bytes
	body    []byte
}

// parsePacked parses the decrypted inside of a frame. The body is a part of inner.
func parsePacked(inner []byte) (p packedParts, err error) {
	if len(inner) == 0 {
		return p, errors.New("it is empty")
	}
	rest := inner[1:]
	length, n := binary.Uvarint(rest)
	if n <= 0 || length > MaxPlain {
		return p, errors.New("bad length")
	}
	rest = rest[n:]
	size, n := binary.Uvarint(rest)
	if n <= 0 || size > uint64(len(rest)-n) {
		return p, errors.New("bad packed length")
	}
	p = packedParts{packing: inner[0], length: int(length), body: rest[n:][:size]}
	for _, b := range rest[n:][size:] {
		if b != 0 {
			return p, errors.New("the padding is not zero")
		}
	}
	if p.packing != packZstd && (p.packing != packNone || len(p.body) != p.length) {
		return p, fmt.Errorf("unknown packing %d, or %d bytes packed to %d", p.packing, length, size)
	}
	return p, nil
}

// unpack appends to dst the plaintext within the decrypted inside of a frame.
func unpack(dst, inner []byte) ([]byte, error) {
	p, err := parsePacked(inner)
	switch {
	case err != nil:
		return dst, err
	case p.packing == packZstd:
		return decompress(dst, p.body, p.length)
	}
	return append(dst, p.body...), nil
}

// workspace has the buffers for sealing one chunk. Each buffer has one use, so that
// only those that are used take memory and space in the processor's cache.
type workspace struct {
	packed, decrypted, unpacked []byte
	result                      Packed
}

var workspaces = sync.Pool{New: func() any {
	return &workspace{
		packed: make([]byte, 0, schemas.MaxContent), decrypted: make([]byte, 0, schemas.MaxContent), unpacked: make([]byte, 0, schemas.MaxContent),
	}
}}

// scratches lends buffers of a chunk's size.
var scratches = sync.Pool{New: func() any {
	b := make([]byte, 0, schemas.MaxContent)
	return &b
}}

func getScratch() *[]byte  { return scratches.Get().(*[]byte) }
func putScratch(b *[]byte) { scratches.Put(b) }
