package client

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"

	"github.com/pkg/xattr"
)

// placed is something in the target that is to get its metadata.
type placed struct {
	dir  *folder  // acquired
	name string   // in dir; "." for dir itself
	file *os.File // the open file or folder; nil for links, fifos and devices
}

// setMeta gives what was placed the metadata of e. What cannot be set is a
// warning: the content is there.
//
// The order matters. A change of owner takes the setuid bits and the
// capabilities away; attributes need a writable file, which the mode may end;
// and the mode may take the right to set times.
func (p *placer) setMeta(t placed, e *Entry) {
	warn := func(what string, err error) { p.warnMeta(e, what, err) }
	if p.opt.Owner {
		warn("set the owner", p.setOwner(t, e))
	}
	p.setXattrs(t, e)
	warn("set the time", setTimes(t.dir, t.name, e.Mtime))
	warn("set the mode", p.setMode(t, e))
}

func (p *placer) warnMeta(e *Entry, what string, err error) {
	if err != nil {
		p.opt.Warn(e.Path, fmt.Errorf("%s: %w", what, bare(err)))
	}
}

// owner is who e belongs to on this machine.
func (p *placer) owner(e *Entry) (uid, gid int) {
	uid, gid = int(e.UID), int(e.GID)
	if p.opt.NumericOwner {
		return uid, gid
	}
	if id := p.ids.user.get(e.User); id >= 0 {
		uid = id
	}
	if id := p.ids.group.get(e.Group); id >= 0 {
		gid = id
	}
	return uid, gid
}

func (p *placer) setOwner(t placed, e *Entry) error {
	uid, gid := p.owner(e)
	switch {
	case t.file == nil:
		return ownerError(t.dir.root.Lchown(t.name, uid, gid))
	case isOwned(t.file, uid, gid):
		return nil
	}
	return ownerError(t.file.Chown(uid, gid))
}

// ownerError is silent about a refusal by the kernel where a refusal is the
// rule: only root may give files away.
func ownerError(err error) error {
	if os.Geteuid() != 0 && errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}

func (p *placer) setMode(t placed, e *Entry) error {
	if e.Type == TypeSymlink || e.Type == TypeDir && runtime.GOOS == "windows" {
		return nil // there is no such thing
	}
	mode, err := p.safeMode(t, e)
	if err != nil {
		return err
	}
	if t.file != nil {
		return t.file.Chmod(goMode(mode))
	}
	return t.dir.root.Chmod(t.name, goMode(mode))
}

// safeMode is the entry's mode without the setuid or setgid bit if the file
// does not belong to whom it belonged: it would lend the rights of somebody who
// never meant to.
func (p *placer) safeMode(t placed, e *Entry) (uint32, error) {
	mode := e.Mode & 0o7777
	if mode&0o6000 == 0 {
		return mode, nil
	}
	info, err := t.dir.root.Lstat(t.name)
	if err != nil {
		return 0, err
	}
	is := metaOf(info)
	uid, gid := p.owner(e)
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
func (p *placer) setXattrs(t placed, e *Entry) {
	if t.file == nil && fdPath(t.dir.self) == "" {
		if len(e.Xattrs) > 0 {
			p.opt.Warn(e.Path, fmt.Errorf("extended attributes of a %v cannot be set on this system", e.Type))
		}
		return
	}
	if t.file != nil && len(e.Xattrs) == 0 && noXattrs(t.file) {
		return
	}
	// Where there are no attributes to be read, setting one tells why.
	old := map[string]string{}
	readXattrs(t.dir.path(t.name), func(name string, value []byte) { old[name] = string(value) })
	for _, x := range e.Xattrs {
		value, ok := old[x.Name]
		delete(old, x.Name)
		if ok && value == string(x.Value) {
			continue
		}
		if err := t.setXattr(x); err != nil {
			p.opt.Warn(e.Path, fmt.Errorf("set extended attribute %q: %w", x.Name, xattrCause(err)))
		}
	}
	for name := range old {
		p.dropXattr(t, e, name)
	}
}

// dropXattr removes an attribute that the entry does not have: of a folder that
// was there before, or an ACL inherited from the target folder. Those that the
// system itself puts on files, such as labels, stay.
func (p *placer) dropXattr(t placed, e *Entry, name string) {
	if !strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "system.posix_acl_") {
		return
	}
	var err error
	if t.file != nil {
		err = xattr.FRemove(t.file, name)
	} else {
		err = xattr.LRemove(t.dir.path(t.name), name)
	}
	if err != nil {
		p.opt.Warn(e.Path, fmt.Errorf("remove extended attribute %q: %w", name, xattrCause(err)))
	}
}

func (t placed) setXattr(x Xattr) error {
	if t.file != nil {
		return xattr.FSet(t.file, x.Name, x.Value)
	}
	return xattr.LSet(t.dir.path(t.name), x.Name, x.Value)
}
