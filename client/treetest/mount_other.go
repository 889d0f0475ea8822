//go:build !linux

package treetest

import "testing"

// Mount skips the test: file systems are mounted only on Linux.
func Mount(t testing.TB, kind string, _ ...string) string {
	t.Helper()
	t.Skipf("no file system of the kind %s is mounted here", kind)
	return ""
}

// MountAt skips the test as well.
func MountAt(t testing.TB, _, _ string) {
	t.Helper()
	t.Skip("no file system is mounted here")
}
