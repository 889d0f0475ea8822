package treetest

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// setLinkTime sets the time of a symbolic link itself.
func setLinkTime(root *os.Root, dir, name string, t time.Time) error {
	d, err := root.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	ts := unix.NsecToTimespec(t.UnixNano())
	return unix.UtimesNanoAt(int(d.Fd()), name, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
}

// special makes fifos, a socket and, as root, devices.
func (g *generator) special() {
	g.mkdir("special", 0o755)
	g.node("fifo", unix.S_IFIFO|0o640, 0)
	g.node("socket", unix.S_IFSOCK|0o600, 0)
	if isRoot() {
		g.node("null", unix.S_IFCHR|0o666, unix.Mkdev(1, 3))
		g.node("minor", unix.S_IFCHR|0o600, unix.Mkdev(240, 70000))
		g.node("block", unix.S_IFBLK|0o660, unix.Mkdev(7, 77))
	}
}

func (g *generator) node(name string, mode uint32, dev uint64) {
	if g.err != nil {
		return
	}
	path := filepath.Join(g.dir, "special", name)
	err := unix.Mknod(path, mode, int(dev))
	if errors.Is(err, unix.EPERM) && dev != 0 {
		return // root of a container that may not make devices
	}
	g.check(err)
	g.touch(g.root, "special/"+name)
}

// attributes makes extended attributes and ACLs, on files, folders and links.
func (g *generator) attributes() {
	g.mkdir("xattrs", 0o755)
	g.mkdir("xattrs/folder", 0o755)
	for _, name := range []string{"file", "many", "acl", "capable"} {
		g.write("xattrs/"+name, []byte(name))
	}
	g.attr("file", "user.empty", nil)
	g.attr("file", "user.bytes", []byte("\x00\xff\n"))
	g.attr("file", "user.large", g.random(1500))
	g.attr("folder", "user.of a folder", []byte("x"))
	for i := range 30 {
		g.attr("many", "user."+string(rune('a'+i)), g.random(i))
	}
	g.attr("acl", "system.posix_acl_access", acl())
	g.attr("folder", "system.posix_acl_default", acl())
	if !isRoot() {
		return
	}
	g.attr("file", "trusted.x", []byte("y"))
	g.check(g.symlink("xattrs/link", "file"))
	g.attr("link", "trusted.of-a-link", []byte("z"))
	// Version 2, effective, CAP_NET_BIND_SERVICE permitted.
	g.attr("capable", "security.capability", binary.LittleEndian.AppendUint32(nil, 0x02000001), []byte{0, 4, 0, 0}, make([]byte, 12))
}

func (g *generator) symlink(name, target string) error {
	if g.err != nil {
		return nil
	}
	if err := g.root.Symlink(target, name); err != nil {
		return err
	}
	return setLinkTime(g.root, filepath.Dir(name), filepath.Base(name), time.Unix(99, 99))
}

// attr sets an attribute of a file in the folder xattrs to the concatenated parts.
func (g *generator) attr(file, name string, parts ...[]byte) {
	if g.err != nil {
		return
	}
	var value []byte
	for _, p := range parts {
		value = append(value, p...)
	}
	err := unix.Lsetxattr(filepath.Join(g.dir, "xattrs", file), name, value, 0)
	if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EPERM) && isRoot() {
		return // the file system has no attributes or no space for them, or root is confined
	}
	g.check(err)
}

// acl returns an ACL as the kernel stores it: rw for the owner, r for user 12345 and for the group,
// and nothing for others.
func acl() []byte {
	b := binary.LittleEndian.AppendUint32(nil, 2) // version
	for _, e := range []struct {
		tag, perm uint16
		id        uint32
	}{{0x01, 6, ^uint32(0)}, {0x02, 4, 12345}, {0x04, 4, ^uint32(0)}, {0x10, 4, ^uint32(0)}, {0x20, 0, ^uint32(0)}} {
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.perm)
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return b
}
