package storage

import (
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"servidor-backup/schemas"
	"servidor-backup/storage/internal/segment"
)

// Names in the store's directory.
const (
	lockName       = "LOCK"
	storeName      = "STORE"
	removedName    = "REMOVED"
	generationName = "GENERATION"
	scrubName      = "SCRUB"
	runsName       = "RUNS"
	segmentsName   = "segments"
	indexName      = "index"

	newSuffix = ".new" // of a file that is written in order to replace another
)

// ownNames are the names that a store without a STORE file may have.
var ownNames = []string{
	lockName, segmentsName, indexName, storeName + newSuffix,
	removedName, removedName + newSuffix, generationName, generationName + newSuffix, scrubName, scrubName + newSuffix,
	runsName, runsName + newSuffix,
}

// directory is a store's directory: its identity, its small files and its space.
type directory struct {
	fs       vfs.FS
	path     string
	identity segment.FileHeader
}

// join returns the path of something in the directory.
func (d *directory) join(names ...string) string {
	return d.fs.PathJoin(append([]string{d.path}, names...)...)
}

// sync makes the entries of a directory durable: files made in it exist after a
// power cut.
func (d *directory) sync(path string) error {
	f, err := d.fs.OpenDir(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// lock takes the store's lock. Its error is [ErrInUse] if another process, or
// another Store, has it.
func (d *directory) lock() (io.Closer, error) {
	lock, err := d.fs.Lock(d.join(lockName))
	var file *fs.PathError
	switch {
	case err == nil:
		return lock, nil
	case errors.As(err, &file): // the file could not even be made
		return nil, fmt.Errorf("lock %s: %w", d.path, err)
	}
	return nil, schemas.Explain("", "folder-in-use", "{path} is in use by another process", "path", d.path).WithKind(ErrInUse)
}

// openIdentity reads the STORE file, or makes it in an empty directory. With
// RebuildIndex it rebuilds a missing one from a segment's header.
func (d *directory) openIdentity(opt *Options) error {
	b, err := d.readHead(segment.FileHeaderSize, storeName)
	if err == nil {
		d.identity, err = segment.DecodeFileHeader(b, segment.StoreMagic)
		if errors.Is(err, segment.ErrHeader) {
			err = fmt.Errorf("%w: %s: %w", ErrCorrupt, d.join(storeName), err)
		}
		return err
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the store's identity: %w", err)
	}
	if d.identity, err = d.newIdentity(opt); err != nil {
		return err
	}
	if opt.ReadOnly {
		return fmt.Errorf("%s %w", d.path, ErrNotStore)
	}
	if err := d.replace(storeName, d.identity.Encode()); err != nil {
		return fmt.Errorf("write the store's identity: %w", err)
	}
	return nil
}

// newIdentity returns the identity of a new store, or that of the segments in the
// directory. Its error is [ErrNotStore] if the directory holds something else.
func (d *directory) newIdentity(opt *Options) (h segment.FileHeader, err error) {
	names, err := d.fs.List(d.path)
	if err != nil {
		return h, err
	}
	for _, name := range names {
		if name != schemas.StoreMarker && !slices.Contains(ownNames, name) {
			return h, fmt.Errorf("%s %w: it holds %q and no %s file; give an empty or a new directory", d.path, ErrNotStore, name, storeName)
		}
	}
	segments, err := segment.List(d.fs, d.join(segmentsName))
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return h, err
	case len(segments) > 0 && !opt.RebuildIndex:
		return h, fmt.Errorf("%s %w: it has segments but its %s file is missing; put it back, or open with RebuildIndex", d.path, ErrNotStore, storeName)
	case len(segments) > 0:
		return d.identityFrom(segments)
	}
	h = segment.FileHeader{Magic: segment.StoreMagic, Created: opt.Now()}
	var id [10]byte
	rand.Read(id[:])
	h.Node = schemas.NodeID(strings.ToLower(base32.StdEncoding.EncodeToString(id[:])))
	rand.Read(h.Salt[:])
	return h, nil
}

// identityFrom returns the store's identity from the first segment whose header is
// sound.
func (d *directory) identityFrom(segments []uint32) (segment.FileHeader, error) {
	for _, n := range segments {
		b, err := d.readHead(segment.FileHeaderSize, segmentsName, segment.FileName(n))
		if err != nil {
			return segment.FileHeader{}, err
		}
		if h, err := segment.DecodeFileHeader(b, segment.SegmentMagic); err == nil {
			h.Magic, h.Number = segment.StoreMagic, 0
			return h, nil
		}
	}
	return segment.FileHeader{}, fmt.Errorf("%w: %s: the %s file is missing and no segment has a sound header", ErrCorrupt, d.path, storeName)
}

// readHead reads the first bytes of a file, at most size of them.
func (d *directory) readHead(size int64, names ...string) ([]byte, error) {
	f, err := d.fs.Open(d.join(names...))
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.NewSectionReader(f, 0, size))
	return b, errors.Join(err, f.Close())
}

