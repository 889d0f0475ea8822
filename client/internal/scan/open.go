package scan

import (
	"fmt"
	"os"
	"servidor-backup/client/internal/osfs"
	"servidor-backup/client/internal/tree"
)

// Complete reads what looking at the file did not tell: a link's target and
// extended attributes. The entry can be saved without what an error says is
// missing, except that there is none any more if it is a link without a target.
// Whoever has an earlier look at the same file, with the same change time, need
// not call it.
func (it *Item) Complete() error {
	e := it.Entry
	if osfs.IsFresh(e.Ctime) {
		e.Ctime = 0 // a change after this call could have the same time
	}
	err := it.dir.Acquire()
	if err == nil {
		defer it.dir.Release()
		if e.Type == tree.TypeSymlink {
			if e.Target, err = it.dir.Readlink(it.name); err != nil {
				err = fmt.Errorf("read the link: %w", err)
			}
		}
	}
	if err == nil {
		e.Xattrs = nil
		err = osfs.ReadXattrs(it.dir.Path(it.name), e.AddXattr)
	}
	if err != nil {
		e.Ctime = 0 // so that the next backup looks again
	}
	if e.Type == tree.TypeSymlink && e.Target == "" {
		it.Entry = nil // it cannot be restored
	}
	return err
}

// Open opens a regular file for reading. The entry's mode, owner, size, times
// and extended attributes are set anew from what was opened; the info is for a
// later [changed]. An error that is ErrReplaced means that the name now stands
// for another file. After a success it.Err says what could not be read of the
// attributes.
func (it *Item) Open() (*os.File, os.FileInfo, error) {
	if it.Entry == nil || it.Entry.Type != tree.TypeFile {
		return nil, nil, fmt.Errorf("open %q: not a regular file", it.Path)
	}
	f, err := it.dir.OpenQuietly(it.name)
	if err != nil {
		return nil, nil, fmt.Errorf("open %q: %w", it.Path, err)
	}
	info, err := f.Stat()
	if err == nil && !it.is.Matches(info) {
		err = fmt.Errorf("the file %w", osfs.ErrReplaced)
	}
	if err != nil {
		f.Close()
		return nil, nil, fmt.Errorf("open %q: %w", it.Path, osfs.Bare(err))
	}
	m := osfs.MetaOf(info)
	setMeta(it.Entry, &m)
	// Attributes that change from here on change the times that were just read.
	it.Entry.Xattrs = nil
	it.Err = osfs.FileXattrs(f, it.Entry.AddXattr)
	return f, info, nil
}

// setMeta sets what looking at a file of the entry's type has told.
func setMeta(e *tree.Entry, m *osfs.Meta) {
	e.Mode, e.UID, e.GID = m.Mode&0o7777, m.UID, m.GID
	e.Mtime, e.Ctime, e.Size = m.Mtime, m.Ctime, m.Size
	e.Dev, e.Ino, e.Rdev = m.Dev, m.Ino, m.Rdev
}
