package restore

import (
	"sync"

	"servidor-backup/client/internal/chunk"
	"servidor-backup/schemas"
)

const (
	// writtenMin is the length from which a piece is worth remembering, in bytes.
	writtenMin = 64 << 10
	// writtenMax bounds how many are remembered, to twice this: about 8 MiB, for
	// 16 GiB of content.
	writtenMax = 16 << 10
)

// writtenChunks remembers where whole chunks were written to, so that a chunk that is
// wanted again later is read from there and not fetched. Old ones are forgotten.
type writtenChunks struct {
	mu       sync.Mutex
	now, old map[schemas.ChunkID]writtenChunk
}

// writtenChunk is where a chunk was written to.
type writtenChunk struct {
	path string
	off  int64
	len  int
}

func (c *writtenChunks) add(id schemas.ChunkID, at writtenChunk) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now == nil || len(c.now) == writtenMax {
		c.now, c.old = map[schemas.ChunkID]writtenChunk{}, c.now
	}
	c.now[id] = at
}

func (c *writtenChunks) find(id schemas.ChunkID) (writtenChunk, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at, ok := c.now[id]; ok {
		return at, true
	}
	at, ok := c.old[id]
	return at, ok
}

// remember notes a whole chunk that was written to a file.
func (r *restorer) remember(p pieceRequest, plain []byte) {
	if len(plain) >= writtenMin && p.piece.Len == int64(len(plain)) {
		r.written.add(p.piece.ID, writtenChunk{path: p.job.entry.Path, off: p.piece.Off, len: len(plain)})
	}
}

// copyWritten serves a request from what this restore has written. It reports false,
// and has done nothing, if the chunk is not there any more: what is read is held
// against the chunk's id, so it does not matter who may have changed the file.
func (r *restorer) copyWritten(c *chunkRequest, from writtenChunk) bool {
	buf := chunk.Buffers.Get()
	defer chunk.Buffers.Put(buf)
	plain := buf[:from.len]
	if r.to.ReadBack(from.path, plain, from.off) != nil || !r.src.Chunks.Matches(c.id, plain) {
		return false
	}
	for _, p := range c.pieces {
		r.deliver(p, plain)
	}
	return true
}
