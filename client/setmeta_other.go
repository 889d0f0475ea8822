//go:build !linux && !darwin

package client

import (
	"errors"
	"os"
	"path/filepath"
	"time"
)

// setTimes sets the modification time, in nanoseconds since 1970; a symbolic
// link keeps its own. dir must be acquired.
func setTimes(dir *folder, name string, mtime int64) error {
	info, err := dir.root.Lstat(name)
	if err != nil || info.Mode()&os.ModeSymlink != 0 {
		return err
	}
	t := time.Unix(0, mtime)
	return dir.root.Chtimes(name, t, t)
}

// linkBetween makes newName in to another name of oldName in from. Both folders
// must be acquired.
func linkBetween(from *folder, oldName string, to *folder, newName string) error {
	return bare(os.Link(filepath.Join(from.root.Name(), oldName), filepath.Join(to.root.Name(), newName)))
}

// newFile is never made here.
type newFile struct{}

// owned is who a file belongs to and the twelve bits of its mode.
type owned struct {
	uid, gid int
	mode     uint32
}

// createNew makes nothing: there is no way that is faster than os.OpenFile.
func createNew(*folder, string, uint32) (newFile, error) { return newFile{}, errors.ErrUnsupported }

func (newFile) write([]byte) error       { return errors.ErrUnsupported }
func (newFile) stat() (o owned, _ error) { return o, errors.ErrUnsupported }
func (newFile) chown(int, int) error     { return errors.ErrUnsupported }
func (newFile) chmod(uint32) error       { return errors.ErrUnsupported }
func (newFile) mayHaveXattrs() bool      { return false }
func (newFile) close() error             { return nil }

// noXattrs: there are none.
func noXattrs(*os.File) bool { return true }

// isOwned: owners have no numbers here.
func isOwned(*os.File, int, int) bool { return false }

// makeNode: there are no fifos and devices in folders.
func makeNode(*folder, string, uint32, uint64) error { return errors.ErrUnsupported }

// syncFolder: there is no call for it.
func syncFolder(*os.File) error { return nil }
