package client

import (
	"errors"
	"io/fs"
	"os"
)

// openQuietly opens a file in the folder for reading, without touching its access time where
// that is allowed.
func (f *folder) openQuietly(name string) (*os.File, error) {
	if err := f.acquire(); err != nil {
		return nil, err
	}
	defer f.release()
	file, err := f.openFile(name, openFlags|noAtime)
	if noAtime != 0 && errors.Is(err, fs.ErrPermission) {
		file, err = f.openFile(name, openFlags)
	}
	return file, err
}
