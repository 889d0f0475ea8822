//go:build linux || darwin

package client

import (
	"os"
	"syscall"
)

// openFlags open what is taken for a regular file: a symbolic link or a fifo
// that has taken its place must neither be followed nor make the open wait.
const openFlags = os.O_RDONLY | syscall.O_NOFOLLOW | syscall.O_NONBLOCK

// setSys sets what only Unix knows of a file.
func (e *Entry) setSys(info os.FileInfo) (nlink uint64) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 1
	}
	e.UID, e.GID = st.Uid, st.Gid
	e.Dev, e.Ino = uint64(st.Dev), st.Ino
	e.Ctime = nanoseconds(changeTime(st))
	if e.Type == TypeChar || e.Type == TypeBlock {
		e.Rdev = uint64(st.Rdev)
	}
	return uint64(st.Nlink)
}
