package chunk

import (
	"bytes"
	"encoding/binary"
)

// A long run of zeros is no content: a chunk ends where the run begins, and the next
// chunk begins where it ends. So a disk image has the same chunks with holes and without,
// and after everything in it has moved by a byte.

// MinZeros is the length in bytes from which a run of zeros is left out, whether it is a
// hole, data or partly both. A shorter run is content like any other: many small chunks
// cost more than zeros, which compress.
const MinZeros = MinSize

// holeUnit is the block of file systems, below which there is no hole.
const holeUnit = 4096

var zeroUnit [holeUnit]byte

// findZeros finds the first run of zeros that begins in b[:limit] and either has
// MinZeros bytes or reaches the end of b. from is limit if there is none. findZeros looks
// at no more than the first MinZeros bytes of the run, so to-from is at most MinZeros.
//
// It looks at one word in MinZeros bytes, and at zeros.
func findZeros(b []byte, limit int) (from, to int) {
	const word = 8
	for start := 0; start < limit; {
		// Any long run that begins between start and probe covers the word at probe.
		probe := start + MinZeros - word
		if probe+word > len(b) {
			return min(len(b)-zerosBehind(b[start:]), limit), len(b)
		}
		if binary.NativeEndian.Uint64(b[probe:]) != 0 {
			start = probe + 1
			continue
		}
		from = probe - zerosBehind(b[start:probe])
		end := min(from+MinZeros, len(b))
		to = probe + zerosAhead(b[probe:end])
		if to == end {
			return min(from, limit), to
		}
		start = to + 1
	}
	return limit, limit
}

// zerosAhead returns how many zeros b begins with.
func zerosAhead(b []byte) (n int) {
	for len(b)-n >= holeUnit && bytes.Equal(b[n:n+holeUnit], zeroUnit[:]) {
		n += holeUnit
	}
	for n < len(b) && b[n] == 0 {
		n++
	}
	return n
}

// zerosBehind returns how many zeros b ends with.
func zerosBehind(b []byte) int {
	n := len(b)
	for n >= holeUnit && bytes.Equal(b[n-holeUnit:n], zeroUnit[:]) {
		n -= holeUnit
	}
	for n > 0 && b[n-1] == 0 {
		n--
	}
	return len(b) - n
}
