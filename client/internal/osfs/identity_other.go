//go:build !linux && !windows

package osfs

import "os"

// ofPackageOS returns what package os tells of a file.
func ofPackageOS(info os.FileInfo) os.FileInfo { return info }

// hasNoXattrs reports whether a file certainly has no extended attributes. Here it never
// knows.
func hasNoXattrs(*os.File) bool { return false }
