package osfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Names lists the folder, unsorted. The names read before an error are returned with it.
func (d *Dir) Names() ([]string, error) {
	if err := d.Acquire(); err != nil {
		return nil, err
	}
	defer d.Release()
	// It has its own handle, because reading moves a handle's position.
	f, err := d.Root.Open(".")
	if err != nil {
		return nil, WithoutPath(err)
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	return names, WithoutPath(err)
}

// Lstat looks at a name in the folder.
func (d *Dir) Lstat(name string) (os.FileInfo, error) {
	if err := d.Acquire(); err != nil {
		return nil, err
	}
	defer d.Release()
	info, err := lstat(d, name)
	return info, WithoutPath(err)
}

// Remove removes a name in the folder, which must be acquired.
func (d *Dir) Remove(name string) error { return WithoutPath(remove(d, name, false)) }

// RemoveUnused is Remove, but where the system knows which files are open, as Windows does, it
// refuses those.
func (d *Dir) RemoveUnused(name string) error { return WithoutPath(remove(d, name, true)) }

// Subdir returns the folder that has the given name in d now. Anything but a folder, a
// symbolic link above all, is refused. path names the folder in the error.
func (d *Dir) Subdir(name, path string) (*Dir, error) {
	info, err := d.Lstat(name)
	switch {
	case err != nil:
		return nil, fmt.Errorf("open the folder %q: %w", path, err)
	case info.Mode()&os.ModeSymlink != 0:
		return nil, fmt.Errorf("%q is a symbolic link instead of a folder, and links are not followed", path)
	case !info.IsDir():
		return nil, fmt.Errorf("%q is not a folder", path)
	}
	return d.Child(name, IdentityOf(info)), nil
}

// Rename gives a file or link that was made under the name used its final name, which may
// be the same. The folder must be acquired.
func (d *Dir) Rename(used, name string) error {
	if used == name {
		return nil
	}
	err := d.Root.Rename(used, name)
	// Renaming one name of a file to another name of the same file does nothing.
	if rmErr := d.Remove(used); err == nil && rmErr != nil && !errors.Is(rmErr, fs.ErrNotExist) {
		err = rmErr
	}
	return WithoutPath(err)
}

// ReadAt fills b from offset off of a regular file in the folder.
func (d *Dir) ReadAt(name string, b []byte, off int64) error {
	if err := d.Acquire(); err != nil {
		return err
	}
	defer d.Release()
	file, err := d.Root.OpenFile(name, openFlags|noAtime, 0)
	if err != nil {
		return WithoutPath(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return WithoutPath(err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%q %w", name, ErrReplaced)
	}
	_, err = file.ReadAt(b, off)
	return WithoutPath(err)
}

// OpenToRead opens a file in the folder for reading. It does not wait for a fifo and follows no
// link. The folder must be acquired.
func (d *Dir) OpenToRead(name string) (*os.File, error) {
	file, err := d.Root.OpenFile(name, openFlags, 0)
	return file, WithoutPath(err)
}

// OpenNoAtime opens a file in the folder for reading, without changing its access time
// where the system allows that.
func (d *Dir) OpenNoAtime(name string) (*os.File, error) {
	if err := d.Acquire(); err != nil {
		return nil, err
	}
	defer d.Release()
	file, err := d.openFile(name, openFlags|noAtime)
	if noAtime != 0 && errors.Is(err, fs.ErrPermission) {
		file, err = d.openFile(name, openFlags)
	}
	return file, err
}

// ReadStart reads a regular file in the folder, and at most its first limit bytes.
func (d *Dir) ReadStart(name string, limit int64) ([]byte, error) {
	f, err := d.OpenNoAtime(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%q is not a regular file", name)
	}
	if err != nil {
		return nil, WithoutPath(err)
	}
	text, err := io.ReadAll(io.LimitReader(f, limit))
	return text, WithoutPath(err)
}

// Path returns a path of an entry of the folder, for calls that take only paths. The folder
// must be acquired, and the call must not follow a symbolic link at the end of the path.
func (d *Dir) Path(name string) string {
	if d.Root == nil {
		return d.pathByFD() + "/" + name
	}
	if prefix := fdPath(d.Self); prefix != "" {
		return prefix + "/" + name
	}
	return filepath.Join(d.Root.Name(), name)
}

// FileKind returns the kind of the file system of an open file, which is on the device dev.
func (d *Dir) FileKind(f *os.File, dev uint64) Kind { return d.set.kinds.get(dev, int(f.Fd())) }

// ReadXattrs reads the extended attributes of a name in the acquired folder: all that this process
// may read, ascending by name. A symbolic link is not followed. A file system without attributes
// has none. An error is returned after visit has been called for those that could be read.
// The values belong to visit.
func (d *Dir) ReadXattrs(name string, visit func(name string, value []byte)) error {
	return readXattrs(d, name, visit)
}
