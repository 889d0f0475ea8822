package main

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"
)

// peak is the peak memory of a running process, in KiB. (The figure that the system reports for
// a process that has ended includes the memory of its parent at its start.)
func peak(t *testing.T, pid int) int {
	t.Helper()
	n, err := peakOf(pid)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func peakOf(pid int) (int, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	match := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	if match == nil {
		return 0, fmt.Errorf("no VmHWM in %s", status)
	}
	return strconv.Atoi(string(match[1]))
}

// With --max-memory a command uses less memory.
func TestLessMemory(t *testing.T) {
	w := newWorld(t, 2*time.Minute)
	content := random(7, 100*mib)
	saving := func(more ...string) int {
		p, in := w.local(w.dir()).busy(more...)
		if _, err := in.Write(content); err != nil {
			t.Fatal(err)
		}
		most := peak(t, p.cmd.Process.Pid)
		if err := in.Close(); err != nil || p.wait() != exitDone {
			t.Errorf("%v, %s", err, tail(p.stderr.String()))
		}
		return most
	}
	usual, less := saving(), saving("--max-memory", "48M")
	t.Logf("%d KiB by default, %d with 48M", usual, less)
	if less > usual*9/10 {
		t.Error("--max-memory 48M saves no memory")
	}
}
