package osfs

import "golang.org/x/sys/unix"

func kindOf(fd int) Kind {
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return Foreign
	}
	if st.Flags&unix.MNT_LOCAL != 0 {
		return Ordinary
	}
	return Foreign
}
