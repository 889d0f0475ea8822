//go:build unix && !linux

package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// beNice lowers the priority of this process.
func beNice() error {
	return os.NewSyscallError("setpriority", unix.Setpriority(unix.PRIO_PROCESS, 0, 19))
}
