//go:build !linux && !darwin

package osfs

// HasNoDump says whether the system has a flag that keeps files out of backups.
const HasNoDump = false

// NoDump reports false: there is no such flag here.
func NoDump(*Dir, string) bool { return false }
