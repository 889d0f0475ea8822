package storage

import (
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"math"
	"io/fs"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"

	"servidor-backup/schemas"
)

// Names in the store's directory.
const (
	lockName       = "LOCK"
	storeName      = "STORE"
	removedName    = "REMOVED"
	generationName = "GENERATION"
	scrubName      = "SCRUB"
	newSuffix      = ".new" // of a file that is being written to take another's place
	segmentsName   = "segments"
	indexName      = "index"
)

// syncDir makes the entries of a directory durable: files made in it are there
// after a power cut.
func syncDir(fsys vfs.FS, dir string) error {
	d, err := fsys.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// lockDir takes the store's lock. Its error is [ErrInUse] if somebody has it.
func lockDir(fsys vfs.FS, dir string) (io.Closer, error) {
	lock, err := fsys.Lock(fsys.PathJoin(dir, lockName))
	var file *fs.PathError
	switch {
	case err == nil:
		return lock, nil
	case errors.As(err, &file): // the file could not even be made
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return nil, fmt.Errorf("%s %w (%v)", dir, ErrInUse, err)
}

// openIdentity reads the STORE file, or makes it in a directory that is empty.
// With RebuildIndex a lost one is made anew from a segment's header.
func openIdentity(fsys vfs.FS, dir string, opt *Options) (fileHeader, error) {
	b, err := readFile(fsys, fsys.PathJoin(dir, storeName))
	if err == nil {
		h, err := decodeFileHeader(b, storeMagic)
		if errors.Is(err, errHeader) {
			err = fmt.Errorf("%w: %s: %w", ErrCorrupt, fsys.PathJoin(dir, storeName), err)
		}
		return h, err
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fileHeader{}, fmt.Errorf("read the store's identity: %w", err)
	}
	h, err := newIdentity(fsys, dir, opt)
	if err == nil {
		err = writeIdentity(fsys, dir, &h)
	}
	return h, err
}

// newIdentity is the identity of a new store, or that of the segments which are
// there. Its error is [ErrNotStore] if dir is something else.
func newIdentity(fsys vfs.FS, dir string, opt *Options) (h fileHeader, err error) {
	names, err := fsys.List(dir)
	if err != nil {
		return h, err
	}
	for _, name := range names {
		switch name {
		case lockName, storeName + newSuffix, removedName, removedName + newSuffix, generationName, generationName + newSuffix, scrubName, scrubName + newSuffix, segmentsName, indexName:
		default:
			return h, fmt.Errorf("%s %w: it holds %q and no %s file; give an empty or a new directory", dir, ErrNotStore, name, storeName)
		}
	}
	segments, err := listSegments(fsys, fsys.PathJoin(dir, segmentsName))
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return h, err
	case len(segments) > 0 && !opt.RebuildIndex:
		return h, fmt.Errorf("%s %w: it has segments but its %s file is gone; put it back, or open with RebuildIndex", dir, ErrNotStore, storeName)
	case len(segments) > 0:
		return identityOf(fsys, dir, segments)
	}
	h = fileHeader{magic: storeMagic, created: opt.Now()}
	var id [10]byte
	rand.Read(id[:])
	h.node = schemas.NodeID(strings.ToLower(base32.StdEncoding.EncodeToString(id[:])))
	rand.Read(h.salt[:])
	return h, nil
}

// identityOf finds the store's identity in the first segment whose header is
// sound.
func identityOf(fsys vfs.FS, dir string, segments []uint32) (fileHeader, error) {
	for _, n := range segments {
		b, err := readFile(fsys, fsys.PathJoin(dir, segmentsName, segmentName(n)))
		if err != nil {
			return fileHeader{}, err
		}
		if h, err := decodeFileHeader(b, segmentMagic); err == nil {
			h.magic, h.number = storeMagic, 0
			return h, nil
		}
	}
	return fileHeader{}, fmt.Errorf("%w: %s: the %s file is gone and no segment has a sound header", ErrCorrupt, dir, storeName)
}

// writeIdentity makes the STORE file, whole or not at all.
func writeIdentity(fsys vfs.FS, dir string, h *fileHeader) error {
	if err := replaceFile(fsys, dir, storeName, h.encode()); err != nil {
		return fmt.Errorf("write the store's identity: %w", err)
	}
	return nil
}

// readFile reads the first bytes of a file, as many as a file header has or
// fewer.
func readFile(fsys vfs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.NewSectionReader(f, 0, fileHeaderSize))
	return b, errors.Join(err, f.Close())
}

// checkSpace refuses a batch that would eat into what is kept free.
func (s *Store) checkSpace(need, keep int64) error {
	free, err := s.free()
	if err == nil && free < uint64(keep+need) {
		err = schemas.Errorf(schemas.DiskFull,
			"the disk of node %s is full: %d bytes are free, of which %d are kept for the index; make room or add a node",
			s.identity.node, free, keep)
	}
	return err
}

// checkRoomToOpen refuses to open where the index could not write what it writes then:
// Pebble would try again for ever, and not succeed when there is room either.
func (s *Store) checkRoomToOpen() error {
	free, err := s.free()
	if need := s.opt.ReserveBytes / 4; err == nil && free < uint64(need) {
		err = schemas.Errorf(schemas.DiskFull,
			"the disk of node %s is full: %d bytes are free, and its index needs %d to be opened; make room, and start it again",
			s.identity.node, free, need)
	}
	return err
}

// free is the free space of the disk in bytes, as much as can be if there is none to ask.
func (s *Store) free() (uint64, error) {
	usage, err := s.fs.GetDiskUsage(s.dir)
	if errors.Is(err, vfs.ErrUnsupported) {
		return math.MaxUint64, nil // memory has no disk
	}
	if err != nil {
		return 0, fmt.Errorf("ask for the free space of %s: %w", s.dir, err)
	}
	return usage.AvailBytes, nil
}
