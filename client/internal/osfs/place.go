package osfs

import (
	"errors"
	"io/fs"
)

// Place gives a file that was made under the name used its final name. The folder must be
// acquired. With replace, a file or link of that name is replaced in one step. Without it, the
// error is fs.ErrExist if anything has that name or one that the file system takes for the same.
// (Where the system cannot rename and refuse in one step, something that appears between the look
// and the renaming is replaced.)
func (d *Dir) Place(used, name string, replace bool) error {
	if !replace {
		done, err := renameNew(d, used, name)
		if done {
			return err
		}
		if _, err := d.Root.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
			if err == nil {
				err = fs.ErrExist
			}
			return WithoutPath(err)
		}
	}
	return WithoutPath(d.Root.Rename(used, name))
}
