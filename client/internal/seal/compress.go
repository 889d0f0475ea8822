package seal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	kpcompress "github.com/klauspost/compress"
	"github.com/klauspost/compress/zstd"

	"servidor-backup/schemas"
)

// Compression says how much time sealing may spend on making chunks smaller.
// The zero value is a good default.
type Compression uint8

const (
	// CompressDefault is zstd at its fastest level, or at its default level
	// where that saves so much more that it pays.
	CompressDefault Compression = iota
	// CompressOff stores everything as it is.
	CompressOff
	// CompressFast is for slow processors and fast networks.
	CompressFast
	// CompressBest is for slow networks; it is some ten times slower.
	CompressBest
	// CompressAuto finds out while a backup runs how much time there is for making
	// chunks smaller. It is for [BackupOptions]; no chunk is sealed as such.
	CompressAuto
)

var compressionNames = []string{"default", "off", "fast", "best", "auto"}

// String is the name that [ParseCompression] takes.
func (c Compression) String() string {
	if int(c) < len(compressionNames) {
		return compressionNames[c]
	}
	return fmt.Sprintf("compression %d", uint8(c))
}

// ParseCompression reads "off", "fast", "default", "best" or "auto".
func ParseCompression(s string) (Compression, error) {
	i := slices.Index(compressionNames, s)
	if i < 0 {
		return 0, fmt.Errorf("unknown compression %q: use off, fast, default, best or auto", s)
	}
	return Compression(i), nil
}

// Packer is what makes CompressDefault: it tries the other level on a chunk now
// and then, and stays with the slower one for as long as it pays. Which one that
// is depends on the data, not on its length: logs pack better at the fastest
// level, prose at the default one. It is safe for concurrent use.
type Packer struct {
	chunks atomic.Uint32
	slower atomic.Bool
}

const (
	// trialEvery is how many compressible chunks share the cost of one trial.
	trialEvery = 32
	// slowerPays is the part of the packed bytes that the slower level, which
	// takes a third more time, must save: one of so many.
	slowerPays = 40
)

// Pack makes plain smaller where that pays, with a level of the economy's choice for
// CompressDefault. The result is good for as long as plain is, until its release.
func (e *Packer) Pack(id schemas.ChunkID, plain []byte, level Compression) (*Packed, error) {
	space := workspaces.Get().(*workspace)
	p, err := e.choose(&space.packed, id, plain, level)
	if err != nil {
		workspaces.Put(space)
		return nil, err
	}
	space.result = p
	space.result.space = space
	return &space.result, nil
}

func (e *Packer) choose(scratch *[]byte, id schemas.ChunkID, plain []byte, level Compression) (Packed, error) {
	// The fastest level needs room to find anything.
	if level != CompressDefault || len(plain) < probeFrom {
		return pack(scratch, id, plain, level)
	}
	level, other := CompressFast, CompressDefault
	if e.slower.Load() {
		level, other = other, level
	}
	p, err := pack(scratch, id, plain, level)
	// A chunk with much noise in it says little about the rest.
	if err != nil || 5*len(p.body) > 3*len(plain) || e.chunks.Add(1)%trialEvery != 1 {
		return p, err
	}
	second := getScratch()
	defer putScratch(second)
	q, err := pack(second, id, plain, other)
	if err != nil || q.head[0] != packZstd {
		return p, err
	}
	fast, slow := len(p.body), len(q.body)
	if level == CompressDefault {
		fast, slow = slow, fast
	}
	e.slower.Store(slow <= fast-fast/slowerPays)
	if len(q.body) < len(p.body) {
		*scratch, *second = *second, *scratch // a packed body lies in its scratch
		p = q
	}
	return p, nil
}

// Packed is what a frame encrypts: a head of packing and lengths, and the body.
type Packed struct {
	head     [1 + 2*3]byte
	headSize int
	body     []byte // the plaintext, or a zstd frame in the scratch it was packed in
	space    *workspace
}

// Release ends the use of what [economy.pack] returned.
func (p *Packed) Release() {
	space := p.space
	*p = Packed{}
	workspaces.Put(space)
}

