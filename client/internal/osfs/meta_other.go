//go:build !linux && !darwin

package osfs

import "os"

const (
	openFlags = os.O_RDONLY
	noAtime   = 0
)

// setSys: files have no numeric owner and no change time here, and their
// identity is not kept.
func (m *Meta) setSys(os.FileInfo) {}

// fdPath: open folders have no other path.
func fdPath(*os.File) string { return "" }

// nextData takes a file for one run of data.
func nextData(_ *os.File, off, size int64) (from, to int64, err error) { return off, size, nil }
