//go:build linux || darwin

package osfs

import (
	"bytes"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Lock locks an open folder against other processes that do the same, until it is closed. It
// reports false if another one has locked it, or if that cannot be known.
func Lock(dir *os.File) bool { return unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil }

// InheritsACL reports whether new files in an open folder may get an ACL from it: also if
// that cannot be found out.
func InheritsACL(dir *os.File) bool {
	var names [512]byte
	n, err := unix.Flistxattr(int(dir.Fd()), names[:])
	if err != nil {
		return !errors.Is(err, unix.ENOTSUP)
	}
	return bytes.Contains(names[:n], []byte("system.posix_acl_default"))
}
