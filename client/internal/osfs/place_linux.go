package osfs

import (
	"errors"
	"io/fs"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// renameNew renames used to name in dir if nothing has that name. done is false, and nothing was
// done, if the file system cannot do both at once.
func renameNew(dir *Dir, used, name string) (done bool, err error) {
	at := int(dir.Self.Fd())
	err = retryInterrupted(func() error { return unix.Renameat2(at, used, at, name, unix.RENAME_NOREPLACE) })
	if errors.Is(err, unix.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		return false, nil
	}
	if err == unix.EEXIST {
		err = fs.ErrExist
	}
	return true, err
}

// CreateUnnamed makes a regular file without a name on the file system of dir, which must be
// acquired. If it gets none by [File.SetName], it is gone when it is closed, or the process is killed.
// The error is errors.ErrUnsupported if the file system has no such files.
func CreateUnnamed(dir *Dir, mode uint32) (File, error) {
	at := int(dir.Self.Fd())
	fd, err := retryInterruptedInt(func() (int, error) {
		return unix.Openat(at, ".", unix.O_WRONLY|unix.O_TMPFILE|unix.O_CLOEXEC, mode)
	})
	// Old kernels open the folder itself, which cannot be written.
	if errors.Is(err, unix.EISDIR) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) {
		err = errors.ErrUnsupported
	}
	return File{fd}, err
}

// SetName gives a file of [CreateUnnamed] a name in the folder that it was made for. The error is
// fs.ErrExist if anything has the name, and errors.ErrUnsupported if it cannot be given.
func (f File) SetName(dir *Dir, name string) error {
	at := int(dir.Self.Fd())
	// Only root may do this on older kernels.
	err := retryInterrupted(func() error { return unix.Linkat(f.fd, "", at, name, unix.AT_EMPTY_PATH) })
	if err == unix.ENOENT || err == unix.EINVAL || err == unix.EPERM {
		path := "/proc/self/fd/" + strconv.Itoa(f.fd)
		err = retryInterrupted(func() error { return unix.Linkat(unix.AT_FDCWD, path, at, name, unix.AT_SYMLINK_FOLLOW) })
	}
	switch err {
	case unix.EEXIST:
		return fs.ErrExist
	case unix.ENOENT, unix.EINVAL, unix.EPERM, unix.EXDEV, unix.EMLINK:
		return errors.ErrUnsupported
	}
	return err
}

// SetTimes sets the modification time, as [SetTimes] does for a name.
func (f File) SetTimes(_ *Dir, _ string, mtime int64) error {
	t := [2]unix.Timespec{unix.NsecToTimespec(mtime), unix.NsecToTimespec(mtime)}
	// Without a path, the call is for the descriptor; package unix has no function for that.
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(f.fd), 0, uintptr(unsafe.Pointer(&t)), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}
