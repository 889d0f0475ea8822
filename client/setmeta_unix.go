//go:build linux || darwin

package client

import (
	"bytes"
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// setTimes sets the modification time, in nanoseconds since 1970, of a name
// that is not followed if it is a symbolic link. The access time is not kept in
// versions and becomes the same. dir must be acquired.
func setTimes(dir *folder, name string, mtime int64) error {
	t := unix.NsecToTimespec(mtime)
	return unix.UtimesNanoAt(int(dir.self.Fd()), name, []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW)
}

// linkBetween makes newName in to another name of oldName in from. Both folders
// must be acquired.
func linkBetween(from *folder, oldName string, to *folder, newName string) error {
	return unix.Linkat(int(from.self.Fd()), oldName, int(to.self.Fd()), newName, 0)
}

// writeNew makes a regular file with this content and the metadata of e. For the many
// small files of a usual tree it takes fewer calls of the system than making a file,
// writing to it, and [metaWriter.set]. made is false, and nothing was done, if something
// has its name, or if e has special permissions or attributes. dir must be acquired.
func (w *metaWriter) writeNew(dir *folder, name string, e *Entry, content []byte) (made bool, err error) {
	if e.Mode&^0o777 != 0 || len(e.Xattrs) > 0 {
		return false, nil
	}
	at := int(dir.self.Fd())
	uid, gid := w.newOwner(e)
	// It has its mode from the start, unless it is still to be given away.
	mode := e.Mode
	if uid != os.Geteuid() || gid != os.Getegid() {
		mode = 0o600
	}
	fd, err := uninterrupted(func() (int, error) {
		return unix.Openat(at, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
	})
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err = writeAll(fd, content); err == nil {
		w.setNew(dir, name, fd, e)
	}
	// Some file systems tell only now that the disk is full.
	if closed := unix.Close(fd); err == nil && closed != unix.EINTR {
		err = closed
	}
	if err != nil {
		return true, errors.Join(err, unix.Unlinkat(at, name, 0))
	}
	return true, nil
}

// newOwner is who a file of e is to belong to when it is made: who makes it,
// unless owners are restored.
func (w *metaWriter) newOwner(e *Entry) (uid, gid int) {
	if !w.opt.Owner {
		return os.Geteuid(), os.Getegid()
	}
	return w.owner(e)
}

// setNew is set for what writeNew has made: it changes only what is not
// right from the start.
func (w *metaWriter) setNew(dir *folder, name string, fd int, e *Entry) {
	warn := func(what string, err error) { w.warn(e, what, err) }
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		warn("look at what was made", err)
	}
	uid, gid := w.newOwner(e)
	if w.opt.Owner && (int(st.Uid) != uid || int(st.Gid) != gid) {
		warn("set the owner", ownerError(unix.Fchown(fd, uid, gid)))
	}
	inherited := mayDrop(fd)
	if inherited {
		w.setXattrs(located{dir: dir, name: name}, e)
	}
	warn("set the time", setTimes(dir, name, e.Mtime))
	if inherited || uint32(st.Mode)&0o7777 != e.Mode {
		warn("set the mode", unix.Fchmod(fd, e.Mode))
	}
}

// mayDrop reports whether an open file may have attributes that [metaWriter.dropXattr]
// removes.
func mayDrop(fd int) bool {
	var names [512]byte
	n, err := unix.Flistxattr(fd, names[:])
	if err != nil {
		return errors.Is(err, unix.ERANGE)
	}
	return bytes.Contains(names[:n], []byte("user.")) || bytes.Contains(names[:n], []byte("system.posix_acl_"))
}

// noXattrs reports whether an open file is known to have no attributes of the
// kinds that are restored.
func noXattrs(f *os.File) bool { return !mayDrop(int(f.Fd())) }

// isOwned reports whether an open file belongs to uid and gid already.
func isOwned(f *os.File, uid, gid int) bool {
	var st unix.Stat_t
	return unix.Fstat(int(f.Fd()), &st) == nil && int(st.Uid) == uid && int(st.Gid) == gid
}

func writeAll(fd int, b []byte) error {
	for len(b) > 0 {
		n, err := uninterrupted(func() (int, error) { return unix.Write(fd, b) })
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// uninterrupted repeats a call that a signal has interrupted.
func uninterrupted(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if err != unix.EINTR {
			return n, err
		}
	}
}
