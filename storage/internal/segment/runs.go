package segment

import (
	"encoding/binary"

	"github.com/zeebo/blake3"
)

// MaxRuns is how many runs the file RUNS names at most.
const MaxRuns = 17

// RunsSize is the length of the file RUNS, in bytes, with MaxRuns runs.
const RunsSize = FileHeaderSize + 8*MaxRuns + 32

// EncodeRuns returns the bytes of RUNS: a file header whose number is the number of runs, their
// ids, and the BLAKE3-256 of everything before it.
func EncodeRuns(ids []uint64, identity FileHeader) []byte {
	identity.Magic, identity.Number = RunsMagic, uint32(len(ids))
	b := identity.Encode()
	for _, id := range ids {
		b = binary.LittleEndian.AppendUint64(b, id)
	}
	sum := blake3.Sum256(b)
	return append(b, sum[:]...)
}

// DecodeRuns decodes the bytes of RUNS; nil if they are damaged.
func DecodeRuns(b []byte, identity FileHeader) (ids []uint64) {
	h, err := DecodeFileHeader(b, RunsMagic)
	end := FileHeaderSize + 8*int64(h.Number)
	if err != nil || h.Node != identity.Node || h.Salt != identity.Salt || int64(len(b)) != end+32 || blake3.Sum256(b[:end]) != [32]byte(b[end:]) {
		return nil
	}
	for b := b[FileHeaderSize:end]; len(b) > 0; b = b[8:] {
		ids = append(ids, binary.LittleEndian.Uint64(b))
	}
	return ids
}
