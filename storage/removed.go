package storage

import (
	"encoding/binary"
	"slices"

	"github.com/zeebo/blake3"

	"servidor-backup/storage/internal/segment"
)

// removed are the numbers of removed segments, as ascending ranges that do not
// touch. The file REMOVED holds them, so that a missing segment can be told from a
// removed one.
type removed []numberRange

type numberRange struct{ first, last uint32 }

func (r removed) has(n uint32) bool {
	_, found := slices.BinarySearchFunc(r, n, func(x numberRange, n uint32) int {
		switch {
		case x.last < n:
			return -1
		case x.first > n:
			return 1
		}
		return 0
	})
	return found
}

// with returns the numbers of r and n.
func (r removed) with(n uint32) removed {
	if r.has(n) {
		return r
	}
	i, _ := slices.BinarySearchFunc(r, n, func(x numberRange, n uint32) int {
		if x.first < n {
			return -1
		}
		return 1
	})
	all := slices.Insert(slices.Clone(r), i, numberRange{n, n})
	if i+1 < len(all) && all[i+1].first == n+1 {
		all[i].last = all[i+1].last
		all = slices.Delete(all, i+1, i+2)
	}
	if i > 0 && all[i-1].last+1 == n {
		all[i-1].last = all[i].last
		all = slices.Delete(all, i, i+1)
	}
	return all
}

// count returns how many numbers there are.
func (r removed) count() (n int64) {
	for _, x := range r {
		n += int64(x.last) - int64(x.first) + 1
	}
	return n
}

// numbersBetween returns the numbers below the last of all that are not in all,
// which is ascending.
func numbersBetween(all []uint32) (r removed) {
	next := uint32(1)
	for _, n := range all {
		if next < n {
			r = append(r, numberRange{next, n - 1})
		}
		next = n + 1
	}
	return r
}

// encode returns the bytes of REMOVED: a file header whose number is the number of
// ranges, the ranges, and the BLAKE3-256 of everything before it.
func (r removed) encode(identity segment.FileHeader) []byte {
	identity.Magic, identity.Number = segment.RemovedMagic, uint32(len(r))
	b := identity.Encode()
	for _, x := range r {
		b = binary.LittleEndian.AppendUint32(b, x.first)
		b = binary.LittleEndian.AppendUint32(b, x.last)
	}
	sum := blake3.Sum256(b)
	return append(b, sum[:]...)
}

// decodeRemoved decodes the bytes of REMOVED. Its error wraps [segment.ErrHeader] or
// [ErrNewer].
func decodeRemoved(b []byte, identity segment.FileHeader) (r removed, err error) {
	h, err := segment.DecodeFileHeader(b, segment.RemovedMagic)
	if err != nil {
		return nil, err
	}
	end := segment.FileHeaderSize + 8*int64(h.Number)
	if h.Node != identity.Node || h.Salt != identity.Salt || int64(len(b)) != end+32 || blake3.Sum256(b[:end]) != [32]byte(b[end:]) {
		return nil, segment.ErrHeader
	}
	last := uint32(0)
	for b := b[segment.FileHeaderSize:end]; len(b) > 0; b = b[8:] {
		x := numberRange{binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])}
		if x.first <= last || x.last < x.first {
			return nil, segment.ErrHeader
		}
		r, last = append(r, x), x.last
	}
	return r, nil
}
