package client

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// complete reads what looking at the file did not tell: a link's target and
// extended attributes. The entry can be saved without what an error says is
// missing, except that there is none any more if it is a link without a target.
// Whoever has an earlier look at the same file, with the same change time, need
// not call it.
func (it *walkItem) complete() error {
	e := it.Entry
	if time.Since(time.Unix(0, e.Ctime)) < trust {
		e.Ctime = 0 // a change after this call could have the same time
	}
	err := it.dir.acquire()
	if err == nil {
		defer it.dir.release()
		if e.Type == TypeSymlink {
			if e.Target, err = it.dir.readlink(it.name); err != nil {
				err = fmt.Errorf("read the link: %w", err)
			}
		}
	}
	if err == nil {
		e.Xattrs, err = readXattrs(it.dir.path(it.name))
	}
	if err != nil {
		e.Ctime = 0 // so that the next backup looks again
	}
	if e.Type == TypeSymlink && e.Target == "" {
		it.Entry = nil // it cannot be restored
	}
	return err
}

// open opens a regular file for reading. The entry's mode, owner, size, times
// and extended attributes are set anew from what was opened; the info is for a
// later [changed]. An error that is errReplaced means that the name now stands
// for another file. After a success it.Err says what could not be read of the
// attributes.
func (it *walkItem) open() (*os.File, os.FileInfo, error) {
	if it.Entry == nil || it.Entry.Type != TypeFile {
		return nil, nil, fmt.Errorf("open %q: not a regular file", it.Path)
	}
	f, err := it.openQuietly()
	if err != nil {
		return nil, nil, fmt.Errorf("open %q: %w", it.Path, err)
	}
	info, err := f.Stat()
	if err == nil && !it.isStill(info) {
		err = fmt.Errorf("the file %w", errReplaced)
	}
	if err != nil {
		f.Close()
		return nil, nil, fmt.Errorf("open %q: %w", it.Path, bare(err))
	}
	it.Entry.setStat(info)
	// Attributes that change from here on change the times that were just read.
	it.Entry.Xattrs, it.Err = fileXattrs(f)
	return f, info, nil
}

// openQuietly opens the file without touching its access time, where that is
// allowed.
func (it *walkItem) openQuietly() (*os.File, error) {
	if err := it.dir.acquire(); err != nil {
		return nil, err
	}
	defer it.dir.release()
	f, err := it.dir.openFile(it.name, openFlags|noAtime)
	if noAtime != 0 && errors.Is(err, fs.ErrPermission) {
		f, err = it.dir.openFile(it.name, openFlags)
	}
	return f, err
}
