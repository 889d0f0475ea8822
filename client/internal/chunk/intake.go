package chunk

import (
	"context"
	"hash/crc32"
	"slices"
	"sync/atomic"
)

// Plaintext lives in blocks from when it is read until it is sealed. Nothing is
// copied on the way: a chunk is a part of a block, and a block is used again
// when the last chunk in it is done with. The number of blocks bounds the memory
// of a backup, and a reader that finds none waits: so whoever is slowest sets the
// pace.

// BlockSize is the length of a block in bytes. What is left of one when less than
// a chunk remains is moved to the next: at this size less than a quarter of what
// is read, an eighth on average.
const BlockSize = 4 << 20

// Blocks are the free ones of a fixed number of blocks.
type Blocks chan *block

type block struct {
	buf   []byte // of BlockSize; made at the first use
	users atomic.Int32
	home  Blocks
}

func NewBlocks(n int) Blocks {
	home := make(Blocks, n)
	for range n {
		home <- &block{home: home}
	}
	return home
}

// get waits for a free block. It has one user.
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
		b.home <- b
	}
}

// Intake gathers what one reader reads, and gives it out as chunks. The bytes
// between start and end are gathered.
type Intake struct {
	ctx        context.Context
	free       Blocks
	block      *block // nil until the first use
	start, end int
}

func NewIntake(ctx context.Context, free Blocks) *Intake { return &Intake{ctx: ctx, free: free} }

// Reserve makes n bytes free behind what is gathered, both together at most
// BlockSize, and returns all that are free. What is read into it counts when
// [intake.extend] says so.
func (in *Intake) Reserve(n int) ([]byte, error) {
	if in.block == nil || len(in.block.buf)-in.end < n {
		next, err := in.free.get(in.ctx)
		if err != nil {
			return nil, err
		}
		gathered := 0
		if in.block != nil {
			gathered = copy(next.buf, in.Gathered())
			in.block.release()
		}
		in.block, in.start, in.end = next, 0, gathered
	}
	return in.block.buf[in.end:], nil
}

func (in *Intake) Extend(n int) { in.end += n }

// Gathered is what detach gives out, from the beginning. It is good until the next
// call of reserve.
func (in *Intake) Gathered() []byte {
	if in.block == nil {
		return nil
	}
	return in.block.buf[in.start:in.end]
}

// Detach gives out the first n bytes of what is gathered.
func (in *Intake) Detach(n int) Plaintext {
	in.block.users.Add(1)
	p := Plaintext{Bytes: in.block.buf[in.start : in.start+n : in.start+n], block: in.block}
	p.sum = checksum(p.Bytes)
	in.start += n
	return p
}

// skip forgets the first n bytes of what is gathered.
func (in *Intake) skip(n int) { in.start += n }

// Truncate forgets what is gathered beyond the first n bytes.
func (in *Intake) Truncate(n int) { in.end = in.start + n }

// Close gives the block back. What was taken of it stays good.
func (in *Intake) Close() {
	if in.block != nil {
		in.block.release()
		in.block = nil
	}
}

// Plaintext is a chunk's content in the clear. It is good until its release, and
// must be released once.
type Plaintext struct {
	Bytes []byte
	block *block // nil if the bytes are not part of one
	// sum is the checksum of bytes, taken before anything is done with them, the
	// id above all. What comes out of the sealed frame must have it: that finds
	// what bad memory did to the plaintext before its id was computed or while it
	// waited, to what was packed and to what was sealed, for a tenth of what the
	// keyed hash would cost.
	sum uint32
}

// CopyPlaintext returns a plaintext with a copy of b, which is in no block. The checksum is
// that of b itself, so that a copy that went wrong is found.
func CopyPlaintext(b []byte) Plaintext { return Plaintext{Bytes: slices.Clone(b), sum: checksum(b)} }

// InBlock reports whether the bytes are part of a block.
func (p Plaintext) InBlock() bool { return p.block != nil }

// Equal reports whether b has the checksum that was taken of the plaintext.
func (p Plaintext) Matches(b []byte) bool { return checksum(b) == p.sum }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

func (p Plaintext) Release() {
	if p.block != nil {
		p.block.release()
	}
}
