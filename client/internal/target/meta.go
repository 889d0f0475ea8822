package target

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"servidor-backup/client/internal/osfs"
	"servidor-backup/client/internal/tree"
)

// ErrOwner means that an entry did not get its owner, because this user may not give files away.
var ErrOwner = errors.New("it does not have its owner, which this user may not set")

// metaWriter gives files the metadata of entries. It is safe for concurrent use.
type metaWriter struct {
	opt *Options
	ids *osfs.OwnerIDs
	// keeps is set when the system has refused to give a file away. It is not asked again.
	keeps atomic.Bool
	// named is set when the file system has no files without a name.
	named      atomic.Bool
	euid, egid int // of this process
}

func newMetaWriter(opt *Options) *metaWriter {
	return &metaWriter{opt: opt, ids: osfs.NewOwnerIDs(), euid: os.Geteuid(), egid: os.Getegid()}
}

// problems gathers what could not be set of an entry.
type problems []error

func (p *problems) add(what string, err error) {
	if err != nil {
		*p = append(*p, fmt.Errorf("%s: %w", what, osfs.WithoutPath(err)))
	}
}

// report warns once of everything that could not be set.
func (w *metaWriter) report(e *tree.Entry, failed problems) {
	switch len(failed) {
	case 0:
	case 1:
		w.opt.Warn(e.Path, failed[0])
	default:
		w.opt.Warn(e.Path, errors.Join(failed...))
	}
}

// set gives the file name in dir, which must be acquired, the metadata of e. The name "." stands
// for dir itself. file is the open file or folder; it is nil for links, fifos and devices.
//
// The order matters. A change of owner removes setuid bits and capabilities. Attributes can only
// be set while the file is writable, which the mode may end. The mode may also take away the right
// to set times.
func (w *metaWriter) set(dir *osfs.Dir, name string, file *os.File, e *tree.Entry) {
	at := osfs.Ref{Dir: dir, Name: name, File: file}
	var failed problems
	w.setOwner(at, e, &failed)
	w.setXattrs(at, e, &failed)
	failed.add("set the time", checkTime(dir, name, e, osfs.SetTimes(dir, name, e.Mtime)))
	failed.add("set the mode", w.setMode(at, e))
	w.report(e, failed)
}

// adjust is set for a file that was there with the content, size and time of e; now is what it had
// besides. What is right is left alone, so that the next backup finds the file unchanged.
func (w *metaWriter) adjust(dir *osfs.Dir, name string, file *os.File, e *tree.Entry, now osfs.Meta) {
	at := osfs.Ref{Dir: dir, Name: name, File: file}
	var failed problems
	w.setOwner(at, e, &failed)
	w.setXattrs(at, e, &failed)
	if now.Mtime != e.Mtime {
		failed.add("set the time", checkTime(dir, name, e, osfs.SetTimes(dir, name, e.Mtime)))
	}
	if mode, err := w.safeMode(at, e); err != nil || mode != now.Mode&0o7777 {
		failed.add("set the mode", w.setMode(at, e))
	}
	w.report(e, failed)
}

// These are the times, in nanoseconds since 1970, from and before which every file system has them:
// the FAT file systems begin with 1980, and the oldest of Linux end in January 2038.
const (
	firstTime = 316_000_000 * int64(time.Second)
	lastTime  = (1<<31 - 1) * int64(time.Second)
)

// isUsualTime reports whether every file system has a time.
func isUsualTime(mtime int64) bool { return mtime >= firstTime && mtime < lastTime }

// checkTime looks at a file's time after it was set, with the result err, if a file system may have
// made another one of it. Coarser times than the entry's are as good as this file system has them.
func checkTime(dir *osfs.Dir, name string, e *tree.Entry, err error) error {
	if err != nil || isUsualTime(e.Mtime) {
		return err
	}
	if e.Mtime == math.MaxInt64 || e.Mtime == math.MinInt64 {
		return errors.New("the file had one before 1678 or after 2262, which a version cannot hold")
	}
	info, err := dir.Root.Lstat(name)
	if err != nil {
		return err
	}
	want, got := time.Unix(0, e.Mtime), info.ModTime()
	if diff := got.Sub(want); info.Mode()&fs.ModeSymlink == 0 && (diff < -2*time.Second || diff > 2*time.Second) {
		return fmt.Errorf("this file system made %s of %s", got.UTC().Format(time.RFC3339), want.UTC().Format(time.RFC3339))
	}
	return nil
}

