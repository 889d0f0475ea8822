package client

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// makeNode makes a fifo or a device. dir must be acquired.
func makeNode(dir *folder, name string, e *Entry) error {
	var kind uint32
	switch e.Type {
	case TypeFifo:
		kind = unix.S_IFIFO
	case TypeChar:
		kind = unix.S_IFCHR
	case TypeBlock:
		kind = unix.S_IFBLK
	default:
		return errors.ErrUnsupported
	}
	return unix.Mknodat(int(dir.self.Fd()), name, kind|0o600, int(e.Rdev))
}

// syncFolder puts the whole file system of an open folder on stable storage.
func syncFolder(f *os.File) error { return unix.Syncfs(int(f.Fd())) }
