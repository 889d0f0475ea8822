//go:build !linux && !darwin

package treetest

import "os"

func sysOf(os.FileInfo) sysInfo { return sysInfo{nlink: 1, bytes: -1} }
