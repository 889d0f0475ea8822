//go:build linux || darwin

package osfs

import (
	"os"
	"syscall"
)

// openFlags open what is taken for a regular file: a symbolic link or a fifo
// that has taken its place must neither be followed nor make the open wait.
const openFlags = os.O_RDONLY | syscall.O_NOFOLLOW | syscall.O_NONBLOCK

// setSys sets what only Unix knows of a file.
func (m *Meta) setSys(info os.FileInfo) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return
	}
	m.UID, m.GID = st.Uid, st.Gid
	m.Dev, m.Ino = uint64(st.Dev), st.Ino
	m.Ctime = nanoseconds(changeTime(st))
	if info.Mode()&os.ModeDevice != 0 {
		m.Rdev = uint64(st.Rdev)
	}
	m.Nlink = uint64(st.Nlink)
}
