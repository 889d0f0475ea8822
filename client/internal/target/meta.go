package target

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"servidor-backup/client/internal/osfs"
	"servidor-backup/client/internal/tree"
	"strings"
)

// metaOptions are how metadata is given to files.
type metaOptions struct {
	// Owner gives every entry its owner, which takes root's rights. Without it
	// entries belong to who restores them, and the setuid and setgid bits of
	// other people's files are dropped.
	Owner bool
	// NumericOwner takes owners by their numbers only. Otherwise, as in tar, a
	// name that this machine knows goes before the number.
	NumericOwner bool
	// Warn is told what of an entry could not be set. It may be called
	// concurrently.
	Warn func(path string, err error)
}

// metaWriter gives files the metadata of entries. What cannot be set is a warning:
// the content is there. It is safe for concurrent use.
type metaWriter struct {
	opt metaOptions
	ids *osfs.OwnerIDs
}

func newMetaWriter(opt metaOptions) *metaWriter {
	return &metaWriter{opt: opt, ids: osfs.NewOwnerIDs()}
}

// set gives something in dir, which is acquired, the metadata of e. name is what it is
// called there, "." for dir itself; file is the open file or folder, nil for links,
// fifos and devices.
//
// The order matters. A change of owner takes the setuid bits and the
// capabilities away; attributes need a writable file, which the mode may end;
// and the mode may take the right to set times.
func (w *metaWriter) set(dir *osfs.Dir, name string, file *os.File, e *tree.Entry) {
	at := osfs.Ref{Dir: dir, Name: name, File: file}
	if w.opt.Owner {
		w.warn(e, "set the owner", w.setOwner(at, e))
	}
	w.setXattrs(at, e)
	w.warn(e, "set the time", osfs.SetTimes(dir, name, e.Mtime))
	w.warn(e, "set the mode", w.setMode(at, e))
}

func (w *metaWriter) warn(e *tree.Entry, what string, err error) {
	if err != nil {
		w.opt.Warn(e.Path, fmt.Errorf("%s: %w", what, osfs.WithoutPath(err)))
	}
}

// owner is who e belongs to on this machine.
func (w *metaWriter) owner(e *tree.Entry) (uid, gid int) {
	uid, gid = int(e.UID), int(e.GID)
	if w.opt.NumericOwner {
		return uid, gid
	}
	if id := w.ids.User(e.User); id >= 0 {
		uid = id
	}
	if id := w.ids.Group(e.Group); id >= 0 {
		gid = id
	}
	return uid, gid
}

func (w *metaWriter) setOwner(at osfs.Ref, e *tree.Entry) error {
	uid, gid := w.owner(e)
	if at.File != nil && osfs.IsOwnedBy(at.File, uid, gid) {
		return nil
	}
	return at.Chown(uid, gid)
}

func (w *metaWriter) setMode(at osfs.Ref, e *tree.Entry) error {
	if e.Type == tree.TypeSymlink || e.Type == tree.TypeDir && runtime.GOOS == "windows" {
		return nil // there is no such thing
	}
	mode, err := w.safeMode(at, e)
	if err != nil {
		return err
	}
	return at.Chmod(mode)
}

// safeMode is the entry's mode without the setuid or setgid bit if the file
// does not belong to whom it belonged: it would lend the rights of somebody who
// never meant to.
func (w *metaWriter) safeMode(at osfs.Ref, e *tree.Entry) (uint32, error) {
	mode := e.Mode & 0o7777
	if mode&0o6000 == 0 {
		return mode, nil
	}
	info, err := at.Dir.Root.Lstat(at.Name)
	if err != nil {
		return 0, err
	}
	is := osfs.MetaOf(info)
	uid, gid := w.owner(e)
	if is.UID != uint32(uid) {
		mode &^= 0o4000
	}
	if is.GID != uint32(gid) {
		mode &^= 0o2000
	}
	return mode, nil
}

