//go:build !linux && !darwin && !windows

package osfs

import "os"

const (
	openFlags = os.O_RDONLY
	noAtime   = 0
)

// setSys sets nothing: here files have no numeric owner and no change time, and their
// identity is not recorded.
func (m *Meta) setSys(os.FileInfo) {}

// fdPath returns "": open folders have no path of their own here.
func fdPath(*os.File) string { return "" }

// nextData takes the whole file for one run of data: holes are not looked for here.
func nextData(_ *os.File, off, size int64) (from, to int64, err error) { return off, size, nil }

// MayHaveXattrs reports false: there are no extended attributes here.
func MayHaveXattrs(*os.File) bool { return false }
