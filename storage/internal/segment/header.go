package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/zeebo/blake3"

	"servidor-backup/schemas"
)

const (
	formatVersion = 1

	// FileHeaderSize is the length of a file header, in bytes.
	FileHeaderSize = 128
)

// Magics of the store's files.
const (
	StoreMagic      = "SBKSTORE"
	SegmentMagic    = "SBKSEGMT"
	RemovedMagic    = "SBKREMVD"
	GenerationMagic = "SBKGENER"
	ScrubMagic      = "SBKSCRUB"
	RunsMagic       = "SBKRUNSX"
)

var (
	// ErrNewer is the error for a file that a newer version of this program wrote.
	ErrNewer = errors.New("written by a newer version of this program")
	// ErrHeader is the error for bytes that are no sound file header.
	ErrHeader = errors.New("its header is damaged")
)

// FileHeader begins every file of a store; see the package comment.
type FileHeader struct {
	Magic   string
	Number  uint32
	Node    schemas.NodeID
	Salt    [32]byte
	Created time.Time // whole seconds
}

// Encode returns the header's bytes, of which there are FileHeaderSize, in the
// current version of the format.
func (h *FileHeader) Encode() []byte {
	b := make([]byte, FileHeaderSize)
	copy(b, h.Magic)
	binary.LittleEndian.PutUint32(b[8:], formatVersion)
	binary.LittleEndian.PutUint32(b[12:], h.Number)
	copy(b[16:48], h.Node)
	copy(b[48:], h.Salt[:])
	binary.LittleEndian.PutUint64(b[80:], uint64(h.Created.Unix()))
	sum := blake3.Sum256(b[:96])
	copy(b[96:], sum[:])
	return b
}

// DecodeFileHeader reads a file header with the given magic from the beginning of
// b. Its error wraps [ErrHeader] or [ErrNewer].
func DecodeFileHeader(b []byte, magic string) (h FileHeader, err error) {
	if len(b) < FileHeaderSize || string(b[:8]) != magic {
		return h, ErrHeader
	}
	// The checksum comes first: a flipped bit must not look like a newer version.
	if blake3.Sum256(b[:96]) != [32]byte(b[96:FileHeaderSize]) {
		return h, ErrHeader
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v > formatVersion {
		return h, fmt.Errorf("%w: format %d, this program knows up to %d", ErrNewer, v, formatVersion)
	}
	h.Magic = magic
	h.Number = binary.LittleEndian.Uint32(b[12:])
	h.Node = schemas.NodeID(bytes.TrimRight(b[16:48], "\x00"))
	h.Salt = [32]byte(b[48:80])
	h.Created = time.Unix(int64(binary.LittleEndian.Uint64(b[80:])), 0)
	if !schemas.ValidNodeID(h.Node) {
		return h, ErrHeader
	}
	return h, nil
}
