// Package filecache keeps files that are read often open, and not too many of them.
package filecache

import (
	"container/list"
	"errors"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// maxOpen limits the files that reads keep open. A node of 16 TB has
// 64,000 segments; the usual limit of a process is 1,024 files.
const maxOpen = 128

// Cache keeps the segments that were read last open for reading. It is safe for
// concurrent use.
type Cache struct {
	open func(n uint32) (vfs.File, error)

	mu    sync.Mutex
	files map[uint32]*File
	idle  list.List // of *File without readers, the least recently used first
}

// New returns a cache that opens segment n with open.
func New(open func(n uint32) (vfs.File, error)) *Cache {
	return &Cache{open: open, files: map[uint32]*File{}}
}

// File is a segment's file while it is read.
type File struct {
	vfs.File
	number  uint32
	readers int
	idle    *list.Element // the file's element of idle; nil while it has readers
}

// Acquire returns the segment's file; Release must be called after reading.
func (c *Cache) Acquire(n uint32) (*File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.files[n]
	if f == nil {
		file, err := c.open(n)
		if err != nil {
			return nil, err
		}
		f = &File{File: file, number: n}
		c.files[n] = f
	}
	if f.idle != nil {
		c.idle.Remove(f.idle)
		f.idle = nil
	}
	f.readers++
	return f, nil
}

// Release ends a reading. If too many files are open, it closes an idle one.
func (c *Cache) Release(f *File) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.readers--; f.readers == 0 {
		f.idle = c.idle.PushBack(f)
	}
	if len(c.files) <= maxOpen || c.idle.Len() == 0 {
		return nil
	}
	return c.drop(c.idle.Front())
}

// Forget closes the file of a segment that has no readers.
func (c *Cache) Forget(n uint32) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.files[n]
	if f == nil {
		return nil
	}
	return c.drop(f.idle)
}

func (c *Cache) drop(e *list.Element) error {
	f := c.idle.Remove(e).(*File)
	delete(c.files, f.number)
	return f.Close()
}

// Close closes all files. None may have readers.
func (c *Cache) Close() (err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for e := c.idle.Front(); e != nil; e = c.idle.Front() {
		err = errors.Join(err, c.drop(e))
	}
	return err
}
