package target

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"servidor-backup/client/internal/osfs"
	"servidor-backup/client/internal/tree"
	"sync"
	"sync/atomic"
)

// File is a regular file that is being restored. What is never written
// stays a hole. Writes may be concurrent; finish or abort ends it.
type File struct {
	t     *Target
	entry *tree.Entry
	dir   *Dir
	name  string // that it is to have
	used  string // that it has until it is finished
	f     *os.File

	turn    sync.Mutex   // of writers: the kernel would have the others spin
	waiting int64        // bytes written since the disk was told to begin; under turn
	last    atomic.Int64 // where what was written ends

	links []pendingLink // under Target.mu
}

// Create makes an empty file for e. A file that it is to replace stays until
// finish.
func (t *Target) Create(e *tree.Entry) (*File, error) {
	pf, err := t.createFile(e)
	return pf, restoreError(e, err)
}

func (t *Target) createFile(e *tree.Entry) (*File, error) {
	if err := checkTarget(e.Path); err != nil {
		return nil, err
	}
	d, name, err := t.enter(e.Path)
	if err != nil {
		return nil, err
	}
	pf := &File{t: t, entry: e, dir: d, name: name}
	if err := pf.make(); err != nil {
		d.Unhold()
		return nil, err
	}
	t.mu.Lock()
	t.writing[e.Path] = pf
	t.mu.Unlock()
	return pf, nil
}

// PutFile places a regular file whose content is at hand. For the many small files
// of a usual tree it takes fewer calls of the system than [Target.create], and
// no memory of what is being written.
func (t *Target) PutFile(e *tree.Entry, content []byte) error {
	if made, err := t.putNewFile(e, content); made || err != nil {
		return restoreError(e, err)
	}
	f, err := t.Create(e)
	if err != nil {
		return err
	}
	if len(content) > 0 {
		if _, err := f.WriteAt(content, 0); err != nil {
			return errors.Join(err, f.Abort())
		}
	}
	return f.Finish()
}

// putNewFile is putFile for a file that is not there yet and has nothing special;
// for others made is false.
func (t *Target) putNewFile(e *tree.Entry, content []byte) (made bool, err error) {
	if int64(len(content)) != e.Size {
		return false, nil
	}
	if err := checkTarget(e.Path); err != nil {
		return false, err
	}
	d, name, err := t.enter(e.Path)
	if err != nil {
		return false, err
	}
	defer d.Unhold()
	if err := d.Acquire(); err != nil {
		return false, err
	}
	defer d.Release()
	return t.meta.writeNew(d.Dir, name, e, content)
}

// make opens the file under its name or a temporary one.
func (pf *File) make() error {
	if err := pf.dir.Acquire(); err != nil {
		return err
	}
	defer pf.dir.Release()
	var err error
	pf.used, err = pf.t.makeName(pf.dir, pf.name, func(d *osfs.Dir, name string) (err error) {
		pf.f, err = d.Root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		return osfs.WithoutPath(err)
	})
	return err
}

// WriteAt writes b at off, in bytes from the file's start. Bytes beyond the
// entry's size are refused.
func (pf *File) WriteAt(b []byte, off int64) (int, error) {
	if off < 0 || int64(len(b)) > pf.entry.Size-off {
		return 0, fmt.Errorf("restore %q: %d bytes at %d do not fit its size of %d", pf.entry.Path, len(b), off, pf.entry.Size)
	}
	n, err := pf.write(b, off)
	if err != nil {
		return n, fmt.Errorf("restore %q: write: %w", pf.entry.Path, osfs.WithoutPath(err))
	}
	end := off + int64(n)
	for last := pf.last.Load(); end > last && !pf.last.CompareAndSwap(last, end); last = pf.last.Load() {
	}
	return n, nil
}

// writebackBytes is after how many bytes the disk is told to begin: few enough that
// it is never idle, many enough for it to write in long runs.
const writebackBytes = 8 << 20

func (pf *File) write(b []byte, off int64) (int, error) {
	pf.turn.Lock()
	n, err := pf.f.WriteAt(b, off)
	pf.waiting += int64(n)
	begin := pf.waiting >= writebackBytes
	if begin {
		pf.waiting = 0
	}
	pf.turn.Unlock()
	if begin {
		osfs.StartWriteback(pf.f)
	}
	return n, err
}

// Finish gives the file its size, metadata and name, then makes its further
// names. If it fails for the file itself, the file is removed.
func (pf *File) Finish() error {
	if err := pf.complete(); err != nil {
		return errors.Join(fmt.Errorf("restore %q: %w", pf.entry.Path, err), pf.Abort())
	}
	return pf.end()
}

