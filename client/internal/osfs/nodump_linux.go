package osfs

import "golang.org/x/sys/unix"

// HasNoDump says whether the system has a flag that keeps files out of backups.
const HasNoDump = true

// NoDump reports whether a name in the acquired folder has the flag, which chattr +d sets. A
// file system without the flag, and a name that cannot be asked, has it not: rather save one
// file too many.
func NoDump(d *Dir, name string) bool {
	var st unix.Statx_t
	err := retryInterrupted(func() error {
		return unix.Statx(d.fd, name, unix.AT_SYMLINK_NOFOLLOW, 0, &st)
	})
	return err == nil && st.Attributes&unix.STATX_ATTR_NODUMP != 0
}
