//go:build linux || darwin

package client

import "golang.org/x/sys/unix"

// setTimes sets the modification time, in nanoseconds since 1970, of a name
// that is not followed if it is a symbolic link. The access time is not kept in
// versions and becomes the same. dir must be acquired.
func setTimes(dir *folder, name string, mtime int64) error {
	t := unix.NsecToTimespec(mtime)
	return unix.UtimesNanoAt(int(dir.self.Fd()), name, []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW)
}

// linkBetween makes newName in to another name of oldName in from. Both folders
// must be acquired.
func linkBetween(from *folder, oldName string, to *folder, newName string) error {
	return unix.Linkat(int(from.self.Fd()), oldName, int(to.self.Fd()), newName, 0)
}
