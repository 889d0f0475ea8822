package client

import (
	"sync"

	"servidor-backup/schemas"
)

// plains are buffers for one chunk, in the clear or sealed.
var plains = bufferPool{size: schemas.MaxContent}

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
