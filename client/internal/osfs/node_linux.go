package osfs

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// MakeNode makes a fifo or a device: mode has the type, as Unix has it in st_mode, and
// rdev is the number of a device. dir must be acquired.
func MakeNode(dir *Dir, name string, mode uint32, rdev uint64) error {
	switch kind := mode & unix.S_IFMT; kind {
	case unix.S_IFIFO, unix.S_IFCHR, unix.S_IFBLK:
		return unix.Mknodat(int(dir.Self.Fd()), name, kind|0o600, int(rdev))
	}
	return errors.ErrUnsupported
}

// SyncFolder puts the whole file system of an open folder on stable storage.
func SyncFolder(f *os.File) error { return unix.Syncfs(int(f.Fd())) }
