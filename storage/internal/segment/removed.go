package segment

import (
	"encoding/binary"
	"slices"

	"github.com/zeebo/blake3"
)

// Removed are the numbers of removed segments, as ascending ranges that do not
// touch. The file REMOVED holds them, so that a missing segment can be told from a
// removed one.
type Removed []numberRange

type numberRange struct{ first, last uint32 }

// Has reports whether n is among the numbers.
func (r Removed) Has(n uint32) bool {
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

// With returns the numbers of r and n.
func (r Removed) With(n uint32) Removed {
	if r.Has(n) {
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

// Count returns how many numbers there are.
func (r Removed) Count() (n int64) {
	for _, x := range r {
		n += int64(x.last) - int64(x.first) + 1
	}
	return n
}

// Last returns the largest number, or 0.
func (r Removed) Last() uint32 {
	if len(r) == 0 {
		return 0
	}
	return r[len(r)-1].last
}

// NumbersBetween returns the numbers below the last of all that are not in all,
// which is ascending.
func NumbersBetween(all []uint32) (r Removed) {
	next := uint32(1)
	for _, n := range all {
		if next < n {
			r = append(r, numberRange{next, n - 1})
		}
		next = n + 1
	}
	return r
}

// Encode returns the bytes of REMOVED: a file header whose number is the number of
// ranges, the ranges, and the BLAKE3-256 of everything before it.
func (r Removed) Encode(identity FileHeader) []byte {
	identity.Magic, identity.Number = RemovedMagic, uint32(len(r))
	b := identity.Encode()
	for _, x := range r {
		b = binary.LittleEndian.AppendUint32(b, x.first)
		b = binary.LittleEndian.AppendUint32(b, x.last)
	}
	sum := blake3.Sum256(b)
	return append(b, sum[:]...)
}

// DecodeRemoved decodes the bytes of REMOVED. Its error wraps [ErrHeader] or
// [ErrNewer].
func DecodeRemoved(b []byte, identity FileHeader) (r Removed, err error) {
	h, err := DecodeFileHeader(b, RemovedMagic)
	if err != nil {
		return nil, err
	}
	end := FileHeaderSize + 8*int64(h.Number)
	if h.Node != identity.Node || h.Salt != identity.Salt || int64(len(b)) != end+32 || blake3.Sum256(b[:end]) != [32]byte(b[end:]) {
		return nil, ErrHeader
	}
	last := uint32(0)
	for b := b[FileHeaderSize:end]; len(b) > 0; b = b[8:] {
		x := numberRange{binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])}
		if x.first <= last || x.last < x.first {
			return nil, ErrHeader
		}
		r, last = append(r, x), x.last
	}
	return r, nil
}