// hasOwner reports whether the entry says whom the file belonged to: versions that were made on
// Windows, and files that came without metadata, do not.
func hasOwner(e *tree.Entry) bool { return e.UID != 0 || e.GID != 0 || e.User != "" || e.Group != "" }

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

func (w *metaWriter) setOwner(at osfs.Ref, e *tree.Entry, failed *problems) {
	if !w.opt.Owner || !hasOwner(e) {
		return
	}
	uid, gid := w.owner(e)
	if at.File != nil && osfs.IsOwnedBy(at.File, uid, gid) {
		return
	}
	failed.addOwner(w.chown(uid, gid, at.Chown, func() (int, int, error) {
		info, err := at.Dir.Root.Lstat(at.Name)
		if err != nil {
			return 0, 0, err
		}
		m := osfs.MetaOf(info)
		return int(m.UID), int(m.GID), nil
	}))
}

// addOwner is add for an error of chown.
func (p *problems) addOwner(err error) {
	switch {
	case errors.Is(err, ErrOwner):
		*p = append(*p, err)
	default:
		p.add("set the owner", err)
	}
}

// chown gives a file to uid and gid by set, in which -1 changes nothing. A user who may not give
// files away can still give them to a group of the user's own. now returns the owner that the file
// has.
func (w *metaWriter) chown(uid, gid int, set func(uid, gid int) error, now func() (uid, gid int, err error)) error {
	if !w.keeps.Load() {
		err := set(uid, gid)
		if !errors.Is(err, fs.ErrPermission) {
			return err
		}
	}
	hasUID, hasGID, err := now()
	if err != nil {
		return err
	}
	if hasUID != uid {
		w.keeps.Store(true)
	}
	if hasGID != gid && set(-1, gid) == nil {
		hasGID = gid
	}
	if hasUID != uid || hasGID != gid {
		return ErrOwner
	}
	return nil
}

func (w *metaWriter) setMode(at osfs.Ref, e *tree.Entry) error {
	if e.Type == tree.TypeSymlink || e.Type == tree.TypeDir && runtime.GOOS == "windows" {
		return nil // these have no mode
	}
	mode, err := w.safeMode(at, e)
	if err != nil {
		return err
	}
	if err := at.Chmod(mode); err != nil {
		return err
	}
	if mode != e.Mode&0o7777 {
		return errors.New("without the setuid or setgid bit, which is only for its owner and group")
	}
	return nil
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
func (w *metaWriter) setXattrs(at osfs.Ref, e *tree.Entry, failed *problems) {
	if !at.CanHaveXattrs() {
		if len(e.Xattrs) > 0 {
			failed.add("set extended attributes", fmt.Errorf("those of a %v cannot be set on this system", e.Type))
		}
		return
	}
	if at.File != nil && len(e.Xattrs) == 0 && !osfs.MayHaveXattrs(at.File) {
		return
	}
	// Errors of reading are ignored: setting an attribute then reports why.
	old := map[string]string{}
	at.Dir.ReadXattrs(at.Name, func(name string, value []byte) { old[name] = string(value) })
	for _, x := range e.Xattrs {
		value, ok := old[x.Name]
		delete(old, x.Name)
		if ok && value == string(x.Value) {
			continue
		}
		failed.add(fmt.Sprintf("set extended attribute %q", x.Name), at.SetXattr(x.Name, x.Value))
	}
	for name := range old {
		dropXattr(at, name, failed)
	}
}

// dropXattr removes an attribute that the entry does not have: one of a folder that existed
// before, or an ACL inherited from the target folder. Attributes that the system itself puts on
// files, such as security labels, stay.
func dropXattr(at osfs.Ref, name string, failed *problems) {
	if !strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "system.posix_acl_") {
		return
	}
	failed.add(fmt.Sprintf("remove extended attribute %q", name), at.RemoveXattr(name))
}

