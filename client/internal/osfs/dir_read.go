package osfs

import (
	"errors"
	"io/fs"
	"os"
)

// OpenQuietly opens a file in the folder for reading, without touching its access time where
// that is allowed.
func (f *Dir) OpenQuietly(name string) (*os.File, error) {
	if err := f.Acquire(); err != nil {
		return nil, err
	}
	defer f.Release()
	file, err := f.openFile(name, openFlags|noAtime)
	if noAtime != 0 && errors.Is(err, fs.ErrPermission) {
		file, err = f.openFile(name, openFlags)
	}
	return file, err
}
