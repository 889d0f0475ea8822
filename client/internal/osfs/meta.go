package osfs

import (
	"math"
	"os"
	"time"
)

// Meta is what lstat tells of a file. Fields that do not apply to the file's type or to the
// system are zero.
type Meta struct {
	Mode         uint32 // type and permissions, as in st_mode of Unix
	UID, GID     uint32
	Mtime, Ctime int64 // nanoseconds since 1970
	Size         int64 // of a regular file, in bytes
	Dev, Ino     uint64
	Rdev         uint64 // the number of a device
	Nlink        uint64 // the number of names that the file has
}

// Inode identifies a file as long as it exists.
type Inode struct{ Dev, Ino uint64 }

// MetaOf returns what info tells.
func MetaOf(info os.FileInfo) Meta {
	m := Meta{Mode: unixType(info.Mode()) | unixMode(info.Mode()), Mtime: nanoseconds(info.ModTime()), Nlink: 1}
	if info.Mode().IsRegular() {
		m.Size = info.Size()
	}
	m.setSys(info)
	return m
}

// unixType returns the type bits that Unix has for a file of that mode, or 0 if there are
// none.
func unixType(m os.FileMode) uint32 {
	switch m.Type() {
	case 0:
		return 0o100000
	case os.ModeDir:
		return 0o040000
	case os.ModeSymlink:
		return 0o120000
	case os.ModeNamedPipe:
		return 0o010000
	case os.ModeDevice | os.ModeCharDevice:
		return 0o020000
	case os.ModeDevice:
		return 0o060000
	case os.ModeSocket:
		return 0o140000
	}
	return 0
}

// modeBits maps the bits of a Unix mode above the permissions to those of Go.
var modeBits = [...]struct {
	unix uint32
	mode os.FileMode
}{{0o4000, os.ModeSetuid}, {0o2000, os.ModeSetgid}, {0o1000, os.ModeSticky}}

// unixMode returns the twelve bits of chmod in the Unix layout. [goMode] is the inverse.
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

// nanoseconds returns t in nanoseconds since 1970. Times that an int64 cannot hold, before
// 1678 and after 2262, become the nearest one that it can.
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
