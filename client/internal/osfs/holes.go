package osfs

import (
	"fmt"
	"iter"
	"os"
)

// Extent is a run of a file's bytes.
type Extent struct{ Off, Len int64 }

// extents finds the parts of a file that hold data, in order; what is between
// them, and after the last one, is holes.
type extents struct {
	f         *os.File
	off, size int64
}

// DataExtents is for the first size bytes of f. It moves f's position: read
// with ReadAt, or seek to each extent.
func DataExtents(f *os.File, size int64) *extents {
	return &extents{f: f, size: size}
}

// Next is the next extent, false if there is none. A file system that knows no
// holes has one extent.
func (x *extents) Next() (Extent, bool, error) {
	if x.off >= x.size {
		return Extent{}, false, nil
	}
	from, to, err := nextData(x.f, x.off, x.size)
	if err != nil {
		return Extent{}, false, fmt.Errorf("look for holes: %w", Bare(err))
	}
	// The file may have grown or shrunk since its size was taken.
	from, to = min(from, x.size), min(to, x.size)
	x.off = max(to, x.off)
	return Extent{Off: from, Len: to - from}, from < to, nil
}

// Regions are the parts of a file of that size that are to be read, in order: what
// is between them, or before and after them, is holes of shortest bytes and more.
func Regions(f *os.File, size, shortest int64) iter.Seq2[Extent, error] {
	return func(yield func(Extent, error) bool) {
		extents := DataExtents(f, size)
		var region Extent
		for more := true; more; {
			var next Extent
			var err error
			if next, more, err = extents.Next(); err != nil {
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
