//go:build linux || darwin

package osfs

import (
	"bytes"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// SetTimes sets the modification time, in nanoseconds since 1970, of a name
// that is not followed if it is a symbolic link. The access time is not kept in
// versions and becomes the same. dir must be acquired.
func SetTimes(dir *Dir, name string, mtime int64) error {
	t := unix.NsecToTimespec(mtime)
	return unix.UtimesNanoAt(int(dir.Self.Fd()), name, []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW)
}

// LinkBetween makes newName in to another name of oldName in from. Both folders
// must be acquired.
func LinkBetween(from *Dir, oldName string, to *Dir, newName string) error {
	return unix.Linkat(int(from.Self.Fd()), oldName, int(to.Self.Fd()), newName, 0)
}

// NewFile is a regular file that was just made: a descriptor, which is cheaper than an
// os.File.
type NewFile struct{ fd int }

// owned is who a file belongs to and the twelve bits of its mode.
type owned struct {
	UID, GID int
	Mode     uint32
}

// CreateNew makes a regular file in dir, which must be acquired. The error is fs.ErrExist
// if something has its name. An error that is errors.ErrUnsupported means that files are
// not made in this way here.
func CreateNew(dir *Dir, name string, mode uint32) (NewFile, error) {
	at := int(dir.Self.Fd())
	fd, err := uninterrupted(func() (int, error) {
		return unix.Openat(at, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
	})
	return NewFile{fd}, err
}

func (f NewFile) Write(b []byte) error {
	for len(b) > 0 {
		n, err := uninterrupted(func() (int, error) { return unix.Write(f.fd, b) })
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

func (f NewFile) Stat() (owned, error) {
	var st unix.Stat_t
	err := unix.Fstat(f.fd, &st)
	return owned{UID: int(st.Uid), GID: int(st.Gid), Mode: uint32(st.Mode) & 0o7777}, err
}

func (f NewFile) Chown(uid, gid int) error { return unix.Fchown(f.fd, uid, gid) }

func (f NewFile) Chmod(mode uint32) error { return unix.Fchmod(f.fd, mode) }

// MayHaveXattrs reports whether the file may have attributes of the kinds that are
// restored.
func (f NewFile) MayHaveXattrs() bool { return mayHaveXattrs(f.fd) }

func (f NewFile) Close() error {
	if err := unix.Close(f.fd); err != unix.EINTR {
		return err
	}
	return nil
}

// mayHaveXattrs reports whether an open file may have attributes of the kinds that are
// restored.
func mayHaveXattrs(fd int) bool {
	var names [512]byte
	n, err := unix.Flistxattr(fd, names[:])
	if err != nil {
		return errors.Is(err, unix.ERANGE)
	}
	return bytes.Contains(names[:n], []byte("user.")) || bytes.Contains(names[:n], []byte("system.posix_acl_"))
}

// NoXattrs reports whether an open file is known to have no attributes of the
// kinds that are restored.
func NoXattrs(f *os.File) bool { return !mayHaveXattrs(int(f.Fd())) }

// IsOwned reports whether an open file belongs to uid and gid already.
func IsOwned(f *os.File, uid, gid int) bool {
	var st unix.Stat_t
	return unix.Fstat(int(f.Fd()), &st) == nil && int(st.Uid) == uid && int(st.Gid) == gid
}

// uninterrupted repeats a call that a signal has interrupted.
func uninterrupted(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != unix.EINTR {
			return n, err
		}
	}
}
