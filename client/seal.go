package client

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/klauspost/compress/zstd"

	"servidor-backup/schemas"
)

// A sealed chunk is one frame:
//
//	0        1            13                        n-16       n
//	| version | nonce      | AES-256-GCM ciphertext  | tag      |
//
// The key is the keyed BLAKE3 of the chunk's id under the vault's seal key, so
// every content has its own and random nonces cannot run out. Version and id
// are associated data: a frame opens as the chunk it was sealed as, or not at
// all. What is encrypted:
//
//	| packing u8 | plain length uvarint | packed length uvarint | packed | zeros |
//
// Packing is 0 for bytes as they are, 1 for one zstd frame. The zeros are
// padding; none is written today, any amount is read.
const (
	frameVersion = 1
	nonceSize    = 12
	tagSize      = 16

	packNone = 0
	packZstd = 1

	// sealOverhead is how much longer than its plaintext a frame can be, in
	// bytes: the header, the tag, and before incompressible content the
	// packing and two lengths.
	sealOverhead = 1 + nonceSize + tagSize + 1 + 2*3
)

// The largest chunk fits a put, sealed as it is. (The constant is negative,
// and this does not compile, if it does not.)
const _ = uint(schemas.MaxContent - maxChunk - sealOverhead)

// ErrDamaged says that a chunk's bytes are not what was sealed under its id
// with this vault's key: they were changed, or the key is another one. Another
// copy of the chunk may be whole.
var ErrDamaged = errors.New("damaged, or sealed with another key")

// Compression says how much time sealing may spend on making chunks smaller.
// The zero value is a good default.
type Compression uint8

const (
	// CompressDefault is zstd's default level: faster than most disks.
	CompressDefault Compression = iota
	// CompressOff stores everything as it is.
	CompressOff
	// CompressFast is for slow processors and fast networks.
	CompressFast
	// CompressBest is for slow networks; it is some ten times slower.
	CompressBest
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

// sealOptions say how chunks are sealed.
type sealOptions struct {
	Compression Compression
	pace        *pace // says which instead, for each chunk; nil: it stays
	// Unchecked leaves out opening every frame again. The check takes from a
	// fifth of sealing's time (text) to two thirds (random bytes) and is what
	// finds bad memory at backup and not at restore, so it is on unless told
	// otherwise.
	Unchecked bool
}

// sealData appends to dst the frame of the data chunk id. Unless told not to,
// it opens the frame again and computes the id of what comes out: id was
// computed from the plaintext when it was read, so this compares the two and
// also finds what happened to the plaintext in between.
func (k *keys) sealData(dst []byte, id schemas.ChunkID, plain []byte, opt sealOptions) ([]byte, error) {
	frame, err := k.seal(dst, id, plain, opt.Compression)
	if err != nil || opt.Unchecked {
		return frame, err
	}
	scratch := getScratch()
	defer putScratch(scratch)
	if *scratch, err = k.openData((*scratch)[:0], id, frame[len(dst):]); err != nil {
		return dst, fmt.Errorf("checking a chunk after sealing it (is this machine's memory sound?): %w", err)
	}
	return frame, nil
}

// sealTree appends to dst the frame of the tree chunk id with these edges,
// checked as sealData does.
func (k *keys) sealTree(dst []byte, id schemas.ChunkID, trees, data []schemas.ChunkID, payload []byte, opt sealOptions) ([]byte, error) {
	frame, err := k.seal(dst, id, payload, opt.Compression)
	if err != nil || opt.Unchecked {
		return frame, err
	}
	scratch := getScratch()
	defer putScratch(scratch)
	chunk := schemas.Chunk{ID: id, Trees: trees, Data: data, Content: frame[len(dst):]}
	if *scratch, err = k.openTree((*scratch)[:0], &chunk); err != nil {
		return dst, fmt.Errorf("checking a tree chunk after sealing it (is this machine's memory sound?): %w", err)
	}
	return frame, nil
}

// openData appends to dst the plaintext of a data chunk, once it has proved to
// be what id names. On an error dst comes back as it was.
func (k *keys) openData(dst []byte, id schemas.ChunkID, frame []byte) ([]byte, error) {
	plain, err := k.open(dst, id, frame)
	if err != nil {
		return dst, err
	}
	if k.dataID(plain[len(dst):]) != id {
		return dst, wrongID(id)
	}
	return plain, nil
}

// openTree appends to dst the payload of a tree chunk, once payload and edges
// have proved to be what the chunk's id names.
func (k *keys) openTree(dst []byte, c *schemas.Chunk) ([]byte, error) {
	plain, err := k.open(dst, c.ID, c.Content)
	if err != nil {
		return dst, err
	}
	if k.treeID(c.Trees, c.Data, plain[len(dst):]) != c.ID {
		return dst, wrongID(c.ID)
	}
	return plain, nil
}

func wrongID(id schemas.ChunkID) error {
	return fmt.Errorf("chunk %s does not match its id: %w", id.Short(), ErrDamaged)
}

// seal appends to dst the frame of plain. It is safe for concurrent use.
func (k *keys) seal(dst []byte, id schemas.ChunkID, plain []byte, level Compression) ([]byte, error) {
	if len(plain) > maxChunk {
		return dst, fmt.Errorf("chunk %s has %d bytes, at most %d can be sealed", id.Short(), len(plain), maxChunk)
	}
	if int(level) >= len(encoders) {
		return dst, fmt.Errorf("unknown %v", level)
	}
	scratch := getScratch()
	defer putScratch(scratch)
	packing, packed := byte(packNone), plain
	if z := compress((*scratch)[:0], plain, level); z != nil {
		*scratch = z
		packing, packed = packZstd, z
	}
	start := len(dst)
	out := slices.Grow(dst, len(packed)+sealOverhead)
	out = append(out, frameVersion)
	out = out[:start+1+nonceSize]
	nonce := out[start+1:]
	if _, err := io.ReadFull(k.nonces, nonce); err != nil {
		return dst, fmt.Errorf("drawing a nonce: %w", err)
	}
	body := len(out)
	out = append(out, packing)
	out = binary.AppendUvarint(out, uint64(len(plain)))
	out = binary.AppendUvarint(out, uint64(len(packed)))
	out = append(out, packed...)
	sealed := k.aead(id).Seal(out[body:body], nonce, out[body:], associated(id))
	return out[:body+len(sealed)], nil
}

// open appends to dst what seal was given. It says nothing about the id
// matching the content; see openData and openTree. It is safe for concurrent
// use and leaves frame as it is.
func (k *keys) open(dst []byte, id schemas.ChunkID, frame []byte) ([]byte, error) {
	if len(frame) > 0 && frame[0] > frameVersion {
		return dst, schemas.Errorf(schemas.TooNew, "chunk %s is sealed in version %d, and this program knows version %d: use a newer program", id.Short(), frame[0], frameVersion)
	}
	if len(frame) < 1+nonceSize+tagSize || frame[0] != frameVersion || len(frame) > schemas.MaxContent {
		return dst, fmt.Errorf("chunk %s is not a sealed frame: %w", id.Short(), ErrDamaged)
	}
	scratch := getScratch()
	defer putScratch(scratch)
	nonce, sealed := frame[1:1+nonceSize], frame[1+nonceSize:]
	inner, err := k.aead(id).Open((*scratch)[:0], nonce, sealed, associated(id))
	if err != nil {
		return dst, fmt.Errorf("chunk %s does not open: %w", id.Short(), ErrDamaged)
	}
	*scratch = inner
	plain, err := unpack(dst, inner)
	if err != nil {
		return dst, fmt.Errorf("chunk %s opens, and what is in it is malformed (%v): %w", id.Short(), err, ErrDamaged)
	}
	return plain, nil
}

// aead is the cipher of one chunk.
func (k *keys) aead(id schemas.ChunkID) cipher.AEAD {
	h := k.sealing.get()
	defer k.sealing.put(h)
	h.Write(id[:])
	var key [32]byte
	h.Sum(key[:0])
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // the key's length is right by construction
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // AES has the block size that GCM needs
	}
	return gcm
}

