//go:build !windows

package osfs

import "os"

// Stat looks at an open file. The result is for [MetaOf], [IdentityOf] and [ChangedBetween].
func Stat(f *os.File) (os.FileInfo, error) {
	info, err := f.Stat()
	return info, WithoutPath(err)
}

// lstat looks at a name in the acquired folder.
func lstat(d *Dir, name string) (os.FileInfo, error) { return d.Root.Lstat(name) }

// remove removes a name in the acquired folder. What is open can be removed like anything else.
func remove(d *Dir, name string, _ bool) error { return d.Root.Remove(name) }
