package chunk

import (
	"hash/crc32"
	"slices"
)

// Plaintext is a chunk's content in the clear. It is valid until its release, and
// must be released once.
type Plaintext struct {
	Bytes []byte
	block *block // nil if the bytes are not part of a block
	// sum is the checksum of Bytes. It is taken before anything else is done with
	// them; above all, before their id is computed. What comes out of the sealed frame
	// must have it. So it detects what bad memory did to the plaintext before its id was
	// computed or while it waited, to the packed bytes and to the frame, for a tenth of
	// what the keyed hash would cost.
	sum uint32
}

// CopyPlaintext returns a plaintext with a copy of b, which is in no block. The checksum is
// that of b itself, so that a faulty copy is detected.
func CopyPlaintext(b []byte) Plaintext {
	return Plaintext{Bytes: slices.Clone(b), sum: checksum(b)}
}

// InBlock reports whether the bytes are part of a block.
func (p Plaintext) InBlock() bool { return p.block != nil }

// Matches reports whether b has the checksum that was taken of the plaintext.
func (p Plaintext) Matches(b []byte) bool { return checksum(b) == p.sum }

// Release ends the use of the bytes.
func (p Plaintext) Release() {
	if p.block != nil {
		p.block.release()
	}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }
