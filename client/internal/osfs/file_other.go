//go:build !linux && !darwin

package osfs

import (
	"errors"
	"os"
	"path/filepath"
)

// Link makes to/newName a further name of the file from/oldName. Both folders must be acquired.
func Link(from *Dir, oldName string, to *Dir, newName string) error {
	return WithoutPath(os.Link(filepath.Join(from.Root.Name(), oldName), filepath.Join(to.Root.Name(), newName)))
}

// File is never made here.
type File struct{}

// ownerAndMode is a file's owner and the twelve bits of its mode.
type ownerAndMode struct {
	UID, GID int
	Mode     uint32
}

// CreateFile makes nothing: no way is faster here than os.OpenFile.
func CreateFile(*Dir, string, uint32) (File, error) { return File{}, errors.ErrUnsupported }

func (File) Write([]byte) error              { return errors.ErrUnsupported }
func (File) Stat() (o ownerAndMode, _ error) { return o, errors.ErrUnsupported }
func (File) Chown(int, int) error            { return errors.ErrUnsupported }
func (File) Chmod(uint32) error              { return errors.ErrUnsupported }
func (File) Close() error                    { return nil }

// Mknod makes nothing: there are no fifos and devices in folders here.
func Mknod(*Dir, string, uint32, uint64) error { return errors.ErrUnsupported }
