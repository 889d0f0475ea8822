package chunk

import "io"

// readSize is how many bytes are read at a time: few enough to be cut and
// hashed while they are still in the processor's cache.
const readSize = 512 << 10

// Cutter cuts what a reader yields into chunks and long runs of zeros.
type Cutter struct {
	gear *Gear
	r    io.Reader
	in   *Intake // the cutter alone uses it until it is done
	err  error
	// inZeros: zeros that come next belong to a long run, however few they are.
	inZeros bool
	// beforeHole: a long hole follows the reader's last byte, so zeros at the end
	// belong to a long run.
	beforeHole bool
}

// NewCutter returns a cutter that reads from r and gathers in the empty intake in.
func NewCutter(r io.Reader, gear *Gear, in *Intake) *Cutter {
	return &Cutter{gear: gear, r: r, in: in}
}

// Reset makes the cutter start over with another reader. afterHole and beforeHole say
// whether a long hole comes before and after what r yields; zeros beside a hole belong to
// the same long run.
func (c *Cutter) Reset(r io.Reader, afterHole, beforeHole bool) {
	c.r, c.err, c.inZeros, c.beforeHole = r, nil, afterHole, beforeHole
}

// Next returns the next chunk, which the caller must release. Where a long run of zeros is
// next, it returns the number of zeros instead, at most MaxSize at a time. After the last
// chunk it returns io.EOF. An error of the reader comes at once, without what was read
// before it, and again at every later call.
func (c *Cutter) Next() (plain Plaintext, zeros int, err error) {
	for {
		zeros, err := c.skipZeros()
		if zeros > 0 {
			return Plaintext{}, zeros, nil
		}
		n := 0
		if err == nil {
			n, err = c.cut()
		}
		switch {
		case err != nil:
			c.in.Truncate(0)
			return Plaintext{}, 0, err
		case n > 0:
			return c.in.Detach(n), 0, nil
		case !c.inZeros:
			return Plaintext{}, 0, io.EOF
		}
	}
}

// cut returns the length of the next chunk, or 0 if a run of zeros or nothing is next.
func (c *Cutter) cut() (int, error) {
	if err := c.fill(MaxSize); err != nil {
		return 0, err
	}
	n := c.gear.cut(c.in.Gathered())
	for {
		from, to := findZeros(c.in.Gathered(), n)
		switch {
		case from == n:
			return n, nil
		case to-from >= MinZeros || c.err == io.EOF && c.beforeHole:
			c.inZeros = true
			return from, nil
		case c.err == io.EOF:
			return n, nil
		}
		// The run reaches the end of what is gathered: its length shows only in
		// what comes next.
		if err := c.fill(from + MinZeros); err != nil {
			return 0, err
		}
	}
}

// skipZeros drops the next zeros of a long run, at most MaxSize, and returns their number.
func (c *Cutter) skipZeros() (n int, err error) {
	for c.inZeros && n < MaxSize {
		if err := c.fill(readSize); err != nil {
			return 0, err
		}
		rest := c.in.Gathered()
		rest = rest[:min(len(rest), MaxSize-n)]
		zeros := zerosAhead(rest)
		c.in.skip(zeros)
		n += zeros
		c.inZeros = zeros > 0 && zeros == len(rest)
	}
	return n, nil
}

// fill reads until enough bytes are gathered, or all that is left.
func (c *Cutter) fill(enough int) error {
	for empty := 0; c.err == nil; {
		needed := enough - len(c.in.Gathered())
		if needed <= 0 {
			break
		}
		free, err := c.in.Reserve(needed)
		if err != nil {
			return err
		}
		var n int
		n, c.err = c.r.Read(free[:min(len(free), readSize)])
		c.in.Extend(n)
		if n > 0 {
			empty = 0
		} else if empty++; empty > 100 && c.err == nil {
			c.err = io.ErrNoProgress
		}
	}
	if c.err == io.EOF {
		return nil
	}
	return c.err
}
