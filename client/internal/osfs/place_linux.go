package osfs

import (
	"errors"
	"io/fs"
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
