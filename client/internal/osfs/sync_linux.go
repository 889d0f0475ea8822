package osfs

import (
	"os"

	"golang.org/x/sys/unix"
)

// StartWriteback has the kernel begin to write f to the disk, so that the disk works while
// more data comes and the sync at the end finds little left to do. It guarantees nothing,
// and an error here also shows at that sync.
func StartWriteback(f *os.File) {
	_ = unix.SyncFileRange(int(f.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE) // to the end
}

// SyncFileSystem puts the whole file system of an open folder on stable storage.
func SyncFileSystem(dir *os.File) error { return unix.Syncfs(int(dir.Fd())) }
