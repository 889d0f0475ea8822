//go:build !windows

package osfs

import "os"

// Stat looks at an open file. The result is for [MetaOf], [IdentityOf] and [ChangedBetween].
func Stat(f *os.File) (os.FileInfo, error) {
	info, err := f.Stat()
	return info, WithoutPath(err)
}
