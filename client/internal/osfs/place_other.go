//go:build !linux && !darwin

package osfs

import (
	"errors"
	"os"
)

// renameNew does nothing: no call here renames only if nothing has the name.
func renameNew(*Dir, string, string) (done bool, err error) { return false, nil }

func (File) SetTimes(*Dir, string, int64) error { return errors.ErrUnsupported }

// Lock reports true: a file that is open cannot be removed here, so that nothing needs to be locked.
func Lock(*os.File) bool { return true }

// InheritsACL reports false: there are no extended attributes here.
func InheritsACL(*os.File) bool { return false }
