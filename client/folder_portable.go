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

// look is what looking at a name in the folder, which is acquired, tells.
func (f *folder) look(name string) (fileMeta, identity, error) {
	info, err := f.root.Lstat(name)
	if err != nil {
		return fileMeta{}, identity{}, bare(err)
	}
	return metaOf(info), identity{info}, nil
}

// identity tells whether a file is still the one that was looked at.
type identity struct{ info os.FileInfo }

// matches reports whether info is about the file that was looked at.
func (is identity) matches(info os.FileInfo) bool { return os.SameFile(is.info, info) }

// subfolder is the folder of that name in f, as it was when it was looked at.
func (f *folder) subfolder(name string, is identity) *folder { return f.child(name, is.info) }

// hasNoXattrs reports whether a file certainly has no extended attributes.
func hasNoXattrs(*os.File) bool { return false }

// readlink reads a symbolic link in the folder, which is acquired.
func (f *folder) readlink(name string) (string, error) {
	to, err := f.root.Readlink(name)
	return to, bare(err)
}

// openFile opens a file in the folder, which is acquired, for reading.
func (f *folder) openFile(name string, flags int) (*os.File, error) {
	file, err := f.root.OpenFile(name, flags, 0)
	return file, bare(err)
}
