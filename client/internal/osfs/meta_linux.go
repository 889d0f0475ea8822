package osfs

import (
	"errors"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// noAtime keeps a read from changing the file's access time. The kernel allows it only to
// the file's owner and to root.
const noAtime = syscall.O_NOATIME

func changeTime(st *syscall.Stat_t) time.Time { return time.Unix(st.Ctim.Unix()) }

// haveProcFS reports whether open files have names in /proc.
var haveProcFS = sync.OnceValue(func() bool {
	info, err := os.Stat("/proc/self/fd")
	return err == nil && info.IsDir()
})

// fdPath returns a path of an open folder that works however long the folder's real path is
// and wherever the folder is moved to, or "" if there is no such path.
func fdPath(f *os.File) string {
	if !haveProcFS() {
		return ""
	}
	return procPath(int(f.Fd()))
}

func procPath(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// nextData finds the first run of data at or after off, as [from, to). from is size if only
// holes are left.
func nextData(f *os.File, off, size int64) (from, to int64, err error) {
	from, err = f.Seek(off, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO):
		return size, size, nil // only holes are left
	case errors.Is(err, unix.EINVAL), errors.Is(err, errors.ErrUnsupported):
		return off, size, nil
	case err != nil:
		return 0, 0, err
	}
	to, err = f.Seek(from, unix.SEEK_HOLE)
	if errors.Is(err, unix.ENXIO) {
		return from, from, nil // the file was truncated just now
	}
	return from, to, err
}

// hasNoXattrs reports whether a file certainly has no extended attributes. Most files have
// none, and finding that out this way takes no memory.
func hasNoXattrs(f *os.File) bool {
	n, err := unix.Flistxattr(int(f.Fd()), nil)
	return err == nil && n == 0
}
