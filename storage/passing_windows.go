package storage

import "syscall"

// passing are the errors of a process, or a system, that has too few resources, and of a file
// that another program, such as a scanner for viruses, has open for a moment.
var passing = []error{
	syscall.Errno(4), syscall.Errno(8), syscall.Errno(14), syscall.Errno(1450), // too many open files, no memory
	syscall.Errno(32), syscall.Errno(33), // a sharing violation, a lock violation
}
