package seal

import (
	"fmt"
	"slices"
)

// Compression says how much time sealing may spend on making chunks smaller.
// The zero value is a good default.
type Compression uint8

const (
	// CompressDefault is zstd at its fastest level, or at its default level
	// while that saves enough to pay for its time; see [Packer].
	CompressDefault Compression = iota
	// CompressOff stores everything as it is.
	CompressOff
	// CompressFast is zstd at its fastest level: for slow processors and fast networks.
	CompressFast
	// CompressBest is for slow networks; it is about ten times slower.
	CompressBest
	// CompressAuto lets a backup find out while it runs how much time there is for
	// compression. It is an option of a backup; no chunk can be packed with it.
	CompressAuto
)

var compressionNames = []string{"default", "off", "fast", "best", "auto"}

// String returns the name that [ParseCompression] reads.
func (c Compression) String() string {
	if int(c) < len(compressionNames) {
		return compressionNames[c]
	}
	return fmt.Sprintf("compression %d", uint8(c))
}

// ParseCompression reads "off", "fast", "default", "best" or "auto".
func ParseCompression(s string) (Compression, error) {
	i := slices.Index(compressionNames, s)
	if i < 0 {
		return 0, fmt.Errorf("unknown compression %q: use off, fast, default, best or auto", s)
	}
	return Compression(i), nil
}
