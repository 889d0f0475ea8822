//go:build !windows

package storage

import "syscall"

// passing are the errors of a process, or a system, that has too few resources.
var passing = []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EINTR, syscall.EAGAIN}
