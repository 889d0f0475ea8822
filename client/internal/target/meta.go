package target

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"

	"servidor-backup/client/internal/osfs"
	"servidor-backup/client/internal/tree"
)

// metaWriter gives files the metadata of entries. What cannot be set is a warning. It is safe for
// concurrent use.
type metaWriter struct {
	opt *Options
	ids *osfs.OwnerIDs
}

func newMetaWriter(opt *Options) *metaWriter {
	return &metaWriter{opt: opt, ids: osfs.NewOwnerIDs()}
}

// set gives the file name in dir, which must be acquired, the metadata of e. The name "." stands
// for dir itself. file is the open file or folder; it is nil for links, fifos and devices.
//
// The order matters. A change of owner removes setuid bits and capabilities. Attributes can only
// be set while the file is writable, which the mode may end. The mode may also take away the right
// to set times.
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

// owner returns the owner of e on this machine.
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
		return nil // these have no mode
	}
	mode, err := w.safeMode(at, e)
	if err != nil {
		return err
	}
	return at.Chmod(mode)
}

// safeMode returns the entry's mode, without the setuid or setgid bit if the file does not have
// the owner or group that it had. The bit would lend the rights of a user who never agreed to that.
func (w *metaWriter) safeMode(at osfs.Ref, e *tree.Entry) (uint32, error) {
	mode := e.Mode & 0o7777
	if mode&0o6000 == 0 {
		return mode, nil
	}
	info, err := at.Dir.Root.Lstat(at.Name)
	if err != nil {
		return 0, err
	}
	now := osfs.MetaOf(info)
	uid, gid := w.owner(e)
	if now.UID != uint32(uid) {
		mode &^= 0o4000
	}
	if now.GID != uint32(gid) {
		mode &^= 0o2000
	}
	return mode, nil
}

// setXattrs gives the file the attributes of e. It does not set attributes that the file has
// already, because setting some of them takes special rights even if nothing changes.
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
	// Errors of reading are ignored: setting an attribute then reports why.
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

// dropXattr removes an attribute that the entry does not have: one of a folder that existed
// before, or an ACL inherited from the target folder. Attributes that the system itself puts on
// files, such as security labels, stay.
func (w *metaWriter) dropXattr(at osfs.Ref, e *tree.Entry, name string) {
	if !strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "system.posix_acl_") {
		return
	}
	if err := at.RemoveXattr(name); err != nil {
		w.opt.Warn(e.Path, fmt.Errorf("remove extended attribute %q: %w", name, err))
	}
}

// writeNew makes a regular file with the given content and the metadata of e. For the many small
// files of a usual tree it takes fewer system calls than creating a file, writing to it, and
// [metaWriter.set]. made is false, and nothing was done, if something has that name already, or if
// e has special permissions or attributes. dir must be acquired.
func (w *metaWriter) writeNew(dir *osfs.Dir, name string, e *tree.Entry, content []byte) (made bool, err error) {
	if e.Mode&^0o777 != 0 || len(e.Xattrs) > 0 {
		return false, nil
	}
	// The file has its mode from the start, unless its owner is still to change.
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
	// Some file systems report a full disk only here.
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return true, errors.Join(err, osfs.WithoutPath(dir.Root.Remove(name)))
	}
	return true, nil
}

// newOwner returns the owner that a new file of e must have: this user, unless owners are restored.
func (w *metaWriter) newOwner(e *tree.Entry) (uid, gid int) {
	if !w.opt.Owner {
		return os.Geteuid(), os.Getegid()
	}
	return w.owner(e)
}

// setNew is set for a file that writeNew has made. It changes only what is not right from the
// start.
func (w *metaWriter) setNew(dir *osfs.Dir, name string, f osfs.File, e *tree.Entry) {
	now, err := f.Stat()
	w.warn(e, "look at the new file", err)
	uid, gid := w.newOwner(e)
	if w.opt.Owner && (now.UID != uid || now.GID != gid) {
		w.warn(e, "set the owner", f.Chown(uid, gid))
	}
	inherited := f.MayHaveXattrs()
	if inherited {
		w.setXattrs(osfs.Ref{Dir: dir, Name: name}, e)
	}
	w.warn(e, "set the time", osfs.SetTimes(dir, name, e.Mtime))
	if inherited || now.Mode != e.Mode {
		w.warn(e, "set the mode", f.Chmod(e.Mode))
	}
}
