//go:build linux || darwin

package osfs

import (
	"golang.org/x/sys/unix"
)

// Link makes to/newName a further name of the file from/oldName. Both folders must be acquired.
func Link(from *Dir, oldName string, to *Dir, newName string) error {
	return unix.Linkat(int(from.Self.Fd()), oldName, int(to.Self.Fd()), newName, 0)
}

// File is a regular file that was just made, open for writing. It is a bare descriptor, which
// is cheaper than an os.File. A file of [CreateUnnamed] has no name yet.
type File struct{ fd int }

// CreateFile makes a regular file in dir, which must be acquired. The error is fs.ErrExist if
// the name is taken, and errors.ErrUnsupported if files cannot be made in this way on this
// system.
func CreateFile(dir *Dir, name string, mode uint32) (File, error) {
	at := int(dir.Self.Fd())
	fd, err := retryInterruptedInt(func() (int, error) {
		return unix.Openat(at, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
	})
	return File{fd}, err
}

// Write writes all of b.
func (f File) Write(b []byte) error {
	for len(b) > 0 {
		n, err := retryInterruptedInt(func() (int, error) { return unix.Write(f.fd, b) })
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// ownerAndMode is a file's owner and the twelve bits of its mode.
type ownerAndMode struct {
	UID, GID int
	Mode     uint32
}

// Stat returns the file's owner and mode.
func (f File) Stat() (ownerAndMode, error) {
	var st unix.Stat_t
	err := unix.Fstat(f.fd, &st)
	return ownerAndMode{UID: int(st.Uid), GID: int(st.Gid), Mode: uint32(st.Mode) & 0o7777}, err
}

// Chown changes the owner, as [Ref.Chown] does.
func (f File) Chown(uid, gid int) error { return unix.Fchown(f.fd, uid, gid) }

// Chmod sets the twelve bits of chmod, in the Unix layout.
func (f File) Chmod(mode uint32) error { return unix.Fchmod(f.fd, mode) }

// Close closes the descriptor.
func (f File) Close() error {
	if err := unix.Close(f.fd); err != unix.EINTR {
		return err
	}
	return nil
}

// retryInterruptedInt repeats a call that a signal has interrupted.
func retryInterruptedInt(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != unix.EINTR {
			return n, err
		}
	}
}
