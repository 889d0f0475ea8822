package osfs

import (
	"os"

	"golang.org/x/sys/unix"
)

// StartWriteback has the disk begin with what was written of f, so that it works
// while more comes and the sync at the end finds little left. It promises nothing,
// and what fails here shows at that sync.
func StartWriteback(f *os.File) {
	_ = unix.SyncFileRange(int(f.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE) // to the end
}
