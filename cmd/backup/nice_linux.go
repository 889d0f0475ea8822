package main

import (
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	lowestNice = 19
	// The lowest level of the best-effort class. The idle class would be lower, but on a busy
	// disk it starves, until sessions expire and nodes are marked down.
	bestEffortLowest = 2<<13 | 7
	whoProcess       = 1 // IOPRIO_WHO_PROCESS of ioprio_set, which selects one thread
)

// beNice lowers the priority of this process for processor and disk. On Linux each thread has
// its own priorities, and a new thread inherits those of its creator. So beNice repeats until
// it finds no new thread.
func beNice() error {
	done := map[int]bool{}
	for {
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		found := false
		for _, entry := range threads {
			id, err := strconv.Atoi(entry.Name())
			if err != nil || done[id] {
				continue
			}
			done[id], found = true, true
			if err := niceThread(id); err != nil && !errors.Is(err, unix.ESRCH) { // the thread has ended
				return err
			}
		}
		if !found {
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
