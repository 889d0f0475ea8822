//go:build unix

package storagetest

import (
	"syscall"
	"time"
)

// CPU is the processor time, of all cores, that this process has used so far.
func CPU() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
