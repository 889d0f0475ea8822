package target

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"

	"servidor-backup/client/internal/osfs"
	"servidor-backup/client/internal/tree"
)

// File is a regular file that is being written. Ranges that are never written stay holes. Writes
// may be concurrent. Finish or Abort must be called at the end.
type File struct {
	t        *Target
	entry    *tree.Entry
	dir      *Dir
	name     string // the final name
	used     string // the temporary name until the file is finished
	replaces bool   // something had the final name before
	file     *os.File

	turn    sync.Mutex   // one writer at a time: concurrent writers would spin in the kernel
	waiting int64        // bytes written since the last start of writeback; under turn
	last    atomic.Int64 // the end of the written range that ends last

	links []pendingLink // under Target.mu
}

// Create makes an empty file for e. A file that it replaces stays until Finish.
func (t *Target) Create(e *tree.Entry) (*File, error) {
	f, err := t.createFile(e)
	return f, entryError(e, err)
}

func (t *Target) createFile(e *tree.Entry) (*File, error) {
	if err := checkPath(e.Path); err != nil {
		return nil, err
	}
	d, name, err := t.holdParent(e.Path)
	if err != nil {
		return nil, err
	}
	f := &File{t: t, entry: e, dir: d, name: name}
	if err := f.make(); err != nil {
		d.Release()
		return nil, err
	}
	t.mu.Lock()
	t.writing[e.Path] = f
	t.mu.Unlock()
	return f, nil
}

// PutFile writes a regular file whose content is in memory. For the many small files of a usual
// tree this takes fewer system calls than [Target.Create], and no entry in the list of files that
// are being written.
func (t *Target) PutFile(e *tree.Entry, content []byte) error {
	if made, err := t.putNewFile(e, content); made || err != nil {
		return entryError(e, err)
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

// putNewFile is PutFile for an entry without special permissions or attributes. For other entries
// made is false, and nothing was done.
func (t *Target) putNewFile(e *tree.Entry, content []byte) (made bool, err error) {
	if int64(len(content)) != e.Size {
		return false, nil
	}
	if err := checkPath(e.Path); err != nil {
		return false, err
	}
	d, name, err := t.holdParent(e.Path)
	if err != nil {
		return false, err
	}
	defer d.Release()
	if err := d.disk.Acquire(); err != nil {
		return false, err
	}
	defer d.disk.Release()
	replaces, err := d.mayReplace(name)
	if err != nil {
		return false, err
	}
	if !replaces {
		if made, err = t.meta.writeUnnamed(d, name, e, content); made || err != nil {
			return made, err
		}
	}
	used := t.temporaryName()
	if made, err = t.meta.writeNamed(d, used, e, content); !made || err != nil {
		return made, err
	}
	return true, d.place(used, name, replaces)
}

// place gives a whole file its name, or removes the file. d.disk must be acquired.
func (d *Dir) place(used, name string, replace bool) error {
	err := d.disk.Place(used, name, replace)
	if err == nil {
		return d.checkMade(name)
	}
	return errors.Join(d.explainName(name, err), d.disk.Remove(used))
}

// make creates the file under a temporary name.
func (f *File) make() error {
	if err := f.dir.disk.Acquire(); err != nil {
		return err
	}
	defer f.dir.disk.Release()
	var err error
	if f.replaces, err = f.dir.mayReplace(f.name); err != nil {
		return err
	}
	f.used = f.t.temporaryName()
	f.file, err = f.dir.disk.Root.OpenFile(f.used, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	return osfs.WithoutPath(err)
}

// WriteAt writes b at byte off of the file. Bytes beyond the entry's size are refused.
func (f *File) WriteAt(b []byte, off int64) (int, error) {
	if off < 0 || int64(len(b)) > f.entry.Size-off {
		return 0, fmt.Errorf("restore %q: %d bytes at %d do not fit its size of %d", f.entry.Path, len(b), off, f.entry.Size)
	}
	n, err := f.write(b, off)
	if err != nil {
		return n, fmt.Errorf("restore %q: write: %w", f.entry.Path, osfs.WithoutPath(err))
	}
	end := off + int64(n)
	for last := f.last.Load(); end > last && !f.last.CompareAndSwap(last, end); last = f.last.Load() {
	}
	return n, nil
}

// writebackBytes is after how many written bytes the system is told to begin writing to the disk:
// few enough that the disk is never idle, many enough for long runs.
const writebackBytes = 8 << 20

func (f *File) write(b []byte, off int64) (int, error) {
	f.turn.Lock()
	n, err := f.file.WriteAt(b, off)
	f.waiting += int64(n)
	begin := f.waiting >= writebackBytes
	if begin {
		f.waiting = 0
	}
	f.turn.Unlock()
	if begin {
		osfs.StartWriteback(f.file)
	}
	return n, err
}

// Finish gives the file its size, metadata and name, and then makes the other names that wait for
// it. If the file itself cannot be finished, it is removed.
func (f *File) Finish() error {
	if err := f.complete(); err != nil {
		return errors.Join(fmt.Errorf("restore %q: %w", f.entry.Path, err), f.Abort())
	}
	return f.makeLinks()
}

func (f *File) complete() error {
	if err := f.dir.disk.Acquire(); err != nil {
		return err
	}
	defer f.dir.disk.Release()
	if f.last.Load() < f.entry.Size { // the file ends with a hole
		if err := f.file.Truncate(f.entry.Size); err != nil {
			return osfs.WithoutPath(err)
		}
	}
	f.t.meta.set(f.dir.disk, f.used, f.file, f.entry)
	// Some file systems report a full disk only here.
	if err := f.file.Close(); err != nil {
		return osfs.WithoutPath(err)
	}
	return f.dir.place(f.used, f.name, f.replaces)
}

// Abort removes the file; a file that it was to replace stays. The error tells what could not be
// removed, and which other names of the file are lost with it.
func (f *File) Abort() error {
	f.file.Close() // the file is removed, so an error does not matter
	err := f.remove()
	for _, l := range f.unregister() {
		l.dir.Release()
		err = errors.Join(err, fmt.Errorf("restore %q: it is another name of %q, which was not restored", l.entry.Path, f.entry.Path))
	}
	return err
}

func (f *File) remove() error {
	if err := f.dir.disk.Acquire(); err != nil {
		return fmt.Errorf("remove the unfinished %q: %w", f.entry.Path, err)
	}
	defer f.dir.disk.Release()
	if err := f.dir.disk.Remove(f.used); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the unfinished %q: %w", f.entry.Path, err)
	}
	return nil
}

// makeLinks makes the names that waited for the file.
func (f *File) makeLinks() error {
	var failed error
	for _, l := range f.unregister() {
		if err := f.t.makeLink(l); err != nil {
			failed = errors.Join(failed, fmt.Errorf("restore %q: %w", l.entry.Path, err))
		}
	}
	return failed
}

// unregister ends the file's hold on its folder and returns the links that waited for the file.
func (f *File) unregister() []pendingLink {
	f.t.mu.Lock()
	delete(f.t.writing, f.entry.Path)
	links := f.links
	f.t.mu.Unlock()
	f.dir.Release()
	return links
}
