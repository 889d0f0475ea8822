package storage

import (
	"container/list"
	"errors"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// maxOpenSegments limits the files that reads keep open. A node of 16 TB has
// 64,000 segments; the usual limit of a process is 1,024 files.
const maxOpenSegments = 128

// fileCache keeps the segments that were read last open for reading. It is safe for
// concurrent use.
type fileCache struct {
	open func(n uint32) (vfs.File, error)

	mu    sync.Mutex
	files map[uint32]*cachedFile
	idle  list.List // of *cachedFile without readers, the least recently used first
}

type cachedFile struct {
	vfs.File
	number  uint32
	readers int
	idle    *list.Element // the file's element of idle; nil while it has readers
}

// acquire returns the segment's file; release must be called after reading.
func (c *fileCache) acquire(n uint32) (*cachedFile, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.files[n]
	if f == nil {
		file, err := c.open(n)
		if err != nil {
			return nil, err
		}
		f = &cachedFile{File: file, number: n}
		c.files[n] = f
	}
	if f.idle != nil {
		c.idle.Remove(f.idle)
		f.idle = nil
	}
	f.readers++
	return f, nil
}

// release ends a reading. If too many files are open, it closes an idle one.
func (c *fileCache) release(f *cachedFile) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.readers--; f.readers == 0 {
		f.idle = c.idle.PushBack(f)
	}
	if len(c.files) <= maxOpenSegments || c.idle.Len() == 0 {
		return nil
	}
	return c.drop(c.idle.Front())
}

// forget closes the file of a segment that has no readers.
func (c *fileCache) forget(n uint32) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.files[n]
	if f == nil {
		return nil
	}
	return c.drop(f.idle)
}

func (c *fileCache) drop(e *list.Element) error {
	f := c.idle.Remove(e).(*cachedFile)
	delete(c.files, f.number)
	return f.Close()
}

// close closes all files. None may have readers.
func (c *fileCache) close() (err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for e := c.idle.Front(); e != nil; e = c.idle.Front() {
		err = errors.Join(err, c.drop(e))
	}
	return err
}
