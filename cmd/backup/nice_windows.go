package main

import (
	"os"

	"golang.org/x/sys/windows"
)

// beNice lowers the priority of this process. Windows' background mode would
// lower that of its I/O as well, and keep no more than 32 MB of it in memory.
func beNice() error {
	err := windows.SetPriorityClass(windows.CurrentProcess(), windows.BELOW_NORMAL_PRIORITY_CLASS)
	return os.NewSyscallError("SetPriorityClass", err)
}
