//go:build !windows

package storage

import "golang.org/x/sys/unix"

// passing are the errors of a process, or a system, that has too few resources.
var passing = []error{unix.EMFILE, unix.ENFILE, unix.ENOMEM, unix.EINTR, unix.EAGAIN}