// readHeader reads a file that consists of a file header. Its error wraps
// [segment.ErrHeader] if the header is damaged or another store's, and
// [fs.ErrNotExist] if there is no such file.
func (d *directory) readHeader(name, magic string) (segment.FileHeader, error) {
	b, err := d.readHead(segment.FileHeaderSize, name)
	if err != nil {
		return segment.FileHeader{}, err
	}
	h, err := segment.DecodeFileHeader(b, magic)
	if err == nil && h.Salt != d.identity.Salt {
		err = segment.ErrHeader
	}
	return h, err
}

// readRuns reads RUNS; it knows no runs if the file is missing or damaged.
func (d *directory) readRuns() (ids []uint64, err error) {
	b, err := d.readHead(segment.RunsSize, runsName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return segment.DecodeRuns(b, d.identity), err
}

// writeHeader writes a file that consists of a file header, whole or not at all.
func (d *directory) writeHeader(name, magic string, number uint32, created time.Time) error {
	h := d.identity
	h.Magic, h.Number, h.Created = magic, number, created
	if err := d.replace(name, h.Encode()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// replace writes a small file, whole or not at all. When it returns, the file is on
// stable storage.
func (d *directory) replace(name string, b []byte) error {
	temp := d.join(name + newSuffix)
	f, err := d.fs.Create(temp, vfs.WriteCategoryUnspecified)
	if err == nil {
		_, err = f.Write(b)
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if err == nil {
		err = d.fs.Rename(temp, d.join(name))
	}
	if err == nil {
		err = d.sync(d.path)
	}
	return err
}

// checkSpace refuses a batch of need bytes that would leave less than reserve bytes
// of the disk free.
func (d *directory) checkSpace(need, reserve int64) error {
	free, err := d.free()
	if err == nil && free < uint64(reserve+need) {
		err = schemas.Explain(schemas.DiskFull, "disk-full",
			"the disk of node {node} is full: {free-bytes} bytes are free, of which {reserved-bytes} are reserved for the index; make room or add a node",
			"node", d.identity.Node, "free-bytes", free, "reserved-bytes", reserve)
	}
	return err
}

// checkSpaceToOpen refuses to open a store where the index could not write what it
// writes when it is opened: Pebble would retry forever, and would not succeed even
// when there is space again.
func (d *directory) checkSpaceToOpen(reserve int64) error {
	free, err := d.free()
	if need := min(reserve/4, 16<<20); err == nil && free < uint64(need) {
		err = schemas.Explain(schemas.DiskFull, "disk-full-to-open",
			"the disk of node {node} is full: {free-bytes} bytes are free, and its index needs {needed-bytes} to be opened; make room, and start it again",
			"node", d.identity.Node, "free-bytes", free, "needed-bytes", need)
	}
	return err
}

// free returns the free space of the disk in bytes. A file system in memory has no
// limit.
func (d *directory) free() (uint64, error) {
	usage, err := d.fs.GetDiskUsage(d.path)
	if errors.Is(err, vfs.ErrUnsupported) {
		return math.MaxUint64, nil
	}
	if err != nil {
		return 0, fmt.Errorf("ask for the free space of %s: %w", d.path, err)
	}
	return usage.AvailBytes, nil
}
