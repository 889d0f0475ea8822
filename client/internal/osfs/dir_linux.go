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

// A walk makes the calls itself: a file that has not changed costs it one
// call, and packages os and syscall would add two more, and some memory, for
// each. Names are single components below an open folder, and none that is a
// symbolic link is ever followed.

// NewWalkFolders is a set for a walk. Its folders have only an fd.
func NewWalkFolders() *Dirs {
	return &Dirs{Limit: 2 * MaxOpenFolders, opening: (*Dir).openFD}
}

func closeFD(fd int) { unix.Close(fd) }

// openFD opens the folder in its parent, which is acquired.
func (f *Dir) openFD() (handle, error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC
	var fd int
	err := again(func() (err error) {
		if f.parent == nil {
			fd, err = unix.Open(f.name, flags, 0)
		} else {
			fd, err = unix.Openat(f.parent.fd, f.name, flags|unix.O_NOFOLLOW, 0)
		}
		return err
	})
	if err != nil {
		return handle{}, err
	}
	h := handle{fd: fd}
	if err := f.verifyFD(fd); err != nil {
		h.close()
		return handle{}, err
	}
	return h, nil
}

// verifyFD is verify for what openFD opened.
func (f *Dir) verifyFD(fd int) error {
	var st unix.Stat_t
	if err := again(func() error { return unix.Fstat(fd, &st) }); err != nil {
		return err
	}
	want := f.id
	if f.info != nil {
		sys := f.info.Sys().(*syscall.Stat_t)
		want = Inode{uint64(sys.Dev), sys.Ino}
	}
	if want != (Inode{uint64(st.Dev), st.Ino}) {
		return fmt.Errorf("the folder %w", ErrReplaced)
	}
	return nil
}

// again repeats a call that a signal has interrupted.
func again(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

// pathByFD is a path of the folder, which is acquired: one that stays right, if
// there is such a thing.
func (f *Dir) pathByFD() string {
	if haveProcFS() {
		return procPath(f.fd)
	}
	path := f.name
	for f.parent != nil {
		f = f.parent
		path = f.name + "/" + path
	}
	return path
}

// List lists the folder, which is acquired and was not listed before, unsorted.
// What was read before an error is returned with it. buf is for this goroutine.
func (f *Dir) List(buf []byte) (names []string, err error) {
	for {
		var n int
		err := again(func() (err error) {
			n, err = unix.ReadDirent(f.fd, buf)
			return err
		})
		if err != nil || n <= 0 {
			return names, err
		}
		names = appendNames(names, buf[:n])
	}
}

// appendNames appends the names in what getdents64 has written: a row of records
// of inode 8, offset 8, length 2, type 1, and the name with a NUL at its end. Some
// file systems give an inode of 0 to files that are there, so it is not looked at.
func appendNames(names []string, records []byte) []string {
	const nameAt = 19
	for len(records) > nameAt {
		length := int(binary.NativeEndian.Uint16(records[16:]))
		if length <= nameAt || length > len(records) {
			return names // not what the kernel writes
		}
		name, _, _ := bytes.Cut(records[nameAt:length], []byte{0})
		if string(name) != "." && string(name) != ".." {
			names = append(names, string(name))
		}
		records = records[length:]
	}
	return names
}

// Look is what looking at a name in the folder, which is acquired, tells.
func (f *Dir) Look(name string) (m Meta, is Identity, err error) {
	var st unix.Stat_t
	err = again(func() error { return unix.Fstatat(f.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	if err != nil {
		return m, is, err
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

// Identity tells whether a file is still the one that was looked at.
type Identity struct{ id Inode }

// Matches reports whether info is about the file that was looked at.
func (is Identity) Matches(info os.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && is.id == Inode{uint64(st.Dev), st.Ino}
}

// Subfolder is the folder of that name in f, as it was when it was looked at.
func (f *Dir) Subfolder(name string, is Identity) *Dir {
	return &Dir{set: f.set, parent: f, name: name, id: is.id}
}

// Readlink reads a symbolic link in the folder, which is acquired.
func (f *Dir) Readlink(name string) (string, error) {
	for size := 256; ; size *= 2 {
		buf := make([]byte, size)
		var n int
		err := again(func() (err error) {
			n, err = unix.Readlinkat(f.fd, name, buf)
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

// openFile opens a file in the folder, which is acquired, for reading.
func (f *Dir) openFile(name string, flags int) (*os.File, error) {
	var fd int
	err := again(func() (err error) {
		fd, err = unix.Openat(f.fd, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}
