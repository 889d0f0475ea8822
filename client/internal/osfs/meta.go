package osfs

import (
	"math"
	"os"
	"time"
)

// Meta is what looking at a file tells. Fields that do not apply to the file's type or
// to the system are zero.
type Meta struct {
	Mode         uint32 // type and permissions, as Unix has them in st_mode
	UID, GID     uint32
	Mtime, Ctime int64 // nanoseconds since 1970
	Size         int64 // of a regular file, in bytes
	Dev, Ino     uint64
	Rdev         uint64 // the number of a device
	Nlink        uint64 // how many names the file has
}

// Inode identifies a file as long as it exists.
type Inode struct{ Dev, Ino uint64 }

// MetaOf is what info tells.
func MetaOf(info os.FileInfo) Meta {
	m := Meta{Mode: UnixType(info.Mode()) | UnixMode(info.Mode()), Mtime: nanoseconds(info.ModTime()), Nlink: 1}
	if info.Mode().IsRegular() {
		m.Size = info.Size()
	}
	m.setSys(info)
	return m
}

// UnixType is the type of a file of that mode as Unix has it, or 0 if Unix has none.
func UnixType(m os.FileMode) uint32 {
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

// modeBits are the bits of a mode beyond permissions, and Go's for them.
var modeBits = [...]struct {
	unix uint32
	mode os.FileMode
}{{0o4000, os.ModeSetuid}, {0o2000, os.ModeSetgid}, {0o1000, os.ModeSticky}}

// UnixMode is the Unix layout of the twelve bits of chmod; [goMode] is the way back.
func UnixMode(m os.FileMode) uint32 {
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

// freshTime is how old a change must be, when a file is opened, for its times
// to show any later change: clocks of file systems tick some milliseconds
// apart.
const freshTime = 20 * time.Millisecond

// IsFresh reports whether a file was changed so recently that a later change may leave
// its times as they are.
func IsFresh(ctime int64) bool { return time.Since(time.Unix(0, ctime)) < freshTime }

// Changed reports whether a file was written to, replaced or given other
// metadata between two looks at it.
func Changed(before, after os.FileInfo) bool {
	b, a := MetaOf(before), MetaOf(after)
	return !os.SameFile(before, after) ||
		UnixType(before.Mode()) != UnixType(after.Mode()) || b.Size != a.Size || b.Mtime != a.Mtime || b.Ctime != a.Ctime
}
