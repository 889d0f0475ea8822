package storage

import (
	"container/list"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const segmentSuffix = ".seg"

func segmentName(n uint32) string { return fmt.Sprintf("%08d%s", n, segmentSuffix) }

// segmentPath is the path of a segment, segmentPlace the one for messages.
func (s *Store) segmentPath(n uint32) string {
	return s.fs.PathJoin(s.dir, segmentsName, segmentName(n))
}

func segmentPlace(n uint32) string { return segmentsName + "/" + segmentName(n) }

// listSegments gives the numbers of the segments in dir, ascending.
func listSegments(fsys vfs.FS, dir string) ([]uint32, error) {
	names, err := fsys.List(dir)
	if err != nil {
		return nil, fmt.Errorf("list the segments: %w", err)
	}
	var numbers []uint32
	for _, name := range names {
		digits, ok := strings.CutSuffix(name, segmentSuffix)
		n, err := strconv.ParseUint(digits, 10, 32)
		if ok && err == nil && name == segmentName(uint32(n)) {
			numbers = append(numbers, uint32(n))
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

func missing(n uint32) error {
	return fmt.Errorf("%w: %s is not there; put it back (or %s, if that is gone too), or remove the whole store and let the other nodes heal it", ErrMissing, segmentPlace(n), removedName)
}

// createSegment makes a segment, or makes anew the header of one whose making
// was cut short. When it returns, the file is there after a power cut. size is
// the file's length, which is more than the header if leftovers follow.
func (s *Store) createSegment(n uint32) (f vfs.File, size int64, err error) {
	if s.wasRemoved(n) {
		return nil, 0, fmt.Errorf("make %s: %s names it", segmentPlace(n), removedName)
	}
	f, err = s.fs.OpenReadWrite(s.segmentPath(n), vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, 0, fmt.Errorf("make %s: %w", segmentPlace(n), err)
	}
	h := s.identity
	h.magic, h.number, h.created = segmentMagic, n, s.opt.Now()
	_, err = f.WriteAt(h.encode(), 0)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = syncDir(s.fs, s.fs.PathJoin(s.dir, segmentsName))
	}
	if err == nil {
		size, err = fileSize(f)
	}
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("make %s: %w", segmentPlace(n), err), f.Close())
	}
	return f, size, nil
}

// checkSegmentHeader reads a segment's file header. Its error wraps errHeader or
// [ErrNewer], or is the disk's.
func (s *Store) checkSegmentHeader(f segmentFile, n uint32) error {
	b := make([]byte, fileHeaderSize)
	if size, err := fileSize(f); err != nil || size < fileHeaderSize {
		return errors.Join(err, errHeader)
	}
	if err := readFull(f, b, 0); err != nil {
		return err
	}
	h, err := decodeFileHeader(b, segmentMagic)
	if err != nil {
		return err
	}
	if h.number != n || h.node != s.identity.node || h.salt != s.identity.salt {
		return fmt.Errorf("%w: it is segment %d of node %s", errHeader, h.number, h.node)
	}
	return nil
}

// segmentFile is what is read of a segment's file.
type segmentFile interface {
	io.ReaderAt
	Stat() (vfs.FileInfo, error)
}

func fileSize(f segmentFile) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// maxOpenSegments bounds the files that reads keep open. A node of 16 TB has
// 64,000 segments; the usual limit of a process is 1,024 files.
const maxOpenSegments = 128

// fileCache keeps segments open for reading, the last used ones. It is safe for
// concurrent use.
type fileCache struct {
	open func(n uint32) (vfs.File, error)

	mu    sync.Mutex
	files map[uint32]*cachedFile
	idle  list.List // of *cachedFile that nobody reads, the longest unused first
}

type cachedFile struct {
	vfs.File
	number  uint32
	readers int
	idle    *list.Element // its place in idle, nil while read
}

// acquire gives the segment's file; release must be called after reading.
func (c *fileCache) acquire(n uint32) (*cachedFile, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.files[n]
	if f == nil {
		file, err := c.open(n)
		if err != nil {
			return nil, err
		}
		f = &cachedFile{File: file, number: n}
		c.files[n] = f
	}
	if f.idle != nil {
		c.idle.Remove(f.idle)
		f.idle = nil
	}
	f.readers++
	return f, nil
}

// release gives the file back and closes what is too much.
func (c *fileCache) release(f *cachedFile) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.readers--; f.readers == 0 {
		f.idle = c.idle.PushBack(f)
	}
	if len(c.files) <= maxOpenSegments || c.idle.Len() == 0 {
		return nil
	}
	return c.drop(c.idle.Front())
}

// forget closes the file of a segment that nobody is reading.
func (c *fileCache) forget(n uint32) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.files[n]
	if f == nil {
		return nil
	}
	return c.drop(f.idle)
}

func (c *fileCache) drop(e *list.Element) error {
	f := c.idle.Remove(e).(*cachedFile)
	delete(c.files, f.number)
	return f.Close()
}

// close closes all files. Nobody may be reading.
func (c *fileCache) close() (err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for e := c.idle.Front(); e != nil; e = c.idle.Front() {
		err = errors.Join(err, c.drop(e))
	}
	return err
}

// openSegment opens a segment for reading. Its error is [ErrMissing] if the
// file is gone.
func (s *Store) openSegment(n uint32, access vfs.OpenOption) (vfs.File, error) {
	f, err := s.fs.Open(s.segmentPath(n), access)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, missing(n)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", segmentPlace(n), err)
	}
	return f, nil
}
