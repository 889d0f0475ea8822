package chunk

import (
	"encoding/binary"
	"io"
)

// Files are cut by keyed FastCDC (Xia et al., USENIX ATC 2016 and 2020): a
// gear hash rolls over the content, and a chunk ends where its top bits are
// zero. The cut depends on the last 64 bytes only, so after an insertion the
// cuts fall into step again. The gear table comes from the vault's key: the
// lengths of chunks, which the server sees, do not tell known files.
//
// Normalized chunking, level 2: up to normSize a cut needs two more zero bits
// than the average length would ask for, thereafter two fewer, which narrows
// the lengths around the average.
const (
	// MinSize is the shortest chunk that is not the content's last.
	MinSize = 128 << 10
	// normSize is where cuts become easy. It lies below the average, which
	// comes out at 512 KiB.
	normSize = 424 << 10
	// MaxSize is the longest chunk: as long as what can be sealed.
	MaxSize = 999_800

	hardBits = 19 + 2 // 19 is log2 of the average
	easyBits = 19 - 2

	// gearWindow is how many bytes a 64-bit gear hash remembers.
	gearWindow = 64

	// readSize is how many bytes are read at a time: few enough to be cut and
	// hashed while they are still in the processor's cache.
	readSize = 512 << 10
)

// Gear maps a byte to the random word that it adds to the rolling hash.
// It is only read once it is made.
type Gear [256]uint64

// NewGear makes the table from random bytes that the vault's key decides.
func NewGear(seed *[256 * 8]byte) *Gear {
	g := new(Gear)
	for i := range g {
		g[i] = binary.LittleEndian.Uint64(seed[8*i:])
	}
	return g
}

// cut returns the length of the first chunk of buf. buf holds at least
// MaxSize bytes or all that is left of the content; the result then depends
// on nothing but the content. It is 0 only for an empty buf.
func (g *Gear) cut(buf []byte) int {
	if len(buf) <= MinSize {
		return len(buf)
	}
	buf = buf[:min(len(buf), MaxSize)]
	norm := min(len(buf), normSize)
	// The window is filled before the first byte where a cut may be, so
	// that a cut point is a matter of its own neighbourhood and not of where
	// the chunk began.
	var hash uint64
	for _, b := range buf[MinSize-gearWindow : MinSize] {
		hash = hash<<1 + g[b]
	}
	n, hash := g.scan(buf[MinSize:norm], hash, hardBits)
	if n > 0 {
		return MinSize + n
	}
	if n, _ = g.scan(buf[norm:], hash, easyBits); n > 0 {
		return norm + n
	}
	return len(buf)
}

// scan rolls the hash over buf until its top bits are all zero. It returns how
// many bytes that took, or 0 if it did not happen, and the hash.
func (g *Gear) scan(buf []byte, hash uint64, bits uint) (int, uint64) {
	limit := uint64(1) << (64 - bits)
	i := 0
	// Four bytes at a time, and one exit for the four of them, is what makes
	// this loop fast; the loop below then finds which byte it was.
	for ; i+4 <= len(buf); i += 4 {
		four := buf[i : i+4 : i+4]
		h1 := hash<<1 + g[four[0]]
		h2 := h1<<1 + g[four[1]]
		h3 := h2<<1 + g[four[2]]
		h4 := h3<<1 + g[four[3]]
		if h1 < limit || h2 < limit || h3 < limit || h4 < limit {
			break
		}
		hash = h4
	}
	for ; i < len(buf); i++ {
		hash = hash<<1 + g[buf[i]]
		if hash < limit {
			return i + 1, hash
		}
	}
	return 0, hash
}

// Cutter cuts what a reader yields into chunks and long runs of zeros.
type Cutter struct {
	gear *Gear
	r    io.Reader
	in   *Intake // holds nothing else until the cutter is done
	err  error
	// inZeros says that zeros which come now are part of a run, however few they
	// are, beforeHole that those at the end are.
	inZeros, beforeHole bool
}

func NewCutter(r io.Reader, gear *Gear, in *Intake) *Cutter {
	return &Cutter{gear: gear, r: r, in: in}
}

// Reset makes the cutter begin anew with another reader. What that yields may
// stand between long holes, whose length adds to that of runs of zeros.
func (c *Cutter) Reset(r io.Reader, afterHole, beforeHole bool) {
	c.r, c.err, c.inZeros, c.beforeHole = r, nil, afterHole, beforeHole
}

// Next returns the next chunk; or, in place of it, how many zeros of a long run
// come next, MaxSize at most; or io.EOF after the last. An error of the reader
// comes at once, without what was read before it, and stays.
func (c *Cutter) Next() (plain Plaintext, zeros int, err error) {
	for {
		zeros, err := c.skip()
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

// cut returns the length of the next chunk, 0 if a run of zeros or nothing is next.
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
		// How long the run is shows only behind what is gathered.
		if err := c.fill(from + MinZeros); err != nil {
			return 0, err
		}
	}
}

// skip drops what comes next of a run of zeros, MaxSize at most, and returns how
// many that were.
func (c *Cutter) skip() (n int, err error) {
	for c.inZeros && n < MaxSize {
		if err := c.fill(readSize); err != nil {
			return 0, err
		}
		rest := c.in.Gathered()
		rest = rest[:min(len(rest), MaxSize-n)]
		some := zerosAhead(rest)
		c.in.skip(some)
		n += some
		c.inZeros = some > 0 && some == len(rest)
	}
	return n, nil
}

// fill reads until that many bytes are gathered, or all that is left.
func (c *Cutter) fill(enough int) error {
	for empty := 0; c.err == nil; {
		missing := enough - len(c.in.Gathered())
		if missing <= 0 {
			break
		}
		free, err := c.in.Reserve(missing)
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
