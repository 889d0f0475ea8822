package client

import (
	"fmt"
	"iter"
	"os"
)

// extent is a run of a file's bytes.
type extent struct{ Off, Len int64 }

// extents finds the parts of a file that hold data, in order; what is between
// them, and after the last one, is holes.
type extents struct {
	f         *os.File
	off, size int64
}

// dataExtents is for the first size bytes of f. It moves f's position: read
// with ReadAt, or seek to each extent.
func dataExtents(f *os.File, size int64) *extents {
	return &extents{f: f, size: size}
}

// next is the next extent, false if there is none. A file system that knows no
// holes has one extent.
func (x *extents) next() (extent, bool, error) {
	if x.off >= x.size {
		return extent{}, false, nil
	}
	from, to, err := nextData(x.f, x.off, x.size)
	if err != nil {
		return extent{}, false, fmt.Errorf("look for holes: %w", bare(err))
	}
	// The file may have grown or shrunk since its size was taken.
	from, to = min(from, x.size), min(to, x.size)
	x.off = max(to, x.off)
	return extent{Off: from, Len: to - from}, from < to, nil
}

// regions are the parts of a file of that size that are to be read, in order: what
// is between them, or before and after them, is holes of shortest bytes and more.
func regions(f *os.File, size, shortest int64) iter.Seq2[extent, error] {
	return func(yield func(extent, error) bool) {
		extents := dataExtents(f, size)
		var region extent
		for more := true; more; {
			var next extent
			var err error
			if next, more, err = extents.next(); err != nil {
				yield(extent{}, err)
				return
			}
			if !more {
				next = extent{Off: size}
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
