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

// canMeasure returns an error if this operating system cannot measure.
func canMeasure() error { return nil }

// fileID identifies a file on this machine.
type fileID struct{ device, inode uint64 }

// identity returns the id of a file, and whether the file has several hard links.
func identity(info fs.FileInfo) (id fileID, several bool) {
	st := info.Sys().(*syscall.Stat_t)
	return fileID{st.Dev, st.Ino}, st.Nlink > 1 && !info.IsDir()
}

// diskBytes returns the disk space that a file uses.
func diskBytes(info fs.FileInfo) int64 { return info.Sys().(*syscall.Stat_t).Blocks * 512 }

// nextData returns the start and the end of the first run of data at or after offset.
// It returns size twice if only a hole follows.
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

// syncDisks writes all dirty data to the disks and waits for that.
func syncDisks() { unix.Sync() }

// peakMemory returns the peak memory of a process that has ended, in bytes, or of a
// child process that it waited for if that is larger. The peak of a process starts at
// the peak of its parent, so values below the peak of bench cannot be seen: see
// resetPeak.
func peakMemory(ended *os.ProcessState) int64 {
	return ended.SysUsage().(*syscall.Rusage).Maxrss * kib
}

// ownGroup gives a command a process group of its own. When the context of the command
// ends, the whole group is killed.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}

// terminate asks a process to exit.
func terminate(p *os.Process) error { return p.Signal(syscall.SIGTERM) }

// resetPeak sets the peak memory of a running process to its current memory.
func resetPeak(pid int) error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}

// peakOf returns the peak memory of a running process since resetPeak, in bytes.
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

// clockTick is the unit of CPU times in /proc: a hundredth of a second on every Linux
// machine that Go supports.
const clockTick = 10 * time.Millisecond

// cpuOf returns the user and system time of a running process.
func cpuOf(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name of the program is in parentheses and may contain any characters.
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

// machine describes this machine and the file system of dir. It does not give the host name.
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

// fileSystem returns the name of the file system with that magic number.
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
