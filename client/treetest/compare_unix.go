//go:build linux || darwin

package treetest

import (
	"os"
	"syscall"
)

func sysOf(info os.FileInfo) sysInfo {
	st := info.Sys().(*syscall.Stat_t)
	return sysInfo{
		id:  fileID{uint64(st.Dev), st.Ino},
		uid: st.Uid, gid: st.Gid,
		nlink: uint64(st.Nlink), rdev: uint64(st.Rdev),
		bytes: int64(st.Blocks) * 512,
	}
}
