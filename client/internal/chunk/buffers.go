package chunk

import (
	"sync"

	"servidor-backup/schemas"
)

// Buffers are buffers for one chunk, in the clear or sealed.
var Buffers = BufferPool{Size: schemas.MaxContent}

// BufferPool lends buffers of one capacity.
type BufferPool struct {
	Size int
	pool sync.Pool
}

// Get returns an empty buffer.
func (p *BufferPool) Get() []byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, p.Size)
}

// Put takes a buffer back whose bytes nobody uses any more.
func (p *BufferPool) Put(b []byte) {
	if cap(b) >= p.Size {
		b = b[:0]
		p.pool.Put(&b)
	}
}
