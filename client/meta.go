package client

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"os/user"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/pkg/xattr"
)

// setStat sets what info tells of a file whose type is known: mode, owner,
// times, size, identity. It returns how many names the file has.
func (e *Entry) setStat(info os.FileInfo) uint64 {
	e.Mode = unixMode(info.Mode())
	e.Mtime = nanoseconds(info.ModTime())
	e.Size = 0
	if e.Type == TypeFile {
		e.Size = info.Size()
	}
	return e.setSys(info)
}

// entryType is the type of a file of that mode, or 0 if there is none.
func entryType(m os.FileMode) EntryType {
	switch m.Type() {
	case 0:
		return TypeFile
	case os.ModeDir:
		return TypeDir
	case os.ModeSymlink:
		return TypeSymlink
	case os.ModeNamedPipe:
		return TypeFifo
	case os.ModeDevice | os.ModeCharDevice:
		return TypeChar
	case os.ModeDevice:
		return TypeBlock
	case os.ModeSocket:
		return TypeSocket
	}
	return 0
}

// modeBits are the bits of [Entry.Mode] beyond permissions, and Go's for them.
var modeBits = [...]struct {
	unix uint32
	mode os.FileMode
}{{0o4000, os.ModeSetuid}, {0o2000, os.ModeSetgid}, {0o1000, os.ModeSticky}}

// unixMode is the layout of [Entry.Mode]; [goMode] is the way back.
func unixMode(m os.FileMode) uint32 {
	u := uint32(m.Perm())
	for _, b := range modeBits {
		if m&b.mode != 0 {
			u |= b.unix
		}
	}
	return u
}

func goMode(u uint32) os.FileMode {
	m := os.FileMode(u) & os.ModePerm
	for _, b := range modeBits {
		if u&b.unix != 0 {
			m |= b.mode
		}
	}
	return m
}

// nanoseconds is t since 1970. Times that an int64 cannot hold, before 1678 and
// after 2262, become the nearest it can.
func nanoseconds(t time.Time) int64 {
	const limit = math.MaxInt64 / int64(time.Second)
	switch sec := t.Unix(); {
	case sec >= limit:
		return math.MaxInt64
	case sec <= -limit:
		return math.MinInt64
	}
	return t.UnixNano()
}

// readXattrs reads the extended attributes of the file at path, which is not
// followed if it is a symbolic link: ascending by name, all that this process
// may read. A file system without them has none. With an error come those that
// could be read.
func readXattrs(path string) ([]Xattr, error) {
	names, err := xattr.LList(path)
	return xattrValues(names, err, func(name string) ([]byte, error) { return xattr.LGet(path, name) })
}

// fileXattrs is readXattrs of an open file.
func fileXattrs(f *os.File) ([]Xattr, error) {
	if hasNoXattrs(f) {
		return nil, nil
	}
	names, err := xattr.FList(f)
	return xattrValues(names, err, func(name string) ([]byte, error) { return xattr.FGet(f, name) })
}

// xattrValues adds to the names that a file's attributes have, or to why they
// could not be listed, their values.
func xattrValues(names []string, err error, get func(name string) ([]byte, error)) ([]Xattr, error) {
	if err != nil {
		return nil, xattrError("list extended attributes", err)
	}
	slices.Sort(names)
	var attrs []Xattr
	var failed error
	for _, name := range names {
		value, err := get(name)
		if errors.Is(err, xattr.ENOATTR) {
			continue // removed since it was listed
		}
		if err != nil {
			failed = errors.Join(failed, xattrError("read extended attribute "+strconv.Quote(name), err))
			continue
		}
		// The value came in a buffer that may be many times its size.
		attrs = append(attrs, Xattr{Name: name, Value: bytes.Clone(value)})
	}
	return attrs, failed
}

// xattrError says what failed; nil where the file system just has no such
// attributes.
func xattrError(what string, err error) error {
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return fmt.Errorf("%s: %w", what, xattrCause(err))
}

// xattrCause takes the path and the call off an error of package xattr, as
// [bare] does for those of package os.
func xattrCause(err error) error {
	if e, ok := err.(*xattr.Error); ok {
		return e.Err
	}
	return err
}

// changed reports whether a file was written to, replaced or given other
// metadata between two looks at it.
func changed(before, after os.FileInfo) bool {
	var b, a Entry
	b.Type, a.Type = entryType(before.Mode()), entryType(after.Mode())
	b.setStat(before)
	a.setStat(after)
	return !os.SameFile(before, after) ||
		b.Type != a.Type || b.Size != a.Size || b.Mtime != a.Mtime || b.Ctime != a.Ctime
}

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

// ownerNames knows the names of numeric owners, "" where there is none;
// [ownerIDs] is the way back. Every owner is looked up once.
type ownerNames struct {
	user, group cache[uint32, string]
}

func newOwnerNames() *ownerNames {
	return &ownerNames{
		user: cache[uint32, string]{find: func(id uint32) string {
			if u, err := user.LookupId(strconv.FormatUint(uint64(id), 10)); err == nil {
				return u.Username
			}
			return ""
		}},
		group: cache[uint32, string]{find: func(id uint32) string {
			if g, err := user.LookupGroupId(strconv.FormatUint(uint64(id), 10)); err == nil {
				return g.Name
			}
			return ""
		}},
	}
}

// ownerIDs knows the numbers of owners by name; -1 where there is none.
type ownerIDs struct {
	user, group cache[string, int]
}

func newOwnerIDs() *ownerIDs {
	return &ownerIDs{
		user: cache[string, int]{find: func(name string) int {
			if u, err := user.Lookup(name); err == nil {
				return parseID(u.Uid)
			}
			return -1
		}},
		group: cache[string, int]{find: func(name string) int {
			if g, err := user.LookupGroup(name); err == nil {
				return parseID(g.Gid)
			}
			return -1
		}},
	}
}

// parseID reads a numeric owner; Windows has others, which are none here.
func parseID(s string) int {
	if id, err := strconv.ParseUint(s, 10, 32); err == nil {
		return int(id)
	}
	return -1
}

// cache remembers what find found. It may be used concurrently.
type cache[K comparable, V any] struct {
	find func(K) V
	mu   sync.Mutex
	m    map[K]V
}

func (c *cache[K, V]) get(k K) V {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok := c.m[k]
	if !ok {
		if c.m == nil {
			c.m = make(map[K]V)
		}
		v = c.find(k)
		c.m[k] = v
	}
	return v
}
