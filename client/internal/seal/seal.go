package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"io"
	"slices"

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

	// Overhead is how much longer than its plaintext a frame can be, in
	// bytes: the header, the tag, and before incompressible content the
	// packing and two lengths.
	Overhead = 1 + nonceSize + tagSize + 1 + 2*3
)

// MaxPlain is the longest plaintext that can be sealed, in bytes: its frame fits
// schemas.MaxContent even if it cannot be compressed. The length of chunks follows from
// it, see [MaxChunk].
const MaxPlain = 999_800

// The largest frame fits a put. (The constant is negative, and this does not compile, if
// it does not.)
const _ = uint(schemas.MaxContent - MaxPlain - Overhead)

// ErrDamaged says that a chunk's bytes are not what was sealed under its id
// with this vault's key: they were changed, or the key is another one. Another
// copy of the chunk may be whole.
var ErrDamaged = errors.New("damaged, or sealed with another key")

// options say how a chunk is sealed.
type options struct {
	level     Compression
	unchecked bool // leaves out opening the frame again
}

// sealData appends to dst the frame of the data chunk id. It is safe for
// concurrent use.
func (k *Keys) sealData(dst []byte, id schemas.ChunkID, plain []byte, opt options) ([]byte, error) {
	c := schemas.Chunk{ID: id, Kind: schemas.Data}
	return k.sealTo(dst, &c, plain, opt)
}

func (k *Keys) sealTo(dst []byte, c *schemas.Chunk, plain []byte, opt options) ([]byte, error) {
	space := workspaces.Get().(*workspace)
	defer workspaces.Put(space)
	p, err := pack(&space.packed, c.ID, plain, opt.level)
	if err != nil {
		return dst, err
	}
	p.space = space
	start := len(dst)
	out := slices.Grow(dst, p.FrameSize())[:start+p.FrameSize()]
	c.Content = out[start:]
	named := func(plain []byte) bool { return k.ID(c, plain) == c.ID }
	if err := k.SealPacked(c, &p, named, opt.unchecked); err != nil {
		return dst, err
	}
	return out, nil
}

// SealPacked writes the frame of what was packed to c.Content, which has the
// frame's size. Unless told not to, it opens the frame again and asks right
// whether what comes out is what was to be sealed.
func (k *Keys) SealPacked(c *schemas.Chunk, p *Packed, right func(plain []byte) bool, unchecked bool) error {
	if err := k.encrypt(c.Content, c.ID, p); err != nil || unchecked {
		return err
	}
	plain, err := k.openIn(p.space.opened[:0], p.space.unpacked[:0], c.ID, c.Content)
	if err == nil && !right(plain) {
		err = errWrongID(c.ID)
	}
	if err != nil {
		return fmt.Errorf("checking a chunk after sealing it (is this machine's memory sound?): %w", err)
	}
	return nil
}

// ID is what the chunk's id is if plain is its plaintext.
func (k *Keys) ID(c *schemas.Chunk, plain []byte) schemas.ChunkID {
	if c.Kind == schemas.Tree {
		return k.TreeID(c.Trees, c.Data, plain)
	}
	return k.DataID(plain)
}

// OpenData opens the frame of a data chunk and checks that it is what id names. The
// frame is the caller's to lose: it is decrypted where it stands. What comes back is a part of frame or, if it had to be
// unpacked, of buf, which is empty and has room for a chunk; nothing is copied.
func (k *Keys) OpenData(buf []byte, id schemas.ChunkID, frame []byte) ([]byte, error) {
	begin := min(1+nonceSize, len(frame))
	plain, err := k.openIn(frame[begin:begin], buf, id, frame)
	if err == nil && k.DataID(plain) != id {
		err = errWrongID(id)
	}
	return plain, err
}

