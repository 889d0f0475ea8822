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
// every content has its own key and random nonces cannot run out. Version and id
// are associated data: a frame opens as the chunk it was sealed as, or not at
// all. What is encrypted:
//
//	| packing u8 | plain length uvarint | packed length uvarint | packed | zeros |
//
// Packing is 0 for bytes as they are, 1 for one zstd frame. The zeros are
// padding: this program writes none and reads any amount.
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
// [schemas.MaxContent] even if it cannot be compressed. The longest chunk that a
// backup cuts follows from it.
const MaxPlain = 999_800

// The largest frame fits a put. (The constant is negative, and this does not compile, if
// it does not.)
const _ = uint(schemas.MaxContent - MaxPlain - Overhead)

// ErrDamaged says that a chunk's bytes are not what was sealed under its id
// with this vault's key: they were changed, or the key is another one. Another
// replica of the chunk may be whole.
var ErrDamaged = errors.New("damaged, or sealed with another key")

// newerFrame is the error about a frame whose first byte says that it is of a newer version. No
// checksum of ours covers that byte before the frame is opened, so the frame may as well be
// damaged: the error is ErrDamaged too.
type newerFrame struct{ error }

func (e newerFrame) Unwrap() error        { return e.error }
func (e newerFrame) Is(target error) bool { return target == ErrDamaged }

func errWrongID(id schemas.ChunkID) error {
	return fmt.Errorf("chunk %s does not match its id: %w", id.Short(), ErrDamaged)
}

// errMalformed says that a frame holds what no writer packs.
func errMalformed(id schemas.ChunkID, err error) error {
	return fmt.Errorf("chunk %s opens, but its content is malformed (%v): %w", id.Short(), err, ErrDamaged)
}

// Seal packs plain, encrypts it and appends the frame to dst. It does not open the
// frame again to check it. It is safe for concurrent use.
func (k *Keys) Seal(dst []byte, id schemas.ChunkID, plain []byte, level Compression) ([]byte, error) {
	c := schemas.Chunk{ID: id, Kind: schemas.Data}
	return k.appendFrame(dst, &c, plain, options{level: level, unchecked: true})
}

// options say how appendFrame seals a chunk.
type options struct {
	level     Compression
	unchecked bool // the frame is not opened again
}

// appendFrame appends to dst the frame of c. If plain does not match c's id, the error
// is ErrDamaged, unless the frame is unchecked. It sets c.Content to the frame.
func (k *Keys) appendFrame(dst []byte, c *schemas.Chunk, plain []byte, opt options) ([]byte, error) {
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
	matches := func(plain []byte) bool { return k.ID(c, plain) == c.ID }
	if err := k.SealPacked(c, &p, matches, opt.unchecked); err != nil {
		return dst, err
	}
	return out, nil
}

// SealPacked encrypts p and writes the frame to c.Content, which has the frame's size.
// Unless unchecked is set, it opens the frame again and passes what comes out to matches,
// which reports whether that is what was to be sealed. If it is not, the error is
// [ErrDamaged]. The slice that matches gets is valid only during the call.
func (k *Keys) SealPacked(c *schemas.Chunk, p *Packed, matches func(plain []byte) bool, unchecked bool) error {
	if err := k.encrypt(c.Content, c.ID, p); err != nil || unchecked {
		return err
	}
	plain, err := k.openInto(p.space.decrypted[:0], p.space.unpacked[:0], c.ID, c.Content)
	if err == nil && !matches(plain) {
		err = errWrongID(c.ID)
	}
	if err != nil {
		return fmt.Errorf("checking a chunk after sealing it (is this machine's memory sound?): %w", err)
	}
	return nil
}

// OpenData opens the frame of a data chunk and checks that its content matches id. It
// decrypts in place, so the caller loses the frame. The result is a part of frame or, if
// it had to be unpacked, of buf, an empty slice with the capacity for a chunk; nothing is
// copied.
func (k *Keys) OpenData(buf []byte, id schemas.ChunkID, frame []byte) ([]byte, error) {
	begin := min(1+nonceSize, len(frame))
	plain, err := k.openInto(frame[begin:begin], buf, id, frame)
	if err == nil && k.DataID(plain) != id {
		err = errWrongID(id)
	}
	return plain, err
}

// openInto opens a frame without copying. It decrypts to decrypted, which may be
// the frame's own bytes behind the nonce. The plaintext is a part of that or, if it
// had to be unpacked, of unpacked. Both are empty slices.
func (k *Keys) openInto(decrypted, unpacked []byte, id schemas.ChunkID, frame []byte) ([]byte, error) {
	inner, err := k.decrypt(decrypted, id, frame)
	if err != nil {
		return nil, err
	}
	p, err := parsePacked(inner)
	plain := p.body
	if err == nil && p.packing == packZstd {
		plain, err = decompress(unpacked, p.body, p.length)
	}
	if err != nil {
		return nil, errMalformed(id, err)
	}
	return plain, nil
}

// OpenTree opens the frame of a tree chunk, checks that its edges and its payload match
// its id, and appends the payload to dst. On an error it returns dst.
func (k *Keys) OpenTree(dst []byte, c *schemas.Chunk) ([]byte, error) {
	plain, err := k.open(dst, c.ID, c.Content)
	if err != nil {
		return dst, err
	}
	if k.TreeID(c.Trees, c.Data, plain[len(dst):]) != c.ID {
		return dst, errWrongID(c.ID)
	}
	return plain, nil
}

// open appends to dst the plaintext of a frame. It does not check that the plaintext
// matches the id; its callers do. It leaves frame as it is. On an error it returns dst.
func (k *Keys) open(dst []byte, id schemas.ChunkID, frame []byte) ([]byte, error) {
	scratch := getScratch()
	defer putScratch(scratch)
	inner, err := k.decrypt((*scratch)[:0], id, frame)
	if err != nil {
		return dst, err
	}
	*scratch = inner
	plain, err := unpack(dst, inner)
	if err != nil {
		return dst, errMalformed(id, err)
	}
	return plain, nil
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
	k.aead(id).Seal(inner[:0], nonce, inner, associatedData(id))
	return nil
}

// decrypt appends to dst what a frame encrypts. On an error it returns dst.
func (k *Keys) decrypt(dst []byte, id schemas.ChunkID, frame []byte) ([]byte, error) {
	if len(frame) > 0 && frame[0] > frameVersion {
		return dst, newerFrame{schemas.Errorf(schemas.TooNew, "chunk %s is sealed in version %d, and this program knows version %d: use a newer program, or replace the chunk if it is damaged", id.Short(), frame[0], frameVersion)}
	}
	if len(frame) < 1+nonceSize+tagSize || frame[0] != frameVersion || len(frame) > schemas.MaxContent {
		return dst, fmt.Errorf("chunk %s is not a sealed frame: %w", id.Short(), ErrDamaged)
	}
	nonce, sealed := frame[1:1+nonceSize], frame[1+nonceSize:]
	inner, err := k.aead(id).Open(dst, nonce, sealed, associatedData(id))
	if err != nil {
		return dst, fmt.Errorf("chunk %s does not open: %w", id.Short(), ErrDamaged)
	}
	return inner, nil
}

// aead returns the cipher of one chunk.
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

// associatedData returns what a frame is bound to besides its key.
func associatedData(id schemas.ChunkID) []byte {
	return append([]byte{frameVersion}, id[:]...)
}
