//go:build !linux && !windows

package osfs

import "os"

// lstat looks at a name in the acquired folder.
func lstat(d *Dir, name string) (os.FileInfo, error) { return d.Root.Lstat(name) }

// ofPackageOS returns what package os tells of a file.
func ofPackageOS(info os.FileInfo) os.FileInfo { return info }
