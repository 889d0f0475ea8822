package scan

import (
	"errors"
	"fmt"
	"os"
	"time"

	"servidor-backup/client/internal/osfs"
	"servidor-backup/client/internal/tree"
	"servidor-backup/schemas"
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
// whose entry has both. Afterwards the entry is that of one moment: if the path has changed
// since the walk looked at it, its mode, owner and times are set again.
//
// An error says what is missing from the entry, which can be saved without it. But if there is
// nothing to save, Entry becomes nil: the target of a link cannot be read, or the name now
// stands for something else. (A folder stays: what is in it may have been listed before.)
func (it *Item) ReadRest() error {
	err := it.dir.Acquire()
	if err == nil {
		err = it.readRest()
		it.dir.Release()
	}
	e := it.Entry
	if err != nil {
		e.Ctime = 0 // so that the next backup tries again
	}
	replaced := errors.Is(err, osfs.ErrReplaced)
	if replaced {
		e.Xattrs = nil
	}
	if e.Type != tree.TypeDir && replaced || e.Type == tree.TypeSymlink && e.Target == "" {
		it.Entry = nil
	}
	return err
}

// restAttempts is how often the rest of a path that keeps changing is read at most.
const restAttempts = 5

// readRest is ReadRest in the acquired folder. What reads the same before and after an lstat
// belongs to what that lstat tells. An lstat that tells the same as the walk's does, too, unless
// the change time is too recent to show every change.
func (it *Item) readRest() error {
	e := it.Entry
	now := time.Now()
	if err := it.readTargetAndXattrs(); err != nil {
		return err
	}
	for range restAttempts {
		m, id, err := it.dir.LstatMeta(it.name)
		if err != nil {
			return err
		}
		if !id.Equal(it.identity) || tree.TypeOfMode(m.Mode) != e.Type {
			return fmt.Errorf("it %w", osfs.ErrReplaced)
		}
		fresh := osfs.MayRepeat(m.Ctime, it.dir.Kind(), now)
		before := *e
		it.setMeta(&m)
		if !fresh && e.Equal(&before) {
			return nil
		}
		before = *e
		now = time.Now()
		if err := it.readTargetAndXattrs(); err != nil {
			return err
		}
		if e.Equal(&before) {
			if fresh {
				e.Ctime = 0 // a change after this call could have the same time
			}
			return nil
		}
	}
	return errors.New("it changed while it was read: its time, owner or attributes may be of different moments")
}

func (it *Item) readTargetAndXattrs() (err error) {
	e := it.Entry
	if e.Type == tree.TypeSymlink {
		if e.Target, err = it.dir.Readlink(it.name); err != nil {
			return fmt.Errorf("read the link: %w", err)
		}
	}
	e.Xattrs = nil
	return it.dir.ReadXattrs(it.name, e.AddXattr)
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
	info, err := osfs.Stat(f)
	if err == nil && !it.identity.Matches(info) {
		err = fmt.Errorf("the file %w", osfs.ErrReplaced)
	}
	if err != nil {
		f.Close()
		return nil, nil, schemas.Explain("", "not-opened", "open \"{path}\"", "path", it.Path).Because(osfs.WithoutPath(err))
	}
	m := osfs.MetaOf(info)
	it.setMeta(&m)
	it.Kind = it.dir.FileKind(f, m.Dev)
	// A change of attributes from here on changes the times that were just read.
	it.Entry.Xattrs = nil
	it.Err = osfs.ReadFileXattrs(f, it.Entry.AddXattr)
	return f, info, nil
}

// setMeta sets the fields of the entry that lstat or fstat tells now.
func (it *Item) setMeta(m *osfs.Meta) {
	if e := it.Entry; m.UID != e.UID || m.GID != e.GID { // it got another owner since the walk
		e.User, e.Group = it.owners.User(m.UID), it.owners.Group(m.GID)
	}
	setMeta(it.Entry, m)
}

// setMeta sets the fields of e that lstat or fstat tells.
func setMeta(e *tree.Entry, m *osfs.Meta) {
	e.Mode, e.UID, e.GID = m.Mode&0o7777, m.UID, m.GID
	e.Mtime, e.Ctime, e.Size = m.Mtime, m.Ctime, m.Size
	e.Dev, e.Ino, e.Rdev = m.Dev, m.Ino, m.Rdev
}
