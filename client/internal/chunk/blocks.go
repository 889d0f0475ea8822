package chunk

import (
	"context"
	"sync/atomic"
)

// BlockSize is the length of a block in bytes. What is left in a block when less than
// a chunk fits is moved to the next one: at this size less than a quarter of what
// is read, an eighth on average.
const BlockSize = 4 << 20

// Blocks holds the free blocks of a fixed number of blocks.
type Blocks chan *block

type block struct {
	buf   []byte // of BlockSize; made at the first use
	users atomic.Int32
	free  Blocks // where the block goes after its last use
}

// NewBlocks makes n blocks. Their memory is allocated when they are first used.
func NewBlocks(n int) Blocks {
	free := make(Blocks, n)
	for range n {
		free <- &block{free: free}
	}
	return free
}

// get waits for a free block. The block then has one user.
func (free Blocks) get(ctx context.Context) (*block, error) {
	select {
	case b := <-free:
		if b.buf == nil {
			b.buf = make([]byte, BlockSize)
		}
		b.users.Store(1)
		return b, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// release ends one use.
func (b *block) release() {
	if b.users.Add(-1) == 0 {
		b.free <- b
	}
}
