//go:build linux || darwin

package osfs

import (
	"os"
	"syscall"
)

// openFlags open what is expected to be a regular file: if a symbolic link or a fifo has
// replaced it, the link must not be followed and the open must not wait.
const openFlags = os.O_RDONLY | syscall.O_NOFOLLOW | syscall.O_NONBLOCK

// setSys sets the fields that only Unix has.
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
