//go:build !linux

package osfs

import "os"

// NewWalkFolders is a set for a walk.
func NewWalkFolders() *Dirs { return NewDirs() }

func closeFD(int) {}

// pathByFD is for folders that have only an fd, and here are none.
func (f *Dir) pathByFD() string { return f.name }

// List lists the folder, which is acquired, unsorted. What was read before an
// error is returned with it.
func (f *Dir) List([]byte) ([]string, error) { return f.Names() }

// Look is what looking at a name in the folder, which is acquired, tells.
func (f *Dir) Look(name string) (Meta, Identity, error) {
	info, err := f.Root.Lstat(name)
	if err != nil {
		return Meta{}, Identity{}, Bare(err)
	}
	return MetaOf(info), Identity{info}, nil
}

// Identity tells whether a file is still the one that was looked at.
type Identity struct{ info os.FileInfo }

// Matches reports whether info is about the file that was looked at.
func (is Identity) Matches(info os.FileInfo) bool { return os.SameFile(is.info, info) }

// Subfolder is the folder of that name in f, as it was when it was looked at.
func (f *Dir) Subfolder(name string, is Identity) *Dir { return f.Child(name, is.info) }

// hasNoXattrs reports whether a file certainly has no extended attributes.
func hasNoXattrs(*os.File) bool { return false }

// Readlink reads a symbolic link in the folder, which is acquired.
func (f *Dir) Readlink(name string) (string, error) {
	to, err := f.Root.Readlink(name)
	return to, Bare(err)
}

// openFile opens a file in the folder, which is acquired, for reading.
func (f *Dir) openFile(name string, flags int) (*os.File, error) {
	file, err := f.Root.OpenFile(name, flags, 0)
	return file, Bare(err)
}
