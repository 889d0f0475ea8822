package osfs

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Mknod makes a fifo, a socket or a device in dir, which must be acquired. mode has the type, as in
// st_mode of Unix, and rdev is the number of a device. The error is errors.ErrUnsupported
// for other types, and where such files cannot be made.
func Mknod(dir *Dir, name string, mode uint32, rdev uint64) error {
	switch kind := mode & unix.S_IFMT; kind {
	case unix.S_IFIFO, unix.S_IFCHR, unix.S_IFBLK, unix.S_IFSOCK:
		return unix.Mknodat(int(dir.Self.Fd()), name, kind|0o600, int(rdev))
	}
	return errors.ErrUnsupported
}
