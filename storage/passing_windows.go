package storage

import "golang.org/x/sys/windows"

// passing are the errors of a process, or a system, that has too few resources, and of a file
// that another program, such as a scanner for viruses, has open for a moment.
var passing = []error{
	windows.ERROR_TOO_MANY_OPEN_FILES, windows.ERROR_NOT_ENOUGH_MEMORY, windows.ERROR_OUTOFMEMORY,
	windows.ERROR_NO_SYSTEM_RESOURCES, windows.ERROR_SHARING_VIOLATION, windows.ERROR_LOCK_VIOLATION,
}
