//go:build !linux

package client

import "os"

// newWalkFolders is a set for a walk.
func newWalkFolders() *folders { return newFolders() }

func closeFD(int) {}

// pathByFD is for folders that have only an fd, and here are none.
func (f *folder) pathByFD() string { return f.name }

// list lists the folder, which is acquired, unsorted. What was read before an
// error is returned with it.
func (f *folder) list([]byte) ([]string, error) { return f.names() }

// look sets what looking at it.name in it.dir, which is acquired, tells.
func (it *walkItem) look() error {
	info, err := it.dir.root.Lstat(it.name)
	if err != nil {
		return bare(err)
	}
	it.info = info
	it.Entry.Type = entryType(info.Mode())
	it.Nlink = it.Entry.setStat(info)
	return nil
}

// identity is what tells whether a file is still the one that was looked at.
type identity struct{ info os.FileInfo }

// folder is the folder that the item is.
func (it *walkItem) folder() *folder { return it.dir.child(it.name, it.info) }

// isStill reports whether info is about the file that was looked at.
func (it *walkItem) isStill(info os.FileInfo) bool { return os.SameFile(it.info, info) }

// hasNoXattrs reports whether a file certainly has no extended attributes.
func hasNoXattrs(*os.File) bool { return false }

// readlink reads a symbolic link in the folder, which is acquired.
func (f *folder) readlink(name string) (string, error) {
	target, err := f.root.Readlink(name)
	return target, bare(err)
}

// openFile opens a file in the folder, which is acquired, for reading.
func (f *folder) openFile(name string, flags int) (*os.File, error) {
	file, err := f.root.OpenFile(name, flags, 0)
	return file, bare(err)
}
