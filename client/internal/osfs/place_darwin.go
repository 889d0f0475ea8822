package osfs

import (
	"errors"

	"golang.org/x/sys/unix"
)

// renameNew renames used to name in dir if nothing has that name. done is false, and nothing was
// done, if the file system cannot do both at once.
func renameNew(dir *Dir, used, name string) (done bool, err error) {
	at := int(dir.Self.Fd())
	err = unix.RenameatxNp(at, used, at, name, unix.RENAME_EXCL)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		return false, nil
	}
	return true, err
}

// CreateUnnamed makes nothing: every file has a name here.
func CreateUnnamed(*Dir, uint32) (File, error) { return File{}, errors.ErrUnsupported }

func (File) SetName(*Dir, string) error { return errors.ErrUnsupported }

// SetTimes sets the modification time, as [SetTimes] does for the name of the file.
func (f File) SetTimes(dir *Dir, name string, mtime int64) error { return SetTimes(dir, name, mtime) }