// openIn opens a frame without copying: what it decrypts goes to room, which may
// be the frame's own bytes behind the nonce, and the plaintext is a part of that
// or, if it had to be unpacked, of buf. Both are empty slices.
func (k *Keys) openIn(room, buf []byte, id schemas.ChunkID, frame []byte) ([]byte, error) {
	inner, err := k.decrypt(room, id, frame)
	if err != nil {
		return nil, err
	}
	u, err := parseInner(inner)
	plain := u.body
	if err == nil && u.packing == packZstd {
		plain, err = decompress(buf, u.body, u.length)
	}
	if err != nil {
		return nil, malformed(id, err)
	}
	return plain, nil
}

// OpenTree appends to dst the payload of a tree chunk, once payload and edges
// have proved to be what the chunk's id names.
func (k *Keys) OpenTree(dst []byte, c *schemas.Chunk) ([]byte, error) {
	plain, err := k.Open(dst, c.ID, c.Content)
	if err != nil {
		return dst, err
	}
	if k.TreeID(c.Trees, c.Data, plain[len(dst):]) != c.ID {
		return dst, errWrongID(c.ID)
	}
	return plain, nil
}

func errWrongID(id schemas.ChunkID) error {
	return fmt.Errorf("chunk %s does not match its id: %w", id.Short(), ErrDamaged)
}

// Seal appends to dst the frame of plain, unchecked. It is safe for concurrent
// use.
func (k *Keys) Seal(dst []byte, id schemas.ChunkID, plain []byte, level Compression) ([]byte, error) {
	return k.sealData(dst, id, plain, options{level: level, unchecked: true})
}

// encrypt writes the frame of p to dst, which has the frame's size.
func (k *Keys) encrypt(dst []byte, id schemas.ChunkID, p *Packed) error {
	dst[0] = frameVersion
	nonce := dst[1 : 1+nonceSize]
	if _, err := io.ReadFull(k.nonces, nonce); err != nil {
		return fmt.Errorf("drawing a nonce: %w", err)
	}
	inner := dst[1+nonceSize : len(dst)-tagSize]
	copy(inner[copy(inner, p.head[:p.headSize]):], p.body)
	k.aead(id).Seal(inner[:0], nonce, inner, associated(id))
	return nil
}

// Open appends to dst what seal was given. It says nothing about the id
// matching the content; see unseal and openTree. It is safe for concurrent
// use and leaves frame as it is.
func (k *Keys) Open(dst []byte, id schemas.ChunkID, frame []byte) ([]byte, error) {
	scratch := getScratch()
	defer putScratch(scratch)
	inner, err := k.decrypt((*scratch)[:0], id, frame)
	if err != nil {
		return dst, err
	}
	*scratch = inner
	plain, err := unpack(dst, inner)
	if err != nil {
		return dst, malformed(id, err)
	}
	return plain, nil
}

// malformed says that a frame holds what no writer packs.
func malformed(id schemas.ChunkID, err error) error {
	return fmt.Errorf("chunk %s opens, and what is in it is malformed (%v): %w", id.Short(), err, ErrDamaged)
}

// decrypt appends to dst what is encrypted in a frame.
func (k *Keys) decrypt(dst []byte, id schemas.ChunkID, frame []byte) ([]byte, error) {
	if len(frame) > 0 && frame[0] > frameVersion {
		return dst, schemas.Errorf(schemas.TooNew, "chunk %s is sealed in version %d, and this program knows version %d: use a newer program", id.Short(), frame[0], frameVersion)
	}
	if len(frame) < 1+nonceSize+tagSize || frame[0] != frameVersion || len(frame) > schemas.MaxContent {
		return dst, fmt.Errorf("chunk %s is not a sealed frame: %w", id.Short(), ErrDamaged)
	}
	nonce, sealed := frame[1:1+nonceSize], frame[1+nonceSize:]
	inner, err := k.aead(id).Open(dst, nonce, sealed, associated(id))
	if err != nil {
		return dst, fmt.Errorf("chunk %s does not open: %w", id.Short(), ErrDamaged)
	}
	return inner, nil
}

// aead is the cipher of one chunk.
func (k *Keys) aead(id schemas.ChunkID) cipher.AEAD {
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
