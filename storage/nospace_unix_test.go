//go:build !windows

package storage_test

import "golang.org/x/sys/unix"

var errNoSpace error = unix.ENOSPC