// pack makes plain smaller where that pays. The result is good for as long as
// plain and scratch are.
func pack(scratch *[]byte, id schemas.ChunkID, plain []byte, level Compression) (p Packed, err error) {
	if len(plain) > MaxPlain {
		return p, fmt.Errorf("chunk %s has %d bytes, at most %d can be sealed", id.Short(), len(plain), MaxPlain)
	}
	if int(level) >= len(encoders) {
		return p, fmt.Errorf("unknown %v", level)
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

// FrameSize is the length of the frame, in bytes.
func (p *Packed) FrameSize() int { return 1 + nonceSize + p.headSize + len(p.body) + tagSize }

// unpacking is what pack made, parsed.
type unpacking struct {
	packing byte
	length  int // of the plaintext
	body    []byte
}

// parseInner takes apart what was encrypted in a frame.
func parseInner(inner []byte) (u unpacking, err error) {
	if len(inner) == 0 {
		return u, errors.New("it is empty")
	}
	rest := inner[1:]
	length, n := binary.Uvarint(rest)
	if n <= 0 || length > MaxPlain {
		return u, errors.New("bad length")
	}
	rest = rest[n:]
	size, n := binary.Uvarint(rest)
	if n <= 0 || size > uint64(len(rest)-n) {
		return u, errors.New("bad packed length")
	}
	u = unpacking{packing: inner[0], length: int(length), body: rest[n:][:size]}
	for _, b := range rest[n:][size:] {
		if b != 0 {
			return u, errors.New("padding that is not zero")
		}
	}
	if u.packing != packZstd && (u.packing != packNone || len(u.body) != u.length) {
		return u, fmt.Errorf("packing %d of %d bytes in %d", u.packing, length, size)
	}
	return u, nil
}

// unpack appends to dst the plaintext within an opened frame.
func unpack(dst, inner []byte) ([]byte, error) {
	u, err := parseInner(inner)
	switch {
	case err != nil:
		return dst, err
	case u.packing == packZstd:
		return decompress(dst, u.body, u.length)
	}
	return append(dst, u.body...), nil
}

// compress appends to dst the zstd frame of plain, or returns nil where that
// does not pay.
func compress(dst, plain []byte, level Compression) []byte {
	if level == CompressOff || len(plain) < minCompress || !looksCompressible(plain) {
		return nil
	}
	z := encoder(level).EncodeAll(plain, slices.Grow(dst, len(plain))[:len(dst)])
	if !pays(len(z)-len(dst), len(plain)) {
		return nil
	}
	return z
}

const (
	// minCompress is the length below which a zstd frame saves nothing
	// worth a decoder's time, in bytes.
	minCompress = 64
	// probeFrom is the length from which a chunk is probed first; below it,
	// trying costs less than probing.
	probeFrom = 64 << 10
	// The probe looks at probeParts parts of probePart bytes each, spread
	// over the chunk so that a media file's header or a table at its end
	// does not decide alone.
	probeParts = 8
	probePart  = 2 << 10
	// probeLimit is the estimate, from 0 for noise to 1 for one byte repeated,
	// that the parts must have on average; noise of this length has 0.03. Chunks in which only a few files of
	// many can be compressed pass it.
	probeLimit = 0.05
)

// pays reports whether packing saves enough, about three percent, to be worth
// unpacking at every restore.
func pays(packed, plain int) bool { return packed <= plain-plain/32 }

// looksCompressible guesses from a sample whether compressing plain will pay,
// so that films, archives and ciphertext cost next to nothing.
func looksCompressible(plain []byte) bool {
	if len(plain) < probeFrom {
		return true
	}
	sum := 0.0
	step := (len(plain) - probePart) / (probeParts - 1)
	for i := range probeParts {
		sum += kpcompress.Estimate(plain[i*step:][:probePart])
	}
	return sum >= probeParts*probeLimit
}

// decompress appends to dst the length bytes that packed unpacks to. It never
// makes more room than that, whatever packed claims.
func decompress(dst, packed []byte, length int) ([]byte, error) {
	start := len(dst)
	out := slices.Grow(dst, length)[: start : start+length]
	out, err := decoder().DecodeAll(packed, out)
	if err != nil {
		return dst, err
	}
	if len(out)-start != length {
		return dst, fmt.Errorf("%d bytes unpacked, %d were named", len(out)-start, length)
	}
	return out, nil
}

// encoder and decoder are made when first used and shared by all vaults: they
// hold no key, and are safe for concurrent use.
func encoder(level Compression) *zstd.Encoder { return encoders[level]() }

var encoders = [...]func() *zstd.Encoder{
	CompressDefault: newEncoder(zstd.SpeedDefault),
	CompressOff:     nil,
	CompressFast:    newEncoder(zstd.SpeedFastest),
	CompressBest:    newEncoder(zstd.SpeedBestCompression),
}

func newEncoder(level zstd.EncoderLevel) func() *zstd.Encoder {
	return sync.OnceValue(func() *zstd.Encoder {
		// The frame's own checksum would be a second one: GCM and the id
		// see to that. A window of 1 MiB spans any chunk.
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithEncoderCRC(false),
			zstd.WithSingleSegment(true), zstd.WithWindowSize(1<<20))
		if err != nil {
			panic(err) // the options are constants
		}
		return e
	})
}

var decoder = sync.OnceValue(func() *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecodeAllCapLimit(true),
		zstd.WithDecoderMaxMemory(schemas.MaxContent), zstd.WithDecoderMaxWindow(1<<20))
	if err != nil {
		panic(err) // the options are constants
	}
	return d
})

// workspace is what sealing a chunk needs: each buffer has one use, so that only
// those that are used take memory and lie in the processor's cache.
type workspace struct {
	packed, opened, unpacked []byte
	result                   Packed
}

var workspaces = sync.Pool{New: func() any {
	return &workspace{
		packed: make([]byte, 0, schemas.MaxContent), opened: make([]byte, 0, schemas.MaxContent), unpacked: make([]byte, 0, schemas.MaxContent),
	}
}}

// scratches lends buffers of about a chunk's size.
var scratches = sync.Pool{New: func() any {
	b := make([]byte, 0, schemas.MaxContent)
	return &b
}}

func getScratch() *[]byte  { return scratches.Get().(*[]byte) }
func putScratch(b *[]byte) { scratches.Put(b) }