// setXattrs makes the attributes those of e. Attributes that it has already are
// not touched, since setting some takes rights even where it changes nothing.
func (w *metaWriter) setXattrs(at osfs.Ref, e *tree.Entry) {
	if !at.CanHaveXattrs() {
		if len(e.Xattrs) > 0 {
			w.opt.Warn(e.Path, fmt.Errorf("extended attributes of a %v cannot be set on this system", e.Type))
		}
		return
	}
	if at.File != nil && len(e.Xattrs) == 0 && !osfs.MayHaveXattrs(at.File) {
		return
	}
	// Where there are no attributes to be read, setting one tells why.
	old := map[string]string{}
	osfs.ReadXattrs(at.Dir.Path(at.Name), func(name string, value []byte) { old[name] = string(value) })
	for _, x := range e.Xattrs {
		value, ok := old[x.Name]
		delete(old, x.Name)
		if ok && value == string(x.Value) {
			continue
		}
		if err := at.SetXattr(x.Name, x.Value); err != nil {
			w.opt.Warn(e.Path, fmt.Errorf("set extended attribute %q: %w", x.Name, err))
		}
	}
	for name := range old {
		w.dropXattr(at, e, name)
	}
}

// dropXattr removes an attribute that the entry does not have: of a folder that
// was there before, or an ACL inherited from the target folder. Those that the
// system itself puts on files, such as labels, stay.
func (w *metaWriter) dropXattr(at osfs.Ref, e *tree.Entry, name string) {
	if !strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "system.posix_acl_") {
		return
	}
	if err := at.RemoveXattr(name); err != nil {
		w.opt.Warn(e.Path, fmt.Errorf("remove extended attribute %q: %w", name, err))
	}
}

// writeNew makes a regular file with this content and the metadata of e. For the many
// small files of a usual tree it takes fewer calls of the system than making a file,
// writing to it, and [metaWriter.set]. made is false, and nothing was done, if something
// has its name, or if e has special permissions or attributes. dir must be acquired.
func (w *metaWriter) writeNew(dir *osfs.Dir, name string, e *tree.Entry, content []byte) (made bool, err error) {
	if e.Mode&^0o777 != 0 || len(e.Xattrs) > 0 {
		return false, nil
	}
	// It has its mode from the start, unless it is still to be given away.
	mode := e.Mode
	if uid, gid := w.newOwner(e); uid != os.Geteuid() || gid != os.Getegid() {
		mode = 0o600
	}
	f, err := osfs.CreateFile(dir, name, mode)
	if errors.Is(err, fs.ErrExist) || errors.Is(err, errors.ErrUnsupported) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err = f.Write(content); err == nil {
		w.setNew(dir, name, f, e)
	}
	// Some file systems tell only now that the disk is full.
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return true, errors.Join(err, osfs.WithoutPath(dir.Root.Remove(name)))
	}
	return true, nil
}

// newOwner is who a file of e is to belong to when it is made: who makes it,
// unless owners are restored.
func (w *metaWriter) newOwner(e *tree.Entry) (uid, gid int) {
	if !w.opt.Owner {
		return os.Geteuid(), os.Getegid()
	}
	return w.owner(e)
}

// setNew is set for what writeNew has made: it changes only what is not
// right from the start.
func (w *metaWriter) setNew(dir *osfs.Dir, name string, f osfs.File, e *tree.Entry) {
	is, err := f.Stat()
	w.warn(e, "look at what was made", err)
	uid, gid := w.newOwner(e)
	if w.opt.Owner && (is.UID != uid || is.GID != gid) {
		w.warn(e, "set the owner", f.Chown(uid, gid))
	}
	inherited := f.MayHaveXattrs()
	if inherited {
		w.setXattrs(osfs.Ref{Dir: dir, Name: name}, e)
	}
	w.warn(e, "set the time", osfs.SetTimes(dir, name, e.Mtime))
	if inherited || is.Mode != e.Mode {
		w.warn(e, "set the mode", f.Chmod(e.Mode))
	}
}
