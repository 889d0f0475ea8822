package osfs

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// HasNoDump says whether the system has a flag that keeps files out of backups.
const HasNoDump = true

// NoDump reports whether a name in the acquired folder has the flag, which chflags nodump
// sets. A name that cannot be asked has it not: rather save one file too many.
func NoDump(d *Dir, name string) bool {
	info, err := d.Root.Lstat(name)
	if err != nil {
		return false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Flags&unix.UF_NODUMP != 0
}
