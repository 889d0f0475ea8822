package chunk

import (
	"sync"

	"servidor-backup/schemas"
)

// Buffers lends buffers for one chunk each, in the clear or sealed.
var Buffers = BufferPool{Size: schemas.MaxContent}

// BufferPool lends buffers of one capacity. It is safe for concurrent use.
type BufferPool struct {
	Size int // capacity of a buffer in bytes
	pool sync.Pool
}

// Get returns an empty buffer.
func (p *BufferPool) Get() []byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, p.Size)
}

// Put takes back a buffer whose bytes nobody uses any more. It drops a buffer that is
// smaller than Size.
func (p *BufferPool) Put(b []byte) {
	if cap(b) >= p.Size {
		b = b[:0]
		p.pool.Put(&b)
	}
}