func (pf *File) complete() error {
	if err := pf.dir.Acquire(); err != nil {
		return err
	}
	defer pf.dir.Release()
	if pf.last.Load() < pf.entry.Size { // it ends with a hole
		if err := pf.f.Truncate(pf.entry.Size); err != nil {
			return osfs.WithoutPath(err)
		}
	}
	pf.t.meta.set(pf.dir.Dir, pf.used, pf.f, pf.entry)
	// Some file systems tell only now that the disk is full.
	if err := pf.f.Close(); err != nil {
		return osfs.WithoutPath(err)
	}
	return pf.dir.Rename(pf.used, pf.name)
}

// Abort removes the file; one that it was to replace stays. The error is about
// what could not be cleaned up, and about further names of the file, which are
// lost with it.
func (pf *File) Abort() error {
	pf.f.Close() // what it says does not matter any more
	err := pf.remove()
	for _, l := range pf.unlist() {
		l.dir.Unhold()
		err = errors.Join(err, fmt.Errorf("restore %q: it is another name of %q, which was not restored", l.entry.Path, pf.entry.Path))
	}
	return err
}

func (pf *File) remove() error {
	if err := pf.dir.Acquire(); err != nil {
		return fmt.Errorf("remove the unfinished %q: %w", pf.entry.Path, err)
	}
	defer pf.dir.Release()
	if err := pf.dir.Root.Remove(pf.used); err != nil {
		return fmt.Errorf("remove the unfinished %q: %w", pf.entry.Path, osfs.WithoutPath(err))
	}
	return nil
}

// end makes the names that waited for the file.
func (pf *File) end() error {
	var failed error
	for _, l := range pf.unlist() {
		if err := pf.t.makeLink(l); err != nil {
			failed = errors.Join(failed, fmt.Errorf("restore %q: %w", l.entry.Path, err))
		}
	}
	return failed
}

// unlist makes the file count as finished in its folder and returns what waited
// for it.
func (pf *File) unlist() []pendingLink {
	pf.t.mu.Lock()
	delete(pf.t.writing, pf.entry.Path)
	links := pf.links
	pf.t.mu.Unlock()
	pf.dir.Unhold()
	return links
}

// pendingLink is a further name of a file that is still being written.
type pendingLink struct {
	entry *tree.Entry
	dir   *Dir
	name  string
}

// Link makes a further name of a file. If the file is still being written, that is done
// when it is finished. An error that is fs.ErrNotExist means that the first name is not
// there, as when only a part of a version is restored: the file can be placed with its
// content instead.
func (t *Target) Link(e *tree.Entry) error { return restoreError(e, t.linkOrWait(e)) }

func (t *Target) linkOrWait(e *tree.Entry) error {
	if err := errors.Join(checkTarget(e.Path), checkTarget(e.HardLink)); err != nil {
		return err
	}
	d, name, err := t.enter(e.Path)
	if err != nil {
		return err
	}
	l := pendingLink{entry: e, dir: d, name: name}
	t.mu.Lock()
	first := t.writing[e.HardLink]
	if first != nil {
		first.links = append(first.links, l)
	}
	t.mu.Unlock()
	if first != nil {
		return nil
	}
	return t.makeLink(l)
}

// makeLink makes the link and finishes it in its folder.
func (t *Target) makeLink(l pendingLink) error {
	defer l.dir.Unhold()
	from, fromName, err := t.first(l.entry)
	if err != nil {
		return err
	}
	if err := from.Acquire(); err != nil {
		return err
	}
	defer from.Release()
	if err := l.dir.Acquire(); err != nil {
		return err
	}
	defer l.dir.Release()
	used, err := t.makeName(l.dir, l.name, func(d *osfs.Dir, name string) error {
		return osfs.Link(from, fromName, d, name)
	})
	if err != nil {
		return fmt.Errorf("link to %q: %w", l.entry.HardLink, err)
	}
	return l.dir.Rename(used, l.name)
}

// first finds the first name of a file with several. What has that name must be
// what the version says: in a target that was not empty it may be anything.
func (t *Target) first(e *tree.Entry) (*osfs.Dir, string, error) {
	parents, name := tree.SplitPath(e.HardLink)
	dir, err := t.find(parents)
	if err != nil {
		return nil, "", err
	}
	info, err := dir.Lstat(name)
	if err != nil {
		return nil, "", fmt.Errorf("look at %q, of which it is another name: %w", e.HardLink, err)
	}
	if tree.TypeOfMode(osfs.MetaOf(info).Mode) != e.Type || e.Type == tree.TypeFile && info.Size() != e.Size {
		return nil, "", fmt.Errorf("%q, of which it is another name, was not restored: %w", e.HardLink, fs.ErrNotExist)
	}
	return dir, name, nil
}
