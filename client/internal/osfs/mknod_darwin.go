package osfs

import "errors"

// Mknod makes nothing: macOS makes fifos and devices only by path, which could lead out of
// the folder.
func Mknod(*Dir, string, uint32, uint64) error { return errors.ErrUnsupported }
