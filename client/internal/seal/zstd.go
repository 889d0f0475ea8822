package seal

import (
	"fmt"
	"slices"
	"sync"

	kpcompress "github.com/klauspost/compress"
	"github.com/klauspost/compress/zstd"

	"servidor-backup/schemas"
)

const (
	// minCompress is the length below which a zstd frame saves nothing
	// worth a decoder's time, in bytes.
	minCompress = 64
	// probeFrom is the length from which a chunk is probed first, in bytes.
	// Below it, trying costs less than probing.
	probeFrom = 64 << 10
	// The probe looks at probeParts parts of probePart bytes each, spread
	// over the chunk so that a media file's header or a table at its end
	// does not decide alone.
	probeParts = 8
	probePart  = 2 << 10
	// probeLimit is the least average of the parts' estimates with which a chunk is
	// compressed. An estimate goes from 0 for noise to 1 for one byte repeated; noise
	// of probePart bytes has 0.03. A chunk of many files of which only a few can be
	// compressed is above the limit.
	probeLimit = 0.05
)

// compress appends to dst the zstd frame of plain, or returns nil if that does not pay.
func compress(dst, plain []byte, level Compression) []byte {
	if level == CompressOff || len(plain) < minCompress || !looksCompressible(plain) {
		return nil
	}
	z := encoder(level).EncodeAll(plain, slices.Grow(dst, len(plain))[:len(dst)])
	if !pays(len(z)-len(dst), len(plain)) {
		return nil
	}
	return z
}

// pays reports whether packing saves enough, about three percent, to be worth
// unpacking at every restore.
func pays(packed, plain int) bool { return packed <= plain-plain/32 }

// looksCompressible guesses from a sample whether compressing plain pays,
// so that films, archives and ciphertext cost next to nothing.
func looksCompressible(plain []byte) bool {
	if len(plain) < probeFrom {
		return true
	}
	sum := 0.0
	step := (len(plain) - probePart) / (probeParts - 1)
	for i := range probeParts {
		sum += kpcompress.Estimate(plain[i*step:][:probePart])
	}
	return sum >= probeParts*probeLimit
}

// decompress appends to dst the length bytes that packed unpacks to. It never
// allocates more than that, whatever packed claims. On an error it returns dst.
func decompress(dst, packed []byte, length int) ([]byte, error) {
	start := len(dst)
	out := slices.Grow(dst, length)[: start : start+length]
	out, err := decoder().DecodeAll(packed, out)
	if err != nil {
		return dst, err
	}
	if len(out)-start != length {
		return dst, fmt.Errorf("it unpacks to %d bytes, its header says %d", len(out)-start, length)
	}
	return out, nil
}

// encoder and decoder return coders that are made at their first use and shared by
// all vaults: they hold no key and are safe for concurrent use.
func encoder(level Compression) *zstd.Encoder { return encoders[level]() }

var encoders = [...]func() *zstd.Encoder{
	CompressDefault: newEncoder(zstd.SpeedDefault),
	CompressOff:     nil,
	CompressFast:    newEncoder(zstd.SpeedFastest),
	CompressBest:    newEncoder(zstd.SpeedBestCompression),
}

func newEncoder(level zstd.EncoderLevel) func() *zstd.Encoder {
	return sync.OnceValue(func() *zstd.Encoder {
		// The zstd checksum is off: GCM and the id already detect damage. A
		// window of 1 MiB spans any chunk.
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithEncoderCRC(false),
			zstd.WithSingleSegment(true), zstd.WithWindowSize(1<<20))
		if err != nil {
			panic(err) // the options are constants
		}
		return e
	})
}

var decoder = sync.OnceValue(func() *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecodeAllCapLimit(true),
		zstd.WithDecoderMaxMemory(schemas.MaxContent), zstd.WithDecoderMaxWindow(1<<20))
	if err != nil {
		panic(err) // the options are constants
	}
	return d
})
