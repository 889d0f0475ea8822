package client

import (
	"container/list"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
)

// maxOpenFolders is how many folders a walk or a restore keeps open. Each needs
// two file descriptors, and the smallest usual limit of a process is 1024 (256
// on macOS).
const maxOpenFolders = 48

// errReplaced means that a name does not stand any more for what it stood for
// when it was first looked at.
var errReplaced = errors.New("was replaced by something else meanwhile")

// folders opens folders and keeps the ones used last open, at most limit of
// them and those in use. Everything below a top is reached by single names from
// an open folder, never by a longer path, so that paths of any length work and
// no symbolic link on the way is ever followed.
type folders struct {
	mu    sync.Mutex
	limit int
	open  list.List // of *folder, used last first
}

// folder is one folder of a set. It costs no file descriptor unless it is open,
// and there is nothing to release but by [folder.release]: who holds the last
// reference just forgets it. All methods may be called concurrently.
type folder struct {
	set    *folders
	parent *folder     // nil for a top
	name   string      // in parent; a top's is a path
	info   os.FileInfo // the folder's identity: opened again, it must be the same

	// The rest belongs to set.mu, except that root and self may be read between
	// acquire and release.
	root  *os.Root
	self  *os.File // the same folder, for what os.Root does not offer
	users int
	place *list.Element
}

func newFolders() *folders { return &folders{limit: maxOpenFolders} }

// top is the folder at path; symbolic links in path are followed.
func (s *folders) top(path string) (*folder, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	return &folder{set: s, name: path, info: info}, nil
}

// child is the folder of that name in f. info is what f's root said of it.
func (f *folder) child(name string, info os.FileInfo) *folder {
	return &folder{set: f.set, parent: f, name: name, info: info}
}

// acquire opens the folder if it is not open and keeps it open until release.
func (f *folder) acquire() error {
	if f.take() {
		return nil
	}
	root, err := f.openRoot()
	if err != nil {
		return err
	}
	self, err := root.Open(".")
	if err != nil {
		root.Close()
		return bare(err)
	}
	if err := f.verify(self); err != nil {
		root.Close()
		self.Close()
		return err
	}
	f.keep(root, self)
	return nil
}

// take counts a user in, if the folder is open.
func (f *folder) take() bool {
	f.set.mu.Lock()
	defer f.set.mu.Unlock()
	if f.root == nil {
		return false
	}
	f.users++
	f.set.open.MoveToFront(f.place)
	return true
}

// openRoot opens the folder by its parent, which is opened by its own if it has
// to be.
func (f *folder) openRoot() (*os.Root, error) {
	if f.parent == nil {
		root, err := os.OpenRoot(f.name)
		return root, bare(err)
	}
	if err := f.parent.acquire(); err != nil {
		return nil, err
	}
	defer f.parent.release()
	// The dot makes the name be opened as a folder and as nothing else: opening
	// a fifo that has taken its place would wait for somebody to write to it.
	root, err := f.parent.root.OpenRoot(f.name + "/.")
	return root, bare(err)
}

// verify holds against the folder what was opened under its name.
func (f *folder) verify(self *os.File) error {
	info, err := self.Stat()
	if err != nil {
		return bare(err)
	}
	if !os.SameFile(f.info, info) {
		return fmt.Errorf("the folder %w", errReplaced)
	}
	return nil
}

// keep makes root and self the folder's, with one user, and closes folders that
// are over the limit. Somebody else may have opened the folder at the same time.
func (f *folder) keep(root *os.Root, self *os.File) {
	s := f.set
	s.mu.Lock()
	defer s.mu.Unlock()
	f.users++
	if f.root != nil {
		root.Close()
		self.Close()
		s.open.MoveToFront(f.place)
		return
	}
	f.root, f.self = root, self
	f.place = s.open.PushFront(f)
	s.trim()
}

// release ends what acquire began.
func (f *folder) release() {
	f.set.mu.Lock()
	defer f.set.mu.Unlock()
	f.users--
	f.set.trim()
}

// trim closes the folders used longest ago until the limit is kept or all that
// are left are in use.
func (s *folders) trim() {
	for e := s.open.Back(); e != nil && s.open.Len() > s.limit; {
		f, prev := e.Value.(*folder), e.Prev()
		if f.users == 0 {
			f.root.Close()
			f.self.Close()
			s.open.Remove(e)
			f.root, f.self, f.place = nil, nil, nil
		}
		e = prev
	}
}

// close closes all folders. They can still be used, each use then opens and
// closes what it needs.
func (s *folders) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limit = 0
	s.trim()
}

// names lists the folder, unsorted. What was read before an error is returned
// with it.
func (f *folder) names() ([]string, error) {
	if err := f.acquire(); err != nil {
		return nil, err
	}
	defer f.release()
	// A handle of its own, because reading moves the handle's position.
	d, err := f.root.Open(".")
	if err != nil {
		return nil, bare(err)
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	return names, bare(err)
}

// lstat looks at a name in the folder.
func (f *folder) lstat(name string) (os.FileInfo, error) {
	if err := f.acquire(); err != nil {
		return nil, err
	}
	defer f.release()
	info, err := f.root.Lstat(name)
	return info, bare(err)
}

// path names an entry of the folder for calls that take paths only. The folder
// must be acquired, and the call must not follow a symbolic link at the end.
func (f *folder) path(name string) string {
	if prefix := fdPath(f.self); prefix != "" {
		return prefix + "/" + name
	}
	return filepath.Join(f.root.Name(), name)
}

// bare takes the operation and the path off an error of package os: the names
// in them are relative to some open folder and tell a person nothing. Callers
// put the entry's path in their place.
func bare(err error) error {
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
