package tree

import (
	"encoding/binary"
	"math"
)

// Trees are coded to and from msgpack by hand, for speed: a backup reads and writes an
// entry for every file, and for an unchanged file this is most of its work.

// packer appends msgpack in its shortest form to a buffer.
type packer struct{ buf []byte }

func (p *packer) arrayLen(n int) {
	switch {
	case n < 16:
		p.buf = append(p.buf, 0x90|byte(n))
	case n <= math.MaxUint16:
		p.buf = binary.BigEndian.AppendUint16(append(p.buf, 0xdc), uint16(n))
	default:
		p.buf = binary.BigEndian.AppendUint32(append(p.buf, 0xdd), uint32(n))
	}
}

func (p *packer) uint(v uint64) {
	switch {
	case v <= math.MaxInt8:
		p.buf = append(p.buf, byte(v))
	case v <= math.MaxUint8:
		p.buf = append(p.buf, 0xcc, byte(v))
	case v <= math.MaxUint16:
		p.index(uint16(v))
	case v <= math.MaxUint32:
		p.buf = binary.BigEndian.AppendUint32(append(p.buf, 0xce), uint32(v))
	default:
		p.buf = binary.BigEndian.AppendUint64(append(p.buf, 0xcf), v)
	}
}

func (p *packer) int(v int64) {
	switch {
	case v >= 0:
		p.uint(uint64(v))
	case v >= -32:
		p.buf = append(p.buf, byte(v))
	case v >= math.MinInt8:
		p.buf = append(p.buf, 0xd0, byte(v))
	case v >= math.MinInt16:
		p.buf = binary.BigEndian.AppendUint16(append(p.buf, 0xd1), uint16(v))
	case v >= math.MinInt32:
		p.buf = binary.BigEndian.AppendUint32(append(p.buf, 0xd2), uint32(v))
	default:
		p.buf = binary.BigEndian.AppendUint64(append(p.buf, 0xd3), uint64(v))
	}
}

// index appends the index of an edge, always in three bytes.
func (p *packer) index(v uint16) {
	p.buf = binary.BigEndian.AppendUint16(append(p.buf, 0xcd), v)
}

func (p *packer) binLen(n int) {
	switch {
	case n <= math.MaxUint8:
		p.buf = append(p.buf, 0xc4, byte(n))
	case n <= math.MaxUint16:
		p.buf = binary.BigEndian.AppendUint16(append(p.buf, 0xc5), uint16(n))
	default:
		p.buf = binary.BigEndian.AppendUint32(append(p.buf, 0xc6), uint32(n))
	}
}

func (p *packer) bin(s string) {
	p.binLen(len(s))
	p.buf = append(p.buf, s...)
}

func (p *packer) xattrList(xs []Xattr) {
	p.arrayLen(2 * len(xs))
	for i := range xs {
		p.bin(xs[i].Name)
		p.binLen(len(xs[i].Value))
		p.buf = append(p.buf, xs[i].Value...)
	}
}
