package osfs

import "os"

// Ref refers to something in a folder whose metadata is to be set. Its methods do not follow
// a symbolic link, except for Chmod, which is not for links.
type Ref struct {
	Dir  *Dir     // acquired, of a set of [NewDirs]
	Name string   // in Dir; "." for Dir itself
	File *os.File // the open file or folder; nil for links, fifos and devices
}

// Chown changes the owner. A uid or gid of -1 is not changed.
func (r Ref) Chown(uid, gid int) error {
	if r.File != nil {
		return WithoutPath(r.File.Chown(uid, gid))
	}
	return WithoutPath(r.Dir.Root.Lchown(r.Name, uid, gid))
}

// Chmod sets the twelve bits of chmod, in the Unix layout.
func (r Ref) Chmod(mode uint32) error {
	if r.File != nil {
		return r.File.Chmod(goMode(mode))
	}
	return r.Dir.Root.Chmod(r.Name, goMode(mode))
}
