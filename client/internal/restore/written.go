package restore

import (
	"sync"

	"servidor-backup/client/internal/chunk"
	"servidor-backup/schemas"
)

const (
	// writtenMin is the least length of a chunk that is worth remembering, in bytes.
	writtenMin = 64 << 10
	// writtenMax is half of how many chunks are remembered at most: about 8 MiB of memory, for
	// 16 GiB of content.
	writtenMax = 16 << 10
)

// writtenCache remembers where whole chunks were written to, so that a chunk that is needed again
// is read from there and not fetched. When now is full, it becomes old, and the chunks in old are
// forgotten.
type writtenCache struct {
	mu       sync.Mutex
	now, old map[schemas.ChunkID]writtenChunk
}

// writtenChunk is where a chunk was written to.
type writtenChunk struct {
	path string
	off  int64
	len  int
	old  bool // it was there before the restore, perhaps
}

func (c *writtenCache) add(id schemas.ChunkID, at writtenChunk) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now == nil || len(c.now) == writtenMax {
		c.now, c.old = map[schemas.ChunkID]writtenChunk{}, c.now
	}
	c.now[id] = at
}

// hint is add for a chunk of which no better place is known.
func (c *writtenCache) hint(id schemas.ChunkID, at writtenChunk) {
	if _, known := c.find(id); !known {
		c.add(id, at)
	}
}

func (c *writtenCache) find(id schemas.ChunkID) (writtenChunk, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at, ok := c.now[id]; ok {
		return at, true
	}
	at, ok := c.old[id]
	return at, ok
}

// remember adds a chunk to the written cache if the piece that was written is all of it.
func (r *restorer) remember(p pieceRequest, plain []byte) {
	if len(plain) >= writtenMin && p.piece.Len == int64(len(plain)) {
		r.written.add(p.piece.ID, writtenChunk{path: p.job.entry.Path, off: p.piece.Off, len: len(plain)})
	}
}

// serveWritten serves a request from a chunk that this restore has written. It checks the content
// against the chunk's id, because the file may have been changed. If it does not match,
// serveWritten reports false and has done nothing.
func (r *restorer) serveWritten(c *chunkRequest, from writtenChunk) bool {
	buf := chunk.Buffers.Get()
	defer chunk.Buffers.Put(buf)
	plain := buf[:from.len]
	read := r.to.ReadBack
	if from.old {
		read = r.to.ReadOld
	}
	if read(from.path, plain, from.off) != nil || !r.src.Chunks.Matches(c.id, plain) {
		return false
	}
	for _, p := range c.pieces {
		r.deliver(p, plain)
	}
	return true
}
