package chunk

import "encoding/binary"

// Files are cut by keyed FastCDC (Xia et al., USENIX ATC 2016 and 2020): a
// gear hash rolls over the content, and a chunk ends where its top bits are
// zero. The cut depends on the last 64 bytes only, so after an insertion the
// cuts fall into step again. The gear table comes from the vault's key, so the
// server, which sees the lengths of chunks, cannot recognize known files by them.
//
// Normalized chunking, level 2: up to normSize a cut needs two more zero bits
// than the average length would ask for, thereafter two fewer, which narrows
// the lengths around the average.
const (
	// MinSize is the length in bytes of the shortest chunk that ends neither the
	// content nor where a long run of zeros begins.
	MinSize = 128 << 10
	// normSize is where cuts become easy. It lies below the average, which
	// comes out at 512 KiB.
	normSize = 424 << 10
	// MaxSize is the length in bytes of the longest chunk: the most that can be
	// sealed.
	MaxSize = 999_800

	hardBits = 19 + 2 // 19 is log2 of the average
	easyBits = 19 - 2

	// gearWindow is how many bytes a 64-bit gear hash remembers.
	gearWindow = 64
)

// Gear maps a byte to the random word that it adds to the rolling hash.
// It must not change once it is made.
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
	// that a cut depends on the bytes just before it and not on where
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
	// This loop is fast because it takes four bytes at a time, with one exit for
	// all four. The loop below it then finds which byte it was.
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
