package osfs

import (
	"container/list"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// MaxOpenFolders is how many folders a walk or a restore keeps open. Each needs
// up to two file descriptors, and the smallest usual limit of a process is 1024
// (256 on macOS).
const MaxOpenFolders = 48

// ErrReplaced means that a name does not stand any more for what it stood for
// when it was first looked at.
var ErrReplaced = errors.New("was replaced by something else meanwhile")

// Dirs opens folders and keeps the ones used last open, at most limit of
// them and those in use. Everything below a top is reached by single names from
// an open folder, never by a longer path, so that paths of any length work and
// no symbolic link on the way is ever followed.
type Dirs struct {
	// opening opens a folder by its parent, whatever else is open.
	opening func(*Dir) (handle, error)

	mu    sync.Mutex
	Limit int
	Open  list.List // of *folder, used last first
}

// handle is an open folder.
type handle struct {
	Root *os.Root
	Self *os.File // the same folder, for what os.Root does not offer
	fd   int      // instead of both, in a set of [NewWalkFolders] that knows how
}

func (h handle) close() {
	if h.Root == nil {
		closeFD(h.fd)
		return
	}
	h.Root.Close()
	h.Self.Close()
}

// Dir is one folder of a set. It costs no file descriptor unless it is open,
// and there is nothing to release but by [folder.release]: who holds the last
// reference just forgets it. All methods may be called concurrently.
type Dir struct {
	set    *Dirs
	parent *Dir   // nil for a top
	name   string // in parent; a top's is a path
	// The folder's identity: opened again, it must be the same. Where there is
	// no info, id has it.
	info os.FileInfo
	id   Inode

	// The rest belongs to set.mu, except that the handle may be used between
	// acquire and release.
	handle
	users int
	place *list.Element // nil if the folder is not open
}

func NewDirs() *Dirs { return &Dirs{Limit: MaxOpenFolders, opening: (*Dir).openRoot} }

// Top is the folder at path; symbolic links in path are followed.
func (s *Dirs) Top(path string) (*Dir, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	return &Dir{set: s, name: path, info: info}, nil
}

// Child is the folder of that name in f. info is what f's root said of it.
func (f *Dir) Child(name string, info os.FileInfo) *Dir {
	return &Dir{set: f.set, parent: f, name: name, info: info}
}

// Acquire opens the folder if it is not open and keeps it open until release.
func (f *Dir) Acquire() error {
	if f.take() {
		return nil
	}
	if f.parent != nil {
		if err := f.parent.Acquire(); err != nil {
			return err
		}
		defer f.parent.Release()
	}
	h, err := f.set.opening(f)
	if err != nil {
		return err
	}
	f.keep(h)
	return nil
}

// take counts a user in, if the folder is open.
func (f *Dir) take() bool {
	f.set.mu.Lock()
	defer f.set.mu.Unlock()
	if f.place == nil {
		return false
	}
	f.users++
	f.set.Open.MoveToFront(f.place)
	return true
}

// openRoot opens the folder in its parent, which is acquired.
func (f *Dir) openRoot() (handle, error) {
	var root *os.Root
	var err error
	if f.parent == nil {
		root, err = os.OpenRoot(f.name)
	} else {
		// The dot makes the name be opened as a folder and as nothing else:
		// opening a fifo that has taken its place would wait for somebody to
		// write to it.
		root, err = f.parent.Root.OpenRoot(f.name + "/.")
	}
	if err != nil {
		return handle{}, Bare(err)
	}
	self, err := root.Open(".")
	if err != nil {
		root.Close()
		return handle{}, Bare(err)
	}
	h := handle{Root: root, Self: self}
	if err := f.verify(self); err != nil {
		h.close()
		return handle{}, err
	}
	return h, nil
}

// verify holds against the folder what was opened under its name.
func (f *Dir) verify(self *os.File) error {
	info, err := self.Stat()
	if err != nil {
		return Bare(err)
	}
	if !os.SameFile(f.info, info) {
		return fmt.Errorf("the folder %w", ErrReplaced)
	}
	return nil
}

// keep makes h the folder's, with one user, and closes folders that are over the
// limit. Somebody else may have opened the folder at the same time.
func (f *Dir) keep(h handle) {
	s := f.set
	s.mu.Lock()
	defer s.mu.Unlock()
	f.users++
	if f.place != nil {
		h.close()
		s.Open.MoveToFront(f.place)
		return
	}
	f.handle = h
	f.place = s.Open.PushFront(f)
	s.trim()
}

// Release ends what acquire began.
func (f *Dir) Release() {
	f.set.mu.Lock()
	defer f.set.mu.Unlock()
	f.users--
	f.set.trim()
}

// trim closes the folders used longest ago until the limit is kept or all that
// are left are in use.
func (s *Dirs) trim() {
	for e := s.Open.Back(); e != nil && s.Open.Len() > s.Limit; {
		f, prev := e.Value.(*Dir), e.Prev()
		if f.users == 0 {
			f.handle.close()
			s.Open.Remove(e)
			f.handle, f.place = handle{}, nil
		}
		e = prev
	}
}

// Close closes all folders. They can still be used, each use then opens and
// closes what it needs.
func (s *Dirs) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Limit = 0
	s.trim()
}

