// Package overlay is a file system whose changes stay in memory, so that a store on a disk that
// cannot be written, or has no space, opens and recovers as any other.
package overlay

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// FS is a file system whose changes stay in memory. What is changed of a file that exists is
// copied into memory whole: a store that is only read changes small ones. It is safe for
// concurrent use.
type FS struct {
	vfs.FS            // below; it is only read
	mem    *vfs.MemFS // what was made or changed

	mu   sync.Mutex
	gone []string // paths that were removed, with all below them
}

// New returns a file system over below, in which nothing is changed.
func New(below vfs.FS) *FS { return &FS{FS: below, mem: vfs.NewMem()} }

// hides reports whether the file below was removed.
func (o *FS) hides(name string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.ContainsFunc(o.gone, func(g string) bool {
		return name == g || strings.HasPrefix(name, g) && os.IsPathSeparator(name[len(g)])
	})
}

func (o *FS) inMemory(name string) bool {
	_, err := o.mem.Stat(name)
	return err == nil
}

// Create is that of [vfs.FS].
func (o *FS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := o.mem.MkdirAll(o.PathDir(name), 0o700); err != nil {
		return nil, err
	}
	return o.mem.Create(name, category)
}

// lift copies a file into memory.
func (o *FS) lift(name string) error {
	if o.inMemory(name) {
		return nil
	}
	from, err := o.Open(name)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := o.Create(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	return errors.Join(err, to.Close())
}

// Open is that of [vfs.FS].
func (o *FS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	if o.inMemory(name) {
		return o.mem.Open(name, opts...)
	}
	if o.hides(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return o.FS.Open(name, opts...)
}

// OpenReadWrite is that of [vfs.FS].
func (o *FS) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	if err := o.lift(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := o.mem.MkdirAll(o.PathDir(name), 0o700); err != nil {
		return nil, err
	}
	return o.mem.OpenReadWrite(name, category, opts...)
}

// OpenDir is that of [vfs.FS].
func (o *FS) OpenDir(name string) (vfs.File, error) {
	if err := o.mem.MkdirAll(name, 0o700); err != nil {
		return nil, err
	}
	return o.mem.OpenDir(name)
}

// Remove is that of [vfs.FS].
func (o *FS) Remove(name string) error {
	if _, err := o.Stat(name); err != nil {
		return err
	}
	return o.RemoveAll(name)
}

// RemoveAll is that of [vfs.FS].
func (o *FS) RemoveAll(name string) error {
	o.mu.Lock()
	o.gone = append(o.gone, name)
	o.mu.Unlock()
	return o.mem.RemoveAll(name)
}

// Rename is that of [vfs.FS].
func (o *FS) Rename(from, to string) error {
	if err := o.lift(from); err != nil {
		return err
	}
	if err := o.mem.Rename(from, to); err != nil {
		return err
	}
	return o.RemoveAll(from)
}

// ReuseForWrite is that of [vfs.FS].
func (o *FS) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := o.Rename(from, to); err != nil {
		return nil, err
	}
	return o.mem.OpenReadWrite(to, category)
}

// Link is that of [vfs.FS].
func (o *FS) Link(from, to string) error {
	if err := o.lift(from); err != nil {
		return err
	}
	return o.mem.Link(from, to)
}

// MkdirAll is that of [vfs.FS].
func (o *FS) MkdirAll(dir string, perm os.FileMode) error { return o.mem.MkdirAll(dir, perm) }

// Lock locks nothing below: the index's own lock, which keeps out processes that write, is
// taken in memory.
func (o *FS) Lock(name string) (io.Closer, error) {
	if err := o.mem.MkdirAll(o.PathDir(name), 0o700); err != nil {
		return nil, err
	}
	return o.mem.Lock(name)
}

// List is that of [vfs.FS].
func (o *FS) List(dir string) ([]string, error) {
	names, err := o.FS.List(dir)
	names = slices.DeleteFunc(names, func(name string) bool { return o.hides(o.PathJoin(dir, name)) })
	made, memErr := o.mem.List(dir)
	if err != nil && memErr != nil {
		return nil, err
	}
	names = append(names, made...)
	slices.Sort(names)
	return slices.Compact(names), nil
}

// Stat is that of [vfs.FS].
func (o *FS) Stat(name string) (vfs.FileInfo, error) {
	if info, err := o.mem.Stat(name); err == nil && !info.IsDir() {
		return info, nil
	}
	if o.hides(name) {
		return o.mem.Stat(name)
	}
	info, err := o.FS.Stat(name)
	if err != nil && o.inMemory(name) {
		return o.mem.Stat(name)
	}
	return info, err
}

// GetDiskUsage says that nothing is known: nothing is written.
func (o *FS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{}, vfs.ErrUnsupported
}

// Unwrap is that of [vfs.FS].
func (o *FS) Unwrap() vfs.FS { return nil }
