package chunk

import "context"

// Intake gathers the bytes of one reader and gives them out as chunks. It uses one block
// at a time; the bytes of it between start and end are gathered.
type Intake struct {
	ctx        context.Context
	free       Blocks
	block      *block // nil until the first use
	start, end int
}

// NewIntake returns an empty intake. ctx ends its waits for a free block.
func NewIntake(ctx context.Context, free Blocks) *Intake { return &Intake{ctx: ctx, free: free} }

// Reserve makes at least n bytes free behind the gathered bytes and returns all that are
// free. n and the gathered bytes together are at most BlockSize. The caller writes to the
// beginning of the result and then calls [Intake.Extend]. Reserve may wait for a block.
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

// Extend counts n bytes that were written to the reserved ones as gathered.
func (in *Intake) Extend(n int) { in.end += n }

// Gathered returns the gathered bytes. It is valid until the next call of Reserve.
func (in *Intake) Gathered() []byte {
	if in.block == nil {
		return nil
	}
	return in.block.buf[in.start:in.end]
}

// Detach gives out the first n gathered bytes. The caller must release them.
func (in *Intake) Detach(n int) Plaintext {
	in.block.users.Add(1)
	p := Plaintext{Bytes: in.block.buf[in.start : in.start+n : in.start+n], block: in.block}
	p.sum = checksum(p.Bytes)
	in.start += n
	return p
}

// skip drops the first n gathered bytes.
func (in *Intake) skip(n int) { in.start += n }

// Truncate drops the gathered bytes after the first n.
func (in *Intake) Truncate(n int) { in.end = in.start + n }

// Close gives the intake's block back. Detached plaintext stays valid.
func (in *Intake) Close() {
	if in.block != nil {
		in.block.release()
		in.block = nil
	}
}
