//go:build !linux

package osfs

import "os"

// NewWalkDirs returns an empty set for a walk.
func NewWalkDirs() *Dirs { return NewDirs() }

func closeFD(int) {}

// pathByFD is never called: no folder has only a descriptor here.
func (d *Dir) pathByFD() string { return d.name }

// List lists the acquired folder, unsorted. The names read before an error are returned
// with it.
func (d *Dir) List([]byte) ([]string, error) { return d.Names() }

// LstatMeta looks at a name in the acquired folder.
func (d *Dir) LstatMeta(name string) (Meta, Identity, error) {
	info, err := lstat(d, name)
	if err != nil {
		return Meta{}, Identity{}, WithoutPath(err)
	}
	return MetaOf(info), IdentityOf(info), nil
}

// Identity tells whether a name still stands for the file that was looked at.
type Identity struct{ info os.FileInfo }

// IdentityOf returns the identity of the file that info describes. info comes from package os or
// from [Stat].
func IdentityOf(info os.FileInfo) Identity {
	info = ofPackageOS(info)
	// On Windows, package os may ask for a file's id by its path, and not before two files are
	// compared. By then the path may be another file's.
	os.SameFile(info, info)
	return Identity{info}
}

// Matches reports whether info describes the file with this identity.
func (id Identity) Matches(info os.FileInfo) bool { return os.SameFile(id.info, ofPackageOS(info)) }

// Equal reports whether both are the identity of one file.
func (id Identity) Equal(o Identity) bool { return os.SameFile(id.info, o.info) }

// Readlink reads a symbolic link in the acquired folder.
func (d *Dir) Readlink(name string) (string, error) {
	to, err := d.Root.Readlink(name)
	return to, WithoutPath(err)
}

// openFile opens a file in the acquired folder for reading.
func (d *Dir) openFile(name string, flags int) (*os.File, error) {
	file, err := d.Root.OpenFile(name, flags, 0)
	return file, WithoutPath(err)
}

// Kind returns the kind of the acquired folder's file system.
func (d *Dir) Kind() Kind { return kindOf(int(d.Self.Fd())) }

// IsPseudo reports false: there are no such file systems here.
func (d *Dir) IsPseudo(string, Identity) bool { return false }
