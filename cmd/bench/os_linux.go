package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// canMeasure reports why this system cannot be measured on; nil when it can.
func canMeasure() error { return nil }

// fileID tells files apart.
type fileID struct{ device, inode uint64 }

// identity is a file's id, and whether it has several names.
func identity(info fs.FileInfo) (fileID, bool) {
	st := info.Sys().(*syscall.Stat_t)
	return fileID{st.Dev, st.Ino}, st.Nlink > 1 && !info.IsDir()
}

// diskBytes is what a file takes on disk.
func diskBytes(info fs.FileInfo) int64 { return info.Sys().(*syscall.Stat_t).Blocks * 512 }

// nextData is where data begins and ends at or after an offset, and size twice
// when only a hole follows.
func nextData(f *os.File, offset, size int64) (from, to int64, err error) {
	from, err = f.Seek(offset, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return size, size, nil
	}
	if err == nil {
		to, err = f.Seek(from, unix.SEEK_HOLE)
	}
	return from, to, err
}

// syncDisks writes everything that is dirty, and waits.
func syncDisks() { unix.Sync() }

// peakMemory is the most memory that a process that has ended had at once, or one
// of those it waited for, in bytes. A process starts with the peak of the one
// that started it, so nothing below our own can be seen: see forgetPeak.
func peakMemory(ended *os.ProcessState) int64 {
	return ended.SysUsage().(*syscall.Rusage).Maxrss * kib
}

// ownGroup gives a command a process group of its own, and lets its context end
// the whole group.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}

// askToEnd asks a process for an orderly end.
func askToEnd(p *os.Process) error { return p.Signal(syscall.SIGTERM) }

// forgetPeak lets the peak of a running process begin at what it has now.
func forgetPeak(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}

// peakOf is the peak memory of a running process since forgetPeak, in bytes.
func peakOf(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(status) {
		if rest, found := bytes.CutPrefix(line, []byte("VmHWM:")); found {
			n, err := strconv.ParseInt(strings.Fields(string(rest))[0], 10, 64)
			return n * kib, err
		}
	}
	return 0, fmt.Errorf("no VmHWM of process %d", pid)
}

// clockTick is the unit of CPU times in /proc, which Linux shows to programs as a
// hundredth of a second on every machine that Go runs on.
const clockTick = 10 * time.Millisecond

// cpuOf is the CPU time that a running process has used.
func cpuOf(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name of the program is in brackets and may have anything in it.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("no CPU times of process %d", pid)
	}
	var ticks int64
	for _, f := range fields[11:13] { // utime and stime
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick, nil
}

// machine describes this machine and the file system of dir, without its name.
func machine(dir string) string {
	var parts []string
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		count, model := 0, ""
		for line := range strings.Lines(string(text)) {
			key, value, _ := strings.Cut(line, ":")
			switch strings.TrimSpace(key) {
			case "processor":
				count++
			case "model name":
				model = strings.TrimSpace(value)
			}
		}
		parts = append(parts, fmt.Sprintf("%d CPUs (%s)", count, model))
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		parts = append(parts, fmt.Sprintf("%.0f GiB of memory", float64(info.Totalram)*float64(info.Unit)/gib))
	}
	var uts unix.Utsname
	if unix.Uname(&uts) == nil {
		parts = append(parts, "Linux "+unix.ByteSliceToString(uts.Release[:]))
	}
	var sfs unix.Statfs_t
	if unix.Statfs(dir, &sfs) == nil {
		parts = append(parts, fileSystem(int64(sfs.Type)))
	}
	return strings.Join(parts, ", ")
}

func fileSystem(magic int64) string {
	switch magic {
	case unix.EXT4_SUPER_MAGIC:
		return "ext4"
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs"
	case unix.XFS_SUPER_MAGIC:
		return "xfs"
	case unix.TMPFS_MAGIC:
		return "tmpfs"
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlayfs"
	}
	return fmt.Sprintf("file system %#x", magic)
}
