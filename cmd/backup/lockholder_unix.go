//go:build unix

package main

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// lockHolder returns the id of another process that has locked the file, or 0 if no process
// has, or it is unknown. It must not be called for a file that this process has locked:
// closing the file would unlock it.
func lockHolder(path string) int {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lock); err != nil || lock.Type == unix.F_UNLCK {
		return 0
	}
	return int(lock.Pid)
}
