package chunk

import (
	"bytes"
	"encoding/binary"
)

// Long runs of zeros are no content: a chunk ends where one begins, and the next
// begins where it ends. So a disk image has the same chunks with holes and without,
// and after everything in it has moved by a byte.

// MinZeros is the length from which a run of zeros is left out, be it a hole, data
// or both in part. What is shorter is content like any other: many small chunks
// cost more than zeros, which compress.
const MinZeros = MinSize

// hole is the unit of file systems, below which nothing can be left out.
const hole = 4096

var zeroBlock [hole]byte

// findZeros finds the first run of zeros that begins in b[:limit] and either has
// MinZeros bytes, or reaches the end of b. It begins at limit if there is none. What
// is behind the first MinZeros bytes of it is not looked at.
//
// It looks at one word in MinZeros bytes, and at zeros.
func findZeros(b []byte, limit int) (from, to int) {
	const word = 8
	for at := 0; at < limit; {
		probe := at + MinZeros - word // is within any long run that begins at at or up to here
		if probe+word > len(b) {
			return min(len(b)-zerosBehind(b[at:]), limit), len(b)
		}
		if binary.NativeEndian.Uint64(b[probe:]) != 0 {
			at = probe + 1
			continue
		}
		from = probe - zerosBehind(b[at:probe])
		end := min(from+MinZeros, len(b))
		to = probe + zerosAhead(b[probe:end])
		if to == end {
			return min(from, limit), to
		}
		at = to + 1
	}
	return limit, limit
}

// zerosAhead is how many zeros b begins with.
func zerosAhead(b []byte) (n int) {
	for len(b)-n >= hole && bytes.Equal(b[n:n+hole], zeroBlock[:]) {
		n += hole
	}
	for n < len(b) && b[n] == 0 {
		n++
	}
	return n
}

// zerosBehind is how many zeros b ends with.
func zerosBehind(b []byte) int {
	n := len(b)
	for n >= hole && bytes.Equal(b[n-hole:n], zeroBlock[:]) {
		n -= hole
	}
	for n > 0 && b[n-1] == 0 {
		n--
	}
	return len(b) - n
}
