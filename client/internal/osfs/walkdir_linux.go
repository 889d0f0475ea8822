package osfs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The calls here go straight to the kernel: an unchanged file costs a walk one call, and
// packages os and syscall would add two calls and some memory for each file. Names are
// single components below an open folder, and no symbolic link is ever followed.

// NewWalkDirs returns an empty set for a walk. Its folders have no Root and no Self, only
// one descriptor each, so twice as many may be open.
func NewWalkDirs() *Dirs {
	return &Dirs{limit: 2 * maxOpenDirs, openDir: (*Dir).openFD}
}

func closeFD(fd int) { unix.Close(fd) }

// openFD opens the folder in its acquired parent, as a descriptor.
func (d *Dir) openFD() (handle, error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC
	var fd int
	err := retryInterrupted(func() (err error) {
		if d.parent == nil {
			fd, err = unix.Open(d.name, flags, 0)
		} else {
			fd, err = unix.Openat(d.parent.fd, d.name, flags|unix.O_NOFOLLOW, 0)
		}
		return err
	})
	if err != nil {
		return handle{}, err
	}
	h := handle{fd: fd}
	if err := d.verifyFD(fd); err != nil {
		h.close()
		return handle{}, err
	}
	return h, nil
}

// verifyFD is verify for a descriptor.
func (d *Dir) verifyFD(fd int) error {
	var st unix.Stat_t
	if err := retryInterrupted(func() error { return unix.Fstat(fd, &st) }); err != nil {
		return err
	}
	if d.id.inode != (Inode{uint64(st.Dev), st.Ino}) {
		return fmt.Errorf("the folder %w", ErrReplaced)
	}
	return nil
}

// retryInterrupted repeats a call that a signal has interrupted.
func retryInterrupted(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

// pathByFD returns a path of the acquired folder: where /proc is mounted, one that stays
// right even if the folder is moved.
func (d *Dir) pathByFD() string {
	if haveProcFS() {
		return procPath(d.fd)
	}
	path := d.name
	for d.parent != nil {
		d = d.parent
		path = d.name + "/" + path
	}
	return path
}

// List lists the acquired folder, unsorted. It can be called once between opening and
// closing the folder. The names read before an error are returned with it. buf is scratch
// space.
func (d *Dir) List(buf []byte) (names []string, err error) {
	for {
		var n int
		err := retryInterrupted(func() (err error) {
			n, err = unix.ReadDirent(d.fd, buf)
			return err
		})
		if err != nil || n <= 0 {
			return names, err
		}
		names = appendNames(names, buf[:n])
	}
}

// appendNames appends the names in the records that getdents64 has written. A record is
// an inode of 8 bytes, an offset of 8, the record's length in 2, a type in 1, and the name,
// ended by a NUL (see getdents(2)). Some file systems give existing files the inode 0, so
// the inode is ignored.
func appendNames(names []string, records []byte) []string {
	const nameAt = 19
	for len(records) > nameAt {
		length := int(binary.NativeEndian.Uint16(records[16:]))
		if length <= nameAt || length > len(records) {
			return names // the kernel does not write such a record
		}
		name, _, _ := bytes.Cut(records[nameAt:length], []byte{0})
		if string(name) != "." && string(name) != ".." {
			names = append(names, string(name))
		}
		records = records[length:]
	}
	return names
}

// LstatMeta looks at a name in the acquired folder.
func (d *Dir) LstatMeta(name string) (m Meta, id Identity, err error) {
	var st unix.Stat_t
	err = retryInterrupted(func() error { return unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	if err != nil {
		return m, id, err
	}
	m = Meta{
		Mode: st.Mode, UID: st.Uid, GID: st.Gid,
		Mtime: nanoseconds(time.Unix(st.Mtim.Unix())), Ctime: nanoseconds(time.Unix(st.Ctim.Unix())),
		Dev: uint64(st.Dev), Ino: st.Ino, Nlink: uint64(st.Nlink),
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		m.Size = st.Size
	case unix.S_IFCHR, unix.S_IFBLK:
		m.Rdev = uint64(st.Rdev)
	}
	return m, Identity{Inode{m.Dev, m.Ino}}, nil
}

// Identity tells whether a name still stands for the file that was looked at.
type Identity struct{ inode Inode }

// IdentityOf returns the identity of the file that info describes. info comes from package os
// or from [Stat].
func IdentityOf(info os.FileInfo) Identity {
	st := info.Sys().(*syscall.Stat_t)
	return Identity{Inode{uint64(st.Dev), st.Ino}}
}

// Matches reports whether info describes the file with this identity.
func (id Identity) Matches(info os.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && id.inode == Inode{uint64(st.Dev), st.Ino}
}

// Equal reports whether both are the identity of one file.
func (id Identity) Equal(o Identity) bool { return id == o }

// Readlink reads a symbolic link in the acquired folder.
func (d *Dir) Readlink(name string) (string, error) {
	for size := 256; ; size *= 2 {
		buf := make([]byte, size)
		var n int
		err := retryInterrupted(func() (err error) {
			n, err = unix.Readlinkat(d.fd, name, buf)
			return err
		})
		if err != nil {
			return "", err
		}
		if n < size {
			return string(buf[:n]), nil
		}
	}
}

// openFile opens a file in the acquired folder for reading.
func (d *Dir) openFile(name string, flags int) (*os.File, error) {
	var fd int
	err := retryInterrupted(func() (err error) {
		fd, err = unix.Openat(d.fd, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// Kind returns the kind of the acquired folder's file system.
func (d *Dir) Kind() Kind { return d.set.kinds.get(d.id.inode.Dev, d.fd) }

// IsPseudo reports whether a name in the acquired folder is a mount point of a pseudo file system.
// id is what LstatMeta has returned for it.
func (d *Dir) IsPseudo(name string, id Identity) bool {
	if id.inode.Dev == d.id.inode.Dev {
		return false
	}
	var fd int
	err := retryInterrupted(func() (err error) {
		fd, err = unix.Openat(d.fd, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return false // opening the folder will tell
	}
	defer closeFD(fd)
	return d.set.kinds.get(id.inode.Dev, fd) == Pseudo
}
