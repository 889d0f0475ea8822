package osfs

import (
	"errors"
	"io/fs"
	"os"

	"github.com/pkg/xattr"
)

// Located is something in a folder that is to get its metadata.
type Located struct {
	Dir  *Dir     // acquired
	Name string   // in dir; "." for dir itself
	File *os.File // the open file or folder; nil for links, fifos and devices
}

// Chown changes the owner; a symbolic link is not followed.
func (at Located) Chown(uid, gid int) error {
	if at.File != nil {
		return at.File.Chown(uid, gid)
	}
	return at.Dir.Root.Lchown(at.Name, uid, gid)
}

// OwnerError is silent about a refusal by the kernel where a refusal is the
// rule: only root may give files away.
func OwnerError(err error) error {
	if os.Geteuid() != 0 && errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}

// Chmod sets the twelve bits of chmod, in the Unix layout. It is not for symbolic links.
func (at Located) Chmod(mode uint32) error {
	if at.File != nil {
		return at.File.Chmod(goMode(mode))
	}
	return at.Dir.Root.Chmod(at.Name, goMode(mode))
}

// CanHaveXattrs reports whether extended attributes can be reached on this system.
func (at Located) CanHaveXattrs() bool { return at.File != nil || fdPath(at.Dir.Self) != "" }

// SetXattr sets an extended attribute.
func (at Located) SetXattr(name string, value []byte) error {
	if at.File != nil {
		return xattrCause(xattr.FSet(at.File, name, value))
	}
	return xattrCause(xattr.LSet(at.Dir.Path(at.Name), name, value))
}

// RemoveXattr removes an extended attribute.
func (at Located) RemoveXattr(name string) error {
	if at.File != nil {
		return xattrCause(xattr.FRemove(at.File, name))
	}
	return xattrCause(xattr.LRemove(at.Dir.Path(at.Name), name))
}