// associated is what a frame is bound to besides its key.
func associated(id schemas.ChunkID) []byte {
	return append([]byte{frameVersion}, id[:]...)
}

// unpack appends to dst the plaintext within an opened frame.
func unpack(dst, inner []byte) ([]byte, error) {
	if len(inner) == 0 {
		return dst, errors.New("it is empty")
	}
	packing, rest := inner[0], inner[1:]
	length, n := binary.Uvarint(rest)
	if n <= 0 || length > maxChunk {
		return dst, errors.New("bad length")
	}
	rest = rest[n:]
	packed, n := binary.Uvarint(rest)
	if n <= 0 || packed > uint64(len(rest)-n) {
		return dst, errors.New("bad packed length")
	}
	body, padding := rest[n:][:packed], rest[n:][packed:]
	for _, b := range padding {
		if b != 0 {
			return dst, errors.New("padding that is not zero")
		}
	}
	switch {
	case packing == packNone && packed == length:
		return append(dst, body...), nil
	case packing == packZstd:
		return decompress(dst, body, int(length))
	}
	return dst, fmt.Errorf("packing %d of %d bytes in %d", packing, length, packed)
}

// compress appends to dst the zstd frame of plain, or returns nil where that
// does not pay.
func compress(dst, plain []byte, level Compression) []byte {
	if level == CompressOff || len(plain) < minCompress || !looksCompressible(dst, plain) {
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
)

// pays reports whether packing saves enough, about three percent, to be worth
// unpacking at every restore.
func pays(packed, plain int) bool { return packed <= plain-plain/32 }

// looksCompressible guesses from a sample whether compressing plain will pay,
// so that films, archives and ciphertext cost next to nothing. It may scribble
// beyond the length of scratch.
func looksCompressible(scratch, plain []byte) bool {
	if len(plain) < probeFrom {
		return true
	}
	var sample [probeParts * probePart]byte
	step := (len(plain) - probePart) / (probeParts - 1)
	for i := range probeParts {
		copy(sample[i*probePart:][:probePart], plain[i*step:])
	}
	z := encoder(CompressFast).EncodeAll(sample[:], scratch)
	return pays(len(z)-len(scratch), len(sample))
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

// scratches lends buffers of about a chunk's size.
var scratches = sync.Pool{New: func() any {
	b := make([]byte, 0, schemas.MaxContent)
	return &b
}}

func getScratch() *[]byte  { return scratches.Get().(*[]byte) }
func putScratch(b *[]byte) { scratches.Put(b) }
