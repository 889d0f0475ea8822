package client

import (
	"sync"

	"servidor-backup/schemas"
)

// plains are buffers for one chunk, in the clear or sealed.
var plains = bufferPool{size: schemas.MaxContent}

// newPlain returns n bytes for a chunk, from the pool if it is large. Whoever is
// done with them gives them to plains.put.
func newPlain(n int) []byte {
	if n < minChunk {
		return make([]byte, n)
	}
	return plains.get()[:n]
}

// bufferPool lends buffers of one capacity.
type bufferPool struct {
	size int
	pool sync.Pool
}

// get returns an empty buffer.
func (p *bufferPool) get() []byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, p.size)
}

// put takes a buffer back whose bytes nobody uses any more.
func (p *bufferPool) put(b []byte) {
	if cap(b) >= p.size {
		b = b[:0]
		p.pool.Put(&b)
	}
}
