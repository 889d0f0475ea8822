//go:build linux || darwin

package osfs

import (
	"bytes"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// SetTimes sets the modification time, in nanoseconds since 1970, of a name in dir. A
// symbolic link is not followed. The access time, which versions do not record, becomes
// the same. dir must be acquired.
func SetTimes(dir *Dir, name string, mtime int64) error {
	t := unix.NsecToTimespec(mtime)
	return unix.UtimesNanoAt(int(dir.Self.Fd()), name, []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW)
}

// MayHaveXattrs reports whether an open file may have extended attributes of the kinds that
// are restored.
func MayHaveXattrs(f *os.File) bool { return mayHaveXattrs(int(f.Fd())) }

func mayHaveXattrs(fd int) bool {
	var names [512]byte
	n, err := unix.Flistxattr(fd, names[:])
	if err != nil {
		return errors.Is(err, unix.ERANGE)
	}
	return bytes.Contains(names[:n], []byte("user.")) || bytes.Contains(names[:n], []byte("system.posix_acl_"))
}

// IsOwnedBy reports whether an open file belongs to uid and gid already.
func IsOwnedBy(f *os.File, uid, gid int) bool {
	var st unix.Stat_t
	return unix.Fstat(int(f.Fd()), &st) == nil && int(st.Uid) == uid && int(st.Gid) == gid
}