// writeUnnamed makes a regular file with the given content and the metadata of e, which gets the
// name in d when it is whole. For the many small files of a usual tree it takes fewer system calls
// than creating a file, writing to it, and [metaWriter.set], and on some file systems, ext4 for one,
// renaming every file would take longer than all the rest. made is false, and nothing was done, if e
// has special permissions or attributes, or the file system has no files without a name. d.disk must
// be acquired.
func (w *metaWriter) writeUnnamed(d *Dir, name string, e *tree.Entry, content []byte) (made bool, err error) {
	// What is set by the name, or read by it, needs one.
	if w.named.Load() || !isPlain(e) || !isUsualTime(e.Mtime) || d.inheritsACL() {
		return false, nil
	}
	f, err := osfs.CreateUnnamed(d.disk, w.firstMode(e))
	if err == nil {
		if err = f.Write(content); err == nil {
			w.setNew(d, name, f, e)
			err = f.SetName(d.disk, name)
		}
		// Some file systems report a full disk only here.
		closed := f.Close()
		switch {
		case err == nil && closed != nil:
			return true, errors.Join(closed, osfs.WithoutPath(d.disk.Root.Remove(name)))
		case err == nil:
			return true, d.checkMade(name)
		}
	}
	if errors.Is(err, errors.ErrUnsupported) {
		w.named.Store(true)
		return false, nil
	}
	return true, d.explainName(name, err)
}

// writeNamed is writeUnnamed for a file that has its final metadata, but no final name: it is made
// under a name that nothing has. made is false if e has special permissions or attributes, or if no
// way is faster on this system.
func (w *metaWriter) writeNamed(d *Dir, name string, e *tree.Entry, content []byte) (made bool, err error) {
	if !isPlain(e) {
		return false, nil
	}
	f, err := osfs.CreateFile(d.disk, name, w.firstMode(e))
	if errors.Is(err, errors.ErrUnsupported) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err = f.Write(content); err == nil {
		w.setNew(d, name, f, e)
	}
	// Some file systems report a full disk only here.
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return true, errors.Join(err, d.disk.Remove(name))
	}
	return true, nil
}

// isPlain reports whether an entry has neither special permissions nor attributes.
func isPlain(e *tree.Entry) bool { return e.Mode&^0o777 == 0 && len(e.Xattrs) == 0 }

// firstMode is the mode in which a file is made: its mode from the start, unless its owner is still
// to change.
func (w *metaWriter) firstMode(e *tree.Entry) uint32 {
	if uid, gid := w.newOwner(e); uid != w.euid && !w.keeps.Load() || gid != w.egid {
		return 0o600
	}
	return e.Mode
}

// newOwner returns the owner that a new file of e must have: this user, unless owners are restored.
func (w *metaWriter) newOwner(e *tree.Entry) (uid, gid int) {
	if !w.opt.Owner || !hasOwner(e) {
		return w.euid, w.egid
	}
	return w.owner(e)
}

// setNew is set for a file that was just made with firstMode. It changes only what is not right from the
// start.
func (w *metaWriter) setNew(d *Dir, name string, f osfs.File, e *tree.Entry) {
	var failed problems
	now, err := f.Stat()
	failed.add("look at the new file", err)
	uid, gid := w.newOwner(e)
	if w.opt.Owner && hasOwner(e) && (now.UID != uid || now.GID != gid) {
		failed.addOwner(w.chown(uid, gid, f.Chown, func() (int, int, error) { return now.UID, now.GID, nil }))
	}
	inherits := d.inheritsACL()
	if inherits {
		w.setXattrs(osfs.Ref{Dir: d.disk, Name: name}, e, &failed)
	}
	failed.add("set the time", checkTime(d.disk, name, e, f.SetTimes(d.disk, name, e.Mtime)))
	if inherits || now.Mode != e.Mode {
		failed.add("set the mode", f.Chmod(e.Mode))
	}
	w.report(e, failed)
}
