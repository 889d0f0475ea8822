//go:build !linux && !darwin

package osfs

import "errors"

// RenameNew renames a file unless the new name is taken. It cannot be done here.
func RenameNew(string, string) error { return errors.ErrUnsupported }
