package client

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Here a walk makes the calls itself: a file that has not changed costs it one
// call, and packages os and syscall would add two more, and some memory, for
// each. Names are single components below an open folder, and none that is a
// symbolic link is ever followed.

// newWalkFolders is a set for a walk. Its folders have only an fd.
func newWalkFolders() *folders {
	return &folders{limit: 2 * maxOpenFolders, opening: (*folder).openFD}
}

func closeFD(fd int) { unix.Close(fd) }

// openFD opens the folder in its parent, which is acquired.
func (f *folder) openFD() (handle, error) {
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
func (f *folder) verifyFD(fd int) error {
	var st unix.Stat_t
	if err := again(func() error { return unix.Fstat(fd, &st) }); err != nil {
		return err
	}
	want := f.id
	if f.info != nil {
		sys := f.info.Sys().(*syscall.Stat_t)
		want = inode{uint64(sys.Dev), sys.Ino}
	}
	if want != (inode{uint64(st.Dev), st.Ino}) {
		return fmt.Errorf("the folder %w", errReplaced)
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
func (f *folder) pathByFD() string {
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

// list lists the folder, which is acquired and was not listed before, unsorted.
// What was read before an error is returned with it. buf is for this goroutine.
func (f *folder) list(buf []byte) (names []string, err error) {
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

// look sets what looking at it.name in it.dir, which is acquired, tells.
func (it *walkItem) look() error {
	var st unix.Stat_t
	err := again(func() error { return unix.Fstatat(it.dir.fd, it.name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	if err == nil {
		it.id = inode{uint64(st.Dev), st.Ino}
		it.Nlink = it.Entry.setStatT(&st)
	}
	return err
}

// setStatT sets what st tells of a file: all that setStat sets, and the type.
func (e *Entry) setStatT(st *unix.Stat_t) (nlink uint64) {
	e.Type = typeOfMode[st.Mode&unix.S_IFMT>>12]
	e.Mode = st.Mode & 0o7777
	e.UID, e.GID = st.Uid, st.Gid
	e.Mtime = nanoseconds(time.Unix(st.Mtim.Unix()))
	e.Ctime = nanoseconds(time.Unix(st.Ctim.Unix()))
	e.Dev, e.Ino = uint64(st.Dev), st.Ino
	e.Size, e.Rdev = 0, 0
	switch e.Type {
	case TypeFile:
		e.Size = st.Size
	case TypeChar, TypeBlock:
		e.Rdev = uint64(st.Rdev)
	}
	return uint64(st.Nlink)
}

var typeOfMode = [16]EntryType{
	unix.S_IFREG >> 12: TypeFile, unix.S_IFDIR >> 12: TypeDir, unix.S_IFLNK >> 12: TypeSymlink, unix.S_IFIFO >> 12: TypeFifo,
	unix.S_IFCHR >> 12: TypeChar, unix.S_IFBLK >> 12: TypeBlock, unix.S_IFSOCK >> 12: TypeSocket,
}

// identity is what tells whether a file is still the one that was looked at.
type identity struct{ id inode }

// folder is the folder that the item is.
func (it *walkItem) folder() *folder {
	return &folder{set: it.dir.set, parent: it.dir, name: it.name, id: it.id}
}

// isStill reports whether info is about the file that was looked at.
func (it *walkItem) isStill(info os.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && it.id == inode{uint64(st.Dev), st.Ino}
}

// hasNoXattrs reports whether a file certainly has no extended attributes. Most
// have none, and this takes no memory to find out.
func hasNoXattrs(f *os.File) bool {
	n, err := unix.Flistxattr(int(f.Fd()), nil)
	return err == nil && n == 0
}

// readlink reads a symbolic link in the folder, which is acquired.
func (f *folder) readlink(name string) (string, error) {
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
func (f *folder) openFile(name string, flags int) (*os.File, error) {
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
