package client

import (
	"fmt"
	"sync"

	"servidor-backup/schemas"
)

const (
	// copyFrom is the length from which a piece is worth remembering, in bytes.
	copyFrom = 64 << 10
	// copyPlaces bounds how many are remembered, to twice this: about 8 MiB, for
	// 16 GiB of content.
	copyPlaces = 16 << 10
)

// copies remembers where whole chunks were written to, so that a chunk that is
// wanted again later is read from there and not fetched. Old ones are forgotten.
type copies struct {
	mu       sync.Mutex
	now, old map[schemas.ChunkID]copyPlace
}

// copyPlace is where a chunk was written to.
type copyPlace struct {
	path string
	off  int64
	len  int
}

func (c *copies) add(id schemas.ChunkID, at copyPlace) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now == nil || len(c.now) == copyPlaces {
		c.now, c.old = map[schemas.ChunkID]copyPlace{}, c.now
	}
	c.now[id] = at
}

func (c *copies) find(id schemas.ChunkID) (copyPlace, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at, ok := c.now[id]; ok {
		return at, true
	}
	at, ok := c.old[id]
	return at, ok
}

// remember notes a whole chunk that was written to a file.
func (r *restorer) remember(w want, chunk []byte) {
	if len(chunk) >= copyFrom && w.piece.Len == int64(len(chunk)) {
		r.copies.add(w.piece.ID, copyPlace{path: w.job.entry.Path, off: w.piece.Off, len: len(chunk)})
	}
}

// copied serves an order from what this restore has written. It reports false,
// and has done nothing, if the chunk is not there any more: what is read is held
// against the chunk's id, so it does not matter who may have changed the file.
func (r *restorer) copied(o *order, from copyPlace) bool {
	buf := plains.get()
	defer plains.put(buf)
	chunk := buf[:from.len]
	if r.placer.readBack(from.path, chunk, from.off) != nil || r.v.k.dataID(chunk) != o.id {
		return false
	}
	for _, w := range o.wants {
		r.deliver(w, chunk)
	}
	return true
}

// readBack reads from a regular file that was placed, perhaps not finished yet.
func (p *placer) readBack(path string, b []byte, off int64) error {
	above, name := splitPath(path)
	d, err := p.find(above)
	if err != nil {
		return err
	}
	if err := d.acquire(); err != nil {
		return err
	}
	defer d.release()
	f, err := d.root.OpenFile(name, openFlags|noAtime, 0)
	if err != nil {
		return bare(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return bare(err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%q %w", path, errReplaced)
	}
	_, err = f.ReadAt(b, off)
	return bare(err)
}
