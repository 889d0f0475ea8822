package client

import (
	"fmt"
	"os"
)

// complete reads what looking at the file did not tell: a link's target and
// extended attributes. The entry can be saved without what an error says is
// missing, except that there is none any more if it is a link without a target.
// Whoever has an earlier look at the same file, with the same change time, need
// not call it.
func (it *walkItem) complete() error {
	e := it.Entry
	if isFresh(e.Ctime) {
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
		e.Xattrs = nil
		err = readXattrs(it.dir.path(it.name), e.addXattr)
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
	f, err := it.dir.openQuietly(it.name)
	if err != nil {
		return nil, nil, fmt.Errorf("open %q: %w", it.Path, err)
	}
	info, err := f.Stat()
	if err == nil && !it.is.matches(info) {
		err = fmt.Errorf("the file %w", errReplaced)
	}
	if err != nil {
		f.Close()
		return nil, nil, fmt.Errorf("open %q: %w", it.Path, bare(err))
	}
	m := metaOf(info)
	setMeta(it.Entry, &m)
	// Attributes that change from here on change the times that were just read.
	it.Entry.Xattrs = nil
	it.Err = fileXattrs(f, it.Entry.addXattr)
	return f, info, nil
}

// setMeta sets what looking at a file of the entry's type has told.
func setMeta(e *Entry, m *fileMeta) {
	e.Mode, e.UID, e.GID = m.Mode&0o7777, m.UID, m.GID
	e.Mtime, e.Ctime, e.Size = m.Mtime, m.Ctime, m.Size
	e.Dev, e.Ino, e.Rdev = m.Dev, m.Ino, m.Rdev
}
