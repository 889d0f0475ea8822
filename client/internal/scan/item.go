package scan

import (
	"fmt"
	"os"
	"time"

	"servidor-backup/client/internal/osfs"
	"servidor-backup/client/internal/tree"
)

// Item is one step of a walk.
//
// If Err is nil, Entry says what lstat told of the path; [Item.ReadRest] or, for a file,
// [Item.Open] adds the rest, and the visitor sets HardLink and Content. If Err is not nil,
// Entry is nil: either nothing is known of the path, or the folder at Path, which was visited
// before, could not be listed to the end.
//
// An item may be kept, passed to other goroutines, and opened even after the walk has ended.
type Item struct {
	Path  string // as in the entry
	Entry *tree.Entry
	Err   error
	Nlink uint64    // the number of names that the file has, including this one
	Kind  osfs.Kind // of the file system; Open sets it

	dir      *osfs.Dir // holds name; nil if there is nothing to open
	name     string
	identity osfs.Identity
	owners   *osfs.OwnerNames
}

// ReadRest reads what lstat does not tell: the target of a symbolic link, and extended
// attributes. It need not be called for a file that is unchanged since an earlier version,
// whose entry has both.
//
// An error says what is missing from the entry, which can be saved without it. But if it is a
// link whose target cannot be read, there is nothing to save, and Entry becomes nil.
func (it *Item) ReadRest() error {
	e := it.Entry
	err := it.dir.Acquire()
	if err == nil {
		defer it.dir.Release()
		if osfs.MayRepeat(e.Ctime, it.dir.Kind(), time.Now()) {
			e.Ctime = 0 // a change after this call could have the same time
		}
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
		e.Ctime = 0 // so that the next backup tries again
	}
	if e.Type == tree.TypeSymlink && e.Target == "" {
		it.Entry = nil // it could not be restored
	}
	return err
}

// Open opens a regular file for reading. It sets the entry's mode, owner, size, times and
// extended attributes again, from the file that is open now. The info is for a later
// [osfs.ChangedBetween]. The error is osfs.ErrReplaced if the name now stands for another
// file. After a success, it.Err says which attributes could not be read.
func (it *Item) Open() (*os.File, os.FileInfo, error) {
	if it.Entry == nil || it.Entry.Type != tree.TypeFile {
		return nil, nil, fmt.Errorf("open %q: not a regular file", it.Path)
	}
	f, err := it.dir.OpenNoAtime(it.name)
	if err != nil {
		return nil, nil, fmt.Errorf("open %q: %w", it.Path, err)
	}
	info, err := f.Stat()
	if err == nil && !it.identity.Matches(info) {
		err = fmt.Errorf("the file %w", osfs.ErrReplaced)
	}
	if err != nil {
		f.Close()
		return nil, nil, fmt.Errorf("open %q: %w", it.Path, osfs.WithoutPath(err))
	}
	m, e := osfs.MetaOf(info), it.Entry
	if m.UID != e.UID || m.GID != e.GID { // it got another owner since the walk
		e.User, e.Group = it.owners.User(m.UID), it.owners.Group(m.GID)
	}
	setMeta(e, &m)
	it.Kind = it.dir.FileKind(f, m.Dev)
	// A change of attributes from here on changes the times that were just read.
	it.Entry.Xattrs = nil
	it.Err = osfs.ReadFileXattrs(f, it.Entry.AddXattr)
	return f, info, nil
}

// setMeta sets the fields of e that lstat or fstat tells.
func setMeta(e *tree.Entry, m *osfs.Meta) {
	e.Mode, e.UID, e.GID = m.Mode&0o7777, m.UID, m.GID
	e.Mtime, e.Ctime, e.Size = m.Mtime, m.Ctime, m.Size
	e.Dev, e.Ino, e.Rdev = m.Dev, m.Ino, m.Rdev
}
