package main

import (
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	lowestNice = 19
	// The lowest of the usual I/O priorities. The idle class would be lower, and
	// starve beside a busy disk until sessions and nodes are given up.
	bestEffortLowest = 2<<13 | 7
	whoProcess       = 1 // of ioprio_set; for Linux a thread is one
)

// beNice lowers the priority of this process for processor and disk. On Linux
// priorities belong to threads, which hand them down to those that they start;
// so it goes on until no thread has come that it has not seen.
func beNice() error {
	done := map[int]bool{}
	for {
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		again := false
		for _, entry := range threads {
			id, err := strconv.Atoi(entry.Name())
			if err != nil || done[id] {
				continue
			}
			done[id], again = true, true
			if err := niceThread(id); err != nil && !errors.Is(err, unix.ESRCH) { // it has ended
				return err
			}
		}
		if !again {
			return nil
		}
	}
}

func niceThread(id int) error {
	if err := unix.Setpriority(unix.PRIO_PROCESS, id, lowestNice); err != nil {
		return os.NewSyscallError("setpriority", err)
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOPRIO_SET, whoProcess, uintptr(id), bestEffortLowest); errno != 0 {
		return os.NewSyscallError("ioprio_set", errno)
	}
	return nil
}
