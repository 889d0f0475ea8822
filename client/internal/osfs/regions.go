package osfs

import (
	"fmt"
	"iter"
	"os"
)

// Extent is a run of a file's bytes.
type Extent struct{ Off, Len int64 }

// DataRegions yields the parts of the first size bytes of f that have to be read, in order.
// Before, between and after them are holes of at least shortest bytes; shorter holes are
// part of a region. After an error it ends. A file system that knows no holes has one
// region.
//
// It moves f's position: read with ReadAt, or seek to each region.
func DataRegions(f *os.File, size, shortest int64) iter.Seq2[Extent, error] {
	return func(yield func(Extent, error) bool) {
		extents := newExtents(f, size)
		var region Extent
		for more := true; more; {
			var next Extent
			var err error
			if next, more, err = extents.next(); err != nil {
				yield(Extent{}, err)
				return
			}
			if !more {
				next = Extent{Off: size}
			}
			if next.Off-(region.Off+region.Len) < shortest {
				region.Len = next.Off + next.Len - region.Off
				continue
			}
			if region.Len > 0 && !yield(region, nil) {
				return
			}
			region = next
		}
		if region.Len > 0 {
			yield(region, nil)
		}
	}
}

// extents finds the parts of a file that hold data, in order. Everything else is holes.
type extents struct {
	f         *os.File
	off, size int64
}

// newExtents is for the first size bytes of f. Reading them moves f's position.
func newExtents(f *os.File, size int64) *extents {
	return &extents{f: f, size: size}
}

// next returns the next extent; ok is false if there is none.
func (x *extents) next() (e Extent, ok bool, err error) {
	if x.off >= x.size {
		return Extent{}, false, nil
	}
	from, to, err := nextData(x.f, x.off, x.size)
	if err != nil {
		return Extent{}, false, fmt.Errorf("look for holes: %w", WithoutPath(err))
	}
	// The file may have grown or shrunk since its size was read.
	from, to = min(from, x.size), min(to, x.size)
	x.off = max(to, x.off)
	return Extent{Off: from, Len: to - from}, from < to, nil
}
