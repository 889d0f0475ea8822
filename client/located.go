package client

import (
	"errors"
	"io/fs"
	"os"

	"github.com/pkg/xattr"
)

// located is something in a folder that is to get its metadata.
type located struct {
	dir  *folder  // acquired
	name string   // in dir; "." for dir itself
	file *os.File // the open file or folder; nil for links, fifos and devices
}

// chown changes the owner; a symbolic link is not followed.
func (at located) chown(uid, gid int) error {
	if at.file != nil {
		return at.file.Chown(uid, gid)
	}
	return at.dir.root.Lchown(at.name, uid, gid)
}

// ownerError is silent about a refusal by the kernel where a refusal is the
// rule: only root may give files away.
func ownerError(err error) error {
	if os.Geteuid() != 0 && errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}

// chmod sets the twelve bits of chmod, in the Unix layout. It is not for symbolic links.
func (at located) chmod(mode uint32) error {
	if at.file != nil {
		return at.file.Chmod(goMode(mode))
	}
	return at.dir.root.Chmod(at.name, goMode(mode))
}

// canHaveXattrs reports whether extended attributes can be reached on this system.
func (at located) canHaveXattrs() bool { return at.file != nil || fdPath(at.dir.self) != "" }

// setXattr sets an extended attribute.
func (at located) setXattr(name string, value []byte) error {
	if at.file != nil {
		return xattrCause(xattr.FSet(at.file, name, value))
	}
	return xattrCause(xattr.LSet(at.dir.path(at.name), name, value))
}

// removeXattr removes an extended attribute.
func (at located) removeXattr(name string) error {
	if at.file != nil {
		return xattrCause(xattr.FRemove(at.file, name))
	}
	return xattrCause(xattr.LRemove(at.dir.path(at.name), name))
}
