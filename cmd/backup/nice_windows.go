package main

import (
	"os"

	"golang.org/x/sys/windows"
)

// beNice lowers the priority of this process. The background mode of Windows would also lower
// the priority of its I/O, but it limits the working set to 32 MB.
func beNice() error {
	err := windows.SetPriorityClass(windows.CurrentProcess(), windows.BELOW_NORMAL_PRIORITY_CLASS)
	return os.NewSyscallError("SetPriorityClass", err)
}
