package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"servidor-backup/storage/internal/index"
	"servidor-backup/storage/internal/segment"
)

// A segment that cannot be used costs what was in it, and nothing else. Its parts count as
// damaged from then on, so that a put, or healing, brings them back. The index remembers the
// segment: its number is not used again, compaction leaves its file alone, and if the file can
// be used again when the store is opened, what is in it is indexed again.

// LostSegment is a segment of which the store cannot use anything, or not all.
type LostSegment struct {
	Segment string // as a path in the store's directory
	// Why is [fs.ErrNotExist], [ErrTooShort], or wraps an error of the disk or of the file's
	// header.
	Why error
}

// ErrTooShort is why a segment is lost whose file ends before what the index has in it.
var ErrTooShort = errors.New("the file is too short")

// settleLosses notes that lost segments do not matter any more, if no part is damaged.
func (w *writer) settleLosses() error {
	if w.index.State().Corrupt > 0 {
		return nil
	}
	for n, state := range w.index.Lost() {
		if err := w.index.SetLost(n, state|index.LostSettled); err != nil {
			return err
		}
	}
	return nil
}

// isPassing reports whether an error says nothing about the file: the process has too few
// resources for the moment.
func isPassing(err error) bool {
	return slices.ContainsFunc(passing, func(e error) bool { return errors.Is(err, e) })
}

// found are the segments that recovery found.
type found struct {
	usable []uint32 // ascending
	top    uint32   // the largest number that was ever used; 0 if there is none
	// lost says why other segments, which were not removed, cannot be used.
	lost map[uint32]error
	// cut are the sizes of segments that end before the records that the index has in them.
	cut map[uint32]int64
}

// examine looks at the files of all segments that must be there; present are the numbers of
// those that are, ascending. It opens none of them: a large store has tens of thousands.
func (r *recovery) examine(present []uint32) (*found, error) {
	f := &found{lost: map[uint32]error{}, cut: map[uint32]int64{}}
	position := r.index.State().Position
	f.top = max(position.Segment, r.segments.afterRemoved())
	if n := len(present); n > 0 {
		f.top = max(f.top, present[n-1])
	}
	for n := uint32(1); n <= f.top; n++ {
		if r.segments.wasRemoved(n) {
			continue
		}
		if len(present) == 0 || present[0] != n {
			f.lost[n] = fs.ErrNotExist
			continue
		}
		present = present[1:]
		info, err := r.segments.dir.fs.Stat(r.segments.path(n))
		switch live := r.index.Usage(n).Live; {
		case isPassing(err):
			return nil, fmt.Errorf("examine %s: %w", segmentLabel(n), err)
		case errors.Is(err, fs.ErrNotExist):
			f.lost[n] = fs.ErrNotExist
		case err != nil:
			f.lost[n] = err
		case info.Size() <= segment.FileHeaderSize && (live > 0 || n < f.top):
			f.lost[n] = ErrTooShort
		default:
			f.usable = append(f.usable, n)
			if live > 0 && info.Size() < segment.FileHeaderSize+live {
				f.cut[n] = info.Size()
			}
		}
	}
	return f, nil
}

// lose makes the parts whose records are gone count as damaged, and makes the index remember
// the lost segments. A crash in between does no harm: the next start finds the same.
func (r *recovery) lose(f *found) error {
	gone := func(e *index.Entry) bool {
		if _, lost := f.lost[e.Segment]; lost {
			return true
		}
		end, cut := f.cut[e.Segment]
		return cut && e.Offset+e.Size() > end
	}
	if err := r.detach(f, gone); err != nil {
		return err
	}
	for n := range f.lost {
		if state := r.index.LostState(n); state == 0 || state&index.LostPart != 0 {
			if err := errors.Join(r.index.DropSegment(n), r.index.SetLost(n, index.LostWhole)); err != nil {
				return err
			}
		}
	}
	for n, why := range f.lost {
		r.lost[n] = why
	}
	for n := range f.cut {
		r.lost[n] = ErrTooShort
	}
	return nil
}

// detach makes the parts damaged whose entries gone selects. It reads the whole index, unless
// no entry points into the segments of f.
func (r *recovery) detach(f *found, gone func(*index.Entry) bool) error {
	live := len(f.cut) > 0
	for n := range f.lost {
		live = live || r.index.Usage(n).Live != 0
	}
	if !live {
		return nil
	}
	keys := map[uint32][]index.Key{}
	flush := func(n uint32) error {
		defer func() { keys[n] = keys[n][:0] }()
		return r.index.Detach(keys[n], n)
	}
	err := r.index.Each(func(k index.Key, e index.Entry) error {
		if e.Segment == 0 || !gone(&e) {
			return nil
		}
		if keys[e.Segment] = append(keys[e.Segment], k); len(keys[e.Segment]) < sweepBatch {
			return nil
		}
		return flush(e.Segment)
	})
	for n := range keys {
		err = errors.Join(err, flush(n))
	}
	return err
}

// loseOne is lose for one segment, which turned out to be unreadable.
func (r *recovery) loseOne(n uint32, why error) error {
	return r.lose(&found{lost: map[uint32]error{n: why}})
}

// regain indexes lost segments whose files can be used again. Parts that are held elsewhere by
// now are then held here; both records are sound.
func (r *recovery) regain(f *found) error {
	for n, state := range r.index.Lost() {
		if _, lost := f.lost[n]; lost || state&index.LostWhole == 0 || n >= r.index.State().Position.Segment {
			continue
		}
		err := r.indexAgain(n)
		switch {
		case isPassing(err):
			return err
		case err != nil:
			r.lost[n] = err
		}
	}
	return nil
}

// indexAgain indexes a segment that was lost. Its file header must be sound: most of a file
// without one is not worth the time at each start.
func (r *recovery) indexAgain(n uint32) error {
	from := segment.Location{Segment: n, Offset: segment.FileHeaderSize}
	t, err := r.readFinished(from)
	if err == nil {
		err = t.header
	}
	if err != nil {
		return err
	}
	if err := r.enter(t.records, r.index.State().Position, 0); err != nil {
		return err
	}
	return r.index.SetLost(n, t.state())
}
