package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/zeebo/blake3"
)

// A segment that was emptied and removed leaves its number behind in the file
// REMOVED, so that one which is lost is still noticed.

// removed are the numbers of removed segments, as ranges in order that do not
// touch.
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

// with is r and n.
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

// count is how many numbers there are.
func (r removed) count() (n int64) {
	for _, x := range r {
		n += int64(x.last) - int64(x.first) + 1
	}
	return n
}

// encode gives the bytes of REMOVED: a file header whose number is how many
// ranges follow, the ranges, and the BLAKE3-256 of all that.
func (r removed) encode(identity fileHeader) []byte {
	identity.magic, identity.number = removedMagic, uint32(len(r))
	b := identity.encode()
	for _, x := range r {
		b = binary.LittleEndian.AppendUint32(b, x.first)
		b = binary.LittleEndian.AppendUint32(b, x.last)
	}
	sum := blake3.Sum256(b)
	return append(b, sum[:]...)
}

// decodeRemoved reads what encode wrote. Its error wraps errHeader or [ErrNewer].
func decodeRemoved(b []byte, identity fileHeader) (r removed, err error) {
	h, err := decodeFileHeader(b, removedMagic)
	if err != nil {
		return nil, err
	}
	end := fileHeaderSize + 8*int64(h.number)
	if h.node != identity.node || h.salt != identity.salt || int64(len(b)) != end+32 || blake3.Sum256(b[:end]) != [32]byte(b[end:]) {
		return nil, errHeader
	}
	last := uint32(0)
	for b := b[fileHeaderSize:end]; len(b) > 0; b = b[8:] {
		x := numberRange{binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])}
		if x.first <= last || x.last < x.first {
			return nil, errHeader
		}
		r, last = append(r, x), x.last
	}
	return r, nil
}

// openRemoved reads REMOVED, if there is one.
func (s *Store) openRemoved() (removed, error) {
	f, err := s.fs.Open(s.fs.PathJoin(s.dir, removedName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	size, err := fileSize(f)
	var b []byte
	if err == nil {
		b, err = io.ReadAll(io.NewSectionReader(f, 0, size))
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("read %s: %w", removedName, err)
	}
	r, err := decodeRemoved(b, s.identity)
	if errors.Is(err, errHeader) {
		err = fmt.Errorf("%w: %s, which tells removed segments from lost ones: %w; open with RebuildIndex to go on with the segments that are there", ErrCorrupt, removedName, err)
	}
	return r, err
}

// present gives the numbers of the segments, ascending, and finishes the removal
// of those that a crash kept. Its error is [ErrMissing] if one is not there and
// was not removed.
func (s *Store) present() ([]uint32, error) {
	dir := s.fs.PathJoin(s.dir, segmentsName)
	all, err := listSegments(s.fs, dir)
	if err != nil {
		return nil, err
	}
	gone, err := s.openRemoved()
	switch {
	case errors.Is(err, errHeader) && s.opt.RebuildIndex:
		gone = between(all)
		err = s.writeRemoved(gone)
	case err == nil:
		err = s.finishRemoval(all, gone)
	}
	if err != nil {
		return nil, err
	}
	s.removed = gone
	all = slices.DeleteFunc(all, gone.has)
	want := uint32(1)
	for _, n := range all {
		for ; gone.has(want); want++ {
		}
		if n != want {
			return nil, missing(want)
		}
		want++
	}
	// A segment is removed long after its successor was made, so the last one is
	// never among them; and a number that was used is not used again.
	if len(gone) > 0 && gone[len(gone)-1].last >= want {
		return nil, missing(gone[len(gone)-1].last + 1)
	}
	return all, nil
}

// between are the numbers that are not among all but below the last.
func between(all []uint32) (r removed) {
	next := uint32(1)
	for _, n := range all {
		if next < n {
			r = append(r, numberRange{next, n - 1})
		}
		next = n + 1
	}
	return r
}

func (s *Store) finishRemoval(all []uint32, gone removed) error {
	for _, n := range all {
		if !gone.has(n) {
			continue
		}
		if err := s.fs.Remove(s.segmentPath(n)); err != nil {
			return fmt.Errorf("remove %s: %w", segmentPlace(n), err)
		}
	}
	return nil
}

// writeRemoved makes the REMOVED file, whole or not at all. The numbers in it may
// not be used again.
func (s *Store) writeRemoved(r removed) error {
	if err := replaceFile(s.fs, s.dir, removedName, r.encode(s.identity)); err != nil {
		return fmt.Errorf("write %s: %w", removedName, err)
	}
	return nil
}

// replaceFile puts a small file into dir, whole or not at all.
func replaceFile(fsys vfs.FS, dir, name string, b []byte) error {
	temp := fsys.PathJoin(dir, name+newSuffix)
	f, err := fsys.Create(temp, vfs.WriteCategoryUnspecified)
	if err == nil {
		_, err = f.Write(b)
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if err == nil {
		err = fsys.Rename(temp, fsys.PathJoin(dir, name))
	}
	if err == nil {
		err = syncDir(fsys, dir)
	}
	return err
}
