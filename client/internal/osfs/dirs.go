package osfs

import (
	"container/list"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
)

// maxOpenDirs is how many folders a set of [NewDirs] keeps open. Each needs two file
// descriptors, and the smallest usual limit of a process is 1024 (256 on macOS).
const maxOpenDirs = 48

// ErrReplaced means that a name no longer stands for what it stood for when it was first
// looked at.
var ErrReplaced = errors.New("was replaced by something else meanwhile")

// Dirs is a set of folders. It opens them when they are acquired and keeps the most
// recently used ones open: at most limit folders, or more while more are in use.
type Dirs struct {
	// openDir opens a folder in its acquired parent, however many others are open.
	openDir func(*Dir) (handle, error)
	kinds   kinds

	mu    sync.Mutex
	limit int
	open  list.List // of *Dir, the most recently used first
}

// NewDirs returns an empty set.
func NewDirs() *Dirs { return &Dirs{limit: maxOpenDirs, openDir: (*Dir).openRoot} }

// Top returns the folder at path. Symbolic links in path are followed.
func (s *Dirs) Top(path string) (*Dir, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	return &Dir{set: s, name: path, id: IdentityOf(info)}, nil
}

// Close closes all folders that are not in use. They can still be used; each use then opens
// and closes what it needs.
func (s *Dirs) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limit = 0
	s.trim()
}

// trim closes the least recently used folders until the limit is kept or all folders that
// are open are in use. The caller holds s.mu.
func (s *Dirs) trim() {
	for e := s.open.Back(); e != nil && s.open.Len() > s.limit; {
		d, prev := e.Value.(*Dir), e.Prev()
		if d.users == 0 {
			d.handle.close()
			s.open.Remove(e)
			d.handle, d.element = handle{}, nil
		}
		e = prev
	}
}

// handle is an open folder: either Root and Self, or fd alone (see [NewWalkDirs]).
type handle struct {
	Root *os.Root
	Self *os.File // the same folder, for what os.Root does not offer
	fd   int
}

func (h handle) close() {
	if h.Root == nil {
		closeFD(h.fd)
		return
	}
	h.Root.Close()
	h.Self.Close()
}

// Dir is one folder of a set. It costs no file descriptor unless it is open. A Dir itself
// needs no closing; only Acquire needs a Release. All methods may be called concurrently.
//
// Which methods and fields may be used depends on the set that the folder is from:
//
//	both                Child, Acquire, Release, Path, ReadXattrs
//	NewDirs only        Names, Lstat, Subdir, Rename, Remove, ReadAt; Root and Self while acquired
//	NewWalkDirs only    List, LstatMeta, Readlink, OpenNoAtime, FileKind, Kind, IsPseudo
type Dir struct {
	set    *Dirs
	parent *Dir     // nil for a top
	name   string   // in parent; a path for a top
	id     Identity // the folder must have it whenever it is opened

	// The fields below are guarded by set.mu, except that the handle may be used between
	// Acquire and Release.
	handle
	users   int
	element *list.Element // in set.open; nil if the folder is not open
}

// Child returns the folder of that name in d. It must have the given identity when it is
// opened. Nothing is opened yet.
func (d *Dir) Child(name string, id Identity) *Dir {
	return &Dir{set: d.set, parent: d, name: name, id: id}
}

// Acquire opens the folder if it is not open, and keeps it open until Release.
func (d *Dir) Acquire() error {
	if d.acquireOpen() {
		return nil
	}
	if d.parent != nil {
		if err := d.parent.Acquire(); err != nil {
			return err
		}
		defer d.parent.Release()
	}
	h, err := d.set.openDir(d)
	if err != nil {
		return err
	}
	d.install(h)
	return nil
}

// acquireOpen adds a user if the folder is open, and reports whether it is.
func (d *Dir) acquireOpen() bool {
	d.set.mu.Lock()
	defer d.set.mu.Unlock()
	if d.element == nil {
		return false
	}
	d.users++
	d.set.open.MoveToFront(d.element)
	return true
}

// install gives the folder its handle and one user, and closes folders beyond the limit.
// If another goroutine has opened the folder at the same time, h is closed instead.
func (d *Dir) install(h handle) {
	s := d.set
	s.mu.Lock()
	defer s.mu.Unlock()
	d.users++
	if d.element != nil {
		h.close()
		s.open.MoveToFront(d.element)
		return
	}
	d.handle = h
	d.element = s.open.PushFront(d)
	s.trim()
}

// Release ends the use that Acquire began.
func (d *Dir) Release() {
	d.set.mu.Lock()
	defer d.set.mu.Unlock()
	d.users--
	d.set.trim()
}

// openRoot opens the folder in its acquired parent, by package os.
func (d *Dir) openRoot() (handle, error) {
	var root *os.Root
	var err error
	if d.parent == nil {
		root, err = os.OpenRoot(d.name)
	} else {
		// The dot makes sure that the name is opened as a folder and as nothing else:
		// opening a fifo that has replaced the folder would wait for a writer.
		root, err = d.parent.Root.OpenRoot(d.name + "/.")
	}
	if err != nil {
		return handle{}, WithoutPath(err)
	}
	self, err := root.Open(".")
	if err != nil {
		root.Close()
		return handle{}, WithoutPath(err)
	}
	h := handle{Root: root, Self: self}
	if err := d.verify(self); err != nil {
		h.close()
		return handle{}, err
	}
	return h, nil
}

// verify checks that self, which was opened under the folder's name, is the folder.
func (d *Dir) verify(self *os.File) error {
	info, err := self.Stat()
	if err != nil {
		return WithoutPath(err)
	}
	if !d.id.Matches(info) {
		return fmt.Errorf("the folder %w", ErrReplaced)
	}
	return nil
}

// WithoutPath takes the operation and the path off an error of package os. The names in
// them are relative to some open folder and mean nothing to a person; callers add the
// entry's path instead.
func WithoutPath(err error) error {
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
