//go:build !linux && !darwin

package osfs

import (
	"errors"
	"os"
)

// renameNew does nothing: no call here renames only if nothing has the name.
func renameNew(*Dir, string, string) (done bool, err error) { return false, nil }

// CreateUnnamed makes nothing: every file has a name here.
func CreateUnnamed(*Dir, uint32) (File, error) { return File{}, errors.ErrUnsupported }

func (File) SetName(*Dir, string) error { return errors.ErrUnsupported }

func (File) SetTimes(*Dir, string, int64) error { return errors.ErrUnsupported }

// Lock reports true: folders cannot be locked here. [Dir.RemoveUnused] has to do.
func Lock(*os.File) bool { return true }

// InheritsACL reports false: there are no extended attributes here.
func InheritsACL(*os.File) bool { return false }
