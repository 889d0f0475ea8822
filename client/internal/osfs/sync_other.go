//go:build !linux && !darwin

package osfs

import "os"

// StartWriteback does nothing: there is no call for it.
func StartWriteback(*os.File) {}

// SyncFileSystem does nothing: there is no call for it.
func SyncFileSystem(*os.File) error { return nil }
