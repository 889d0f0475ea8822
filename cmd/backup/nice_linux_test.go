package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// priorities are the nice value and the I/O priority of each thread of a process, as the kernel
// reports them.
func priorities(t *testing.T, pid int) (all []string) {
	t.Helper()
	stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(stats) < 2 {
		t.Fatalf("the threads of process %d: %v, %v", pid, stats, err)
	}
	for _, path := range stats {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // the thread has ended
		}
		// The name, the second field, may hold anything but ends with ")"; nice
		// is field 19.
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		id, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			t.Fatal(err)
		}
		io, _, errno := unix.Syscall(unix.SYS_IOPRIO_GET, whoProcess, uintptr(id), 0)
		if errno != 0 {
			continue
		}
		all = append(all, fmt.Sprintf("nice %s, class %d, level %d", fields[19-3], io>>13, io&7))
	}
	return all
}

// With --nice every thread of a server or a client has the lowest priority, even threads that
// start later. Without it, no thread has.
func TestNice(t *testing.T) {
	w := newWorld(t, time.Minute)
	const lowest = "nice 19, class 2, level 7"
	p, _ := w.up(w.dir(), "--nice")
	w.transmit(w.home) // gives it work
	for _, got := range priorities(t, p.cmd.Process.Pid) {
		if got != lowest {
			t.Errorf("a thread of up has %s", got)
		}
	}
	plain, in := w.local(w.dir()).busy()
	nice, niceIn := w.local(w.dir()).busy("--nice")
	w.eventually("both are at work", func() bool {
		return len(priorities(t, plain.cmd.Process.Pid)) > 3 && len(priorities(t, nice.cmd.Process.Pid)) > 3
	})
	for _, got := range priorities(t, nice.cmd.Process.Pid) {
		if got != lowest {
			t.Errorf("a thread of transmit has %s", got)
		}
	}
	for _, got := range priorities(t, plain.cmd.Process.Pid) {
		if got == lowest {
			t.Errorf("without --nice a thread has %s", got)
		}
	}
	for p, in := range map[*process]interface{ Close() error }{plain: in, nice: niceIn} {
		if err := errors.Join(in.Close()); err != nil || p.wait() != exitDone {
			t.Errorf("%v, %s", err, tail(p.stderr.String()))
		}
	}
}