// Names lists the folder, unsorted. What was read before an error is returned
// with it.
func (f *Dir) Names() ([]string, error) {
	if err := f.Acquire(); err != nil {
		return nil, err
	}
	defer f.Release()
	// A handle of its own, because reading moves the handle's position.
	d, err := f.Root.Open(".")
	if err != nil {
		return nil, Bare(err)
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	return names, Bare(err)
}

// Lstat looks at a name in the folder.
func (f *Dir) Lstat(name string) (os.FileInfo, error) {
	if err := f.Acquire(); err != nil {
		return nil, err
	}
	defer f.Release()
	info, err := f.Root.Lstat(name)
	return info, Bare(err)
}

// Step is the folder name in f. What is no folder, a symbolic link above all,
// is refused; path is for the message.
func (f *Dir) Step(name, path string) (*Dir, error) {
	info, err := f.Lstat(name)
	switch {
	case err != nil:
		return nil, fmt.Errorf("open the folder %q: %w", path, err)
	case info.Mode()&os.ModeSymlink != 0:
		return nil, fmt.Errorf("%q is a symbolic link, and nothing is restored through one", path)
	case !info.IsDir():
		return nil, fmt.Errorf("%q is not a folder", path)
	}
	return f.Child(name, info), nil
}

// Rename gives what was made under the name used the name name, which may be the same.
func (f *Dir) Rename(used, name string) error {
	if used == name {
		return nil
	}
	err := f.Root.Rename(used, name)
	// Renaming one name of a file to another of the same file does nothing.
	if rmErr := f.Root.Remove(used); err == nil && rmErr != nil && !errors.Is(rmErr, fs.ErrNotExist) {
		err = rmErr
	}
	return Bare(err)
}

// ReadAt reads from a regular file in the folder, all of b.
func (f *Dir) ReadAt(name string, b []byte, off int64) error {
	if err := f.Acquire(); err != nil {
		return err
	}
	defer f.Release()
	file, err := f.Root.OpenFile(name, openFlags|noAtime, 0)
	if err != nil {
		return Bare(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return Bare(err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%q %w", name, ErrReplaced)
	}
	_, err = file.ReadAt(b, off)
	return Bare(err)
}

// Path names an entry of the folder for calls that take paths only. The folder
// must be acquired, and the call must not follow a symbolic link at the end.
func (f *Dir) Path(name string) string {
	if f.Root == nil {
		return f.pathByFD() + "/" + name
	}
	if prefix := fdPath(f.Self); prefix != "" {
		return prefix + "/" + name
	}
	return filepath.Join(f.Root.Name(), name)
}

// Bare takes the operation and the path off an error of package os: the names
// in them are relative to some open folder and tell a person nothing. Callers
// put the entry's path in their place.
func Bare(err error) error {
	switch e := err.(type) {
	case *fs.PathError:
		return e.Err
	case *os.LinkError:
		return e.Err
	case *os.SyscallError:
		return e.Err
	}
	return err
}
