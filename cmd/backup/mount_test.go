//go:build unix

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// mount mounts a file system in memory at dir, or skips the test.
func (w *world) mount(dir, size string) {
	w.Helper()
	if err := w.tryMount(dir, size); err != nil {
		w.Skipf("SKIPPED: a small file system cannot be mounted here: %v", err)
	}
}

// tryMount is mount, but returns an error if it is impossible; it needs root and Linux.
func (w *world) tryMount(dir, size string) error {
	w.Helper()
	if os.Geteuid() != 0 {
		return errors.New("only root can")
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		w.Fatal(err)
	}
	if out, err := exec.CommandContext(w.ctx, "mount", "-t", "tmpfs", "-o", "size="+size, "tmpfs", dir).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	w.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			w.Errorf("umount: %v: %s", err, out)
		}
	})
	return nil
}

// remount changes the size of the file system.
func (w *world) remount(dir, size string) {
	w.Helper()
	if err := w.tryRemount(dir, size); err != nil {
		w.Fatal(err)
	}
}

// tryRemount is remount, but returns an error if the file system holds more than size.
func (w *world) tryRemount(dir, size string) error {
	if out, err := exec.CommandContext(w.ctx, "mount", "-o", "remount,size="+size, dir).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// tryFill shrinks the file system until free bytes are left. It fails if something is written
// meanwhile.
func (w *world) tryFill(dir string, free int64) error {
	w.Helper()
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		w.Fatal(err)
	}
	used := int64(fs.Blocks-fs.Bfree) * int64(fs.Bsize)
	return w.tryRemount(dir, fmt.Sprint(used+free))
}
