package index

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Failures are called, from other goroutines, when Pebble fails in the background.
type Failures struct {
	Transient func(error) // Pebble tries again
	Fatal     func(error) // Pebble writes nothing any more
}

// retryPause slows down Pebble's retries in the background, which otherwise follow
// each other at once and forever.
const retryPause = 50 * time.Millisecond

// Open opens the index in dir and makes it if there is none. memory is what the
// index may use, in bytes: five sixths of it to cache blocks, one sixth for each
// table that is not written out yet.
//
// Open removes an index of another version, or one that is damaged, as a power cut
// can leave it, and makes an empty one, because recovery can fill it; fresh is then
// true.
func Open(fsys vfs.FS, dir string, memory int64, failures Failures) (x *Index, fresh bool, err error) {
	x, err = tryOpen(fsys, dir, memory, failures)
	if isUnusable(err) {
		if err := fsys.RemoveAll(dir); err != nil {
			return nil, false, fmt.Errorf("remove the damaged index in %s: %w", dir, err)
		}
		fresh = true
		x, err = tryOpen(fsys, dir, memory, failures)
	}
	if err != nil {
		return nil, false, fmt.Errorf("open the index in %s: %w", dir, err)
	}
	return x, fresh, nil
}

// isUnusable reports whether the error means that the index must be rebuilt.
func isUnusable(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, errValue) ||
		pebble.IsCorruptionError(err) || isOtherOrder(err)
}

// isOtherOrder reports whether Pebble refuses a directory because its keys have
// another order, as those of older versions of the index have. Pebble exports no
// error value for it, so the text must do.
func isOtherOrder(err error) bool {
	return err != nil && strings.Contains(err.Error(), "comparer name from file")
}

func tryOpen(fsys vfs.FS, dir string, memory int64, failures Failures) (*Index, error) {
	stuck, transient := make(chan error, 1), failures.Transient
	failures.Transient = func(err error) {
		transient(err)
		select {
		case stuck <- err:
		default:
		}
		time.Sleep(retryPause)
	}
	db, err := pebble.Open(dir, options(fsys, memory, failures))
	if err != nil {
		return nil, err
	}
	x := &Index{
		db: db, stuck: stuck, known: map[Key]known{},
		segments: map[uint32]Usage{}, lost: map[uint32]Lost{}, flipped: map[Key]Entry{},
	}
	if err := x.load(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return x, nil
}

// load reads the state and the segments' usage, which are kept in memory.
func (x *Index) load() error {
	value, closer, err := x.db.Get([]byte{keyPosition})
	if errors.Is(err, pebble.ErrNotFound) {
		return nil
	}
	if err == nil {
		x.state, err = decodeState(value)
		err = errors.Join(err, closer.Close())
	}
	if err != nil {
		return err
	}
	if err := x.loadLost(); err != nil {
		return err
	}
	return x.between([]byte{keySegment}, []byte{keySegment + 1}, func(key, value []byte) error {
		u, err := decodeUsage(value)
		if err != nil || len(key) != 1+4 {
			return errValue
		}
		x.segments[binary.BigEndian.Uint32(key[1:])] = u
		return nil
	})
}

func options(fsys vfs.FS, memory int64, failures Failures) *pebble.Options {
	o := &pebble.Options{
		FS:       fsys,
		Comparer: keyOrder,
		// The segments are the log; see the package comment.
		DisableWAL: true,
		// Fixed, so that a new version of Pebble does not by itself make a
		// directory that an older version of the program cannot open.
		FormatMajorVersion: pebble.FormatColumnarBlocks,
		// Pebble takes the memtables, usually two, out of the cache. The rest must
		// hold the filters, because they answer most lookups: they take 1.25 bytes
		// for each chunk, as they cover keys without the part. The other blocks
		// gain little here, since the page cache holds more of them.
		CacheSize:    memory / 6 * 5,
		MemTableSize: uint64(memory / 6),
		// A flush that waits for a slow disk must not stop the writer at once.
		MemTableStopWritesThreshold: 4,
		MaxOpenFiles:                256,
		Logger:                      logger{failures.Fatal},
		EventListener:               &pebble.EventListener{BackgroundError: failures.Transient},
	}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		// Keys are random and values are locations: compression gains nothing.
		o.Levels[i].Compression = func() *sstable.CompressionProfile { return sstable.NoCompression }
	}
	return o
}

// keyOrder is the order of bytes. The filters cover the part of a key before the
// part number, so that one search finds all parts of a chunk.
var keyOrder = func() *pebble.Comparer {
	c := *pebble.DefaultComparer
	c.Name = "servidor-backup.parts"
	c.Split = func(key []byte) int { return min(len(key), chunkPrefix) }
	c.ImmediateSuccessor = nextPrefix
	return &c
}()

// nextPrefix appends to dst the prefix that follows the prefix a immediately.
func nextPrefix(dst, a []byte) []byte {
	if len(a) < chunkPrefix {
		return append(append(dst, a...), 0)
	}
	a = bytes.TrimRight(a, "\xff") // something is left: the first byte is a letter
	dst = append(dst, a...)
	dst[len(dst)-1]++
	return dst
}

// logger drops Pebble's messages, all of which are also returned or reported, and
// keeps the process alive: an error that Pebble calls fatal only stops puts.
type logger struct{ fatal func(error) }

func (logger) Infof(string, ...any)  {}
func (logger) Errorf(string, ...any) {}
func (l logger) Fatalf(format string, args ...any) {
	l.fatal(fmt.Errorf("the index: "+format, args...))
}
