//go:build !linux && !darwin

package osfs

import (
	"errors"
	"os"
	"path/filepath"
	"time"
)

// SetTimes sets the modification time, in nanoseconds since 1970; a symbolic
// link keeps its own. dir must be acquired.
func SetTimes(dir *Dir, name string, mtime int64) error {
	info, err := dir.Root.Lstat(name)
	if err != nil || info.Mode()&os.ModeSymlink != 0 {
		return err
	}
	t := time.Unix(0, mtime)
	return dir.Root.Chtimes(name, t, t)
}

// LinkBetween makes newName in to another name of oldName in from. Both folders
// must be acquired.
func LinkBetween(from *Dir, oldName string, to *Dir, newName string) error {
	return Bare(os.Link(filepath.Join(from.Root.Name(), oldName), filepath.Join(to.Root.Name(), newName)))
}

// NewFile is never made here.
type NewFile struct{}

// owned is who a file belongs to and the twelve bits of its mode.
type owned struct {
	UID, GID int
	Mode     uint32
}

// CreateNew makes nothing: there is no way that is faster than os.OpenFile.
func CreateNew(*Dir, string, uint32) (NewFile, error) { return NewFile{}, errors.ErrUnsupported }

func (NewFile) Write([]byte) error       { return errors.ErrUnsupported }
func (NewFile) Stat() (o owned, _ error) { return o, errors.ErrUnsupported }
func (NewFile) Chown(int, int) error     { return errors.ErrUnsupported }
func (NewFile) Chmod(uint32) error       { return errors.ErrUnsupported }
func (NewFile) MayHaveXattrs() bool      { return false }
func (NewFile) Close() error             { return nil }

// NoXattrs: there are none.
func NoXattrs(*os.File) bool { return true }

// IsOwned: owners have no numbers here.
func IsOwned(*os.File, int, int) bool { return false }

// MakeNode: there are no fifos and devices in folders.
func MakeNode(*Dir, string, uint32, uint64) error { return errors.ErrUnsupported }

// SyncFolder: there is no call for it.
func SyncFolder(*os.File) error { return nil }
