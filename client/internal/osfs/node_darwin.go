package osfs

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// MakeNode: macOS makes fifos and devices only by path, which could lead out of
// the target.
func MakeNode(*Dir, string, uint32, uint64) error { return errors.ErrUnsupported }

// SyncFolder starts writing out all file systems: macOS has nothing narrower.
func SyncFolder(*os.File) error { return unix.Sync() }
