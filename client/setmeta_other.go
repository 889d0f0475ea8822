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

// writeNew makes nothing: there is no faster way here.
func (w *metaWriter) writeNew(*folder, string, *Entry, []byte) (made bool, err error) {
	return false, nil
}

// noXattrs: there are none.
func noXattrs(*os.File) bool { return true }

// isOwned: owners have no numbers here.
func isOwned(*os.File, int, int) bool { return false }

// makeNode: there are no fifos and devices in folders.
func makeNode(*folder, string, *Entry) error { return errors.ErrUnsupported }

// syncFolder: there is no call for it.
func syncFolder(*os.File) error { return nil }
