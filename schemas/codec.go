package schemas

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/vmihailenco/msgpack/v5"
)

// maxDepth bounds the nesting of messages. The deepest message of the protocol has five
// levels.
const maxDepth = 16

// Marshal encodes v, a message of this package, as msgpack.
func Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := msgpack.GetEncoder()
	defer msgpack.PutEncoder(e)
	e.Reset(&b)
	e.UseCompactInts(true)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	return b.Bytes(), nil
}

// Unmarshal decodes one msgpack map into v, after it has checked all of b with
// [WellFormed]. It skips unknown fields, so that newer programs can add some. Slices in v
// do not alias b. Errors have the code [BadRequest].
func Unmarshal(b []byte, v any) error {
	if err := WellFormed(b); err != nil {
		return err
	}
	d := msgpack.GetDecoder()
	defer msgpack.PutDecoder(d)
	d.Reset(bytes.NewReader(b))
	if err := d.Decode(v); err != nil {
		return Errorf(BadRequest, "a field of the message has the wrong type: %v", err)
	}
	return nil
}

// WellFormed checks that b is exactly one msgpack map, nested at most 16 levels deep, and
// that no length in it exceeds b. Decoding such bytes neither allocates much more than
// len(b) nor recurses deeply. Errors have the code [BadRequest].
func WellFormed(b []byte) error {
	if len(b) == 0 {
		return Errorf(BadRequest, "the message is empty; it must be a msgpack map")
	}
	if c := b[0]; c>>4 != 0x8 && c != 0xde && c != 0xdf {
		return Errorf(BadRequest, "the message is not a msgpack map (its first byte is 0x%02x)", c)
	}
	rest, err := skip(b, maxDepth)
	if err != nil {
		return Errorf(BadRequest, "the message is not valid msgpack: %v", err)
	}
	if len(rest) > 0 {
		return Errorf(BadRequest, "%d bytes follow the msgpack map", len(rest))
	}
	return nil
}

var (
	errTruncated = errors.New("it ends in the middle of a value")
	errTooDeep   = errors.New("it is nested too deep")
	errType      = errors.New("a value has the wrong type")
)

// head is the type and the length of a msgpack value.
type head struct {
	class byte   // one of the class constants
	n     uint64 // payload bytes (str, bin, ext), elements (array), pairs (map), or the value (uint)
}

const (
	classOther = iota // nil, bool, float, negative int: n payload bytes to skip
	classUint
	classInt // a signed type; readHead turns it into classUint or classOther by its sign
	classStr
	classBin
	classArray
	classMap
)

// readHead reads the type byte and the length of the value at the start of b, as
// the msgpack specification lays them out, and returns the bytes that follow.
func readHead(b []byte) (h head, rest []byte, err error) {
	if len(b) == 0 {
		return h, nil, errTruncated
	}
	c, b := b[0], b[1:]
	switch {
	case c < 0x80:
		return head{classUint, uint64(c)}, b, nil
	case c < 0x90:
		return head{classMap, uint64(c & 0x0f)}, b, nil
	case c < 0xa0:
		return head{classArray, uint64(c & 0x0f)}, b, nil
	case c < 0xc0:
		return head{classStr, uint64(c & 0x1f)}, b, nil
	case c >= 0xe0:
		return head{classOther, 0}, b, nil
	}
	s := shapes[c-0xc0]
	if s.lenBytes > len(b) {
		return h, nil, errTruncated
	}
	n := s.extra
	if s.lenBytes > 0 {
		var v uint64
		for _, x := range b[:s.lenBytes] {
			v = v<<8 | uint64(x)
		}
		n += v
		b = b[s.lenBytes:]
	}
	switch {
	case s.bad:
		return h, nil, fmt.Errorf("the byte 0x%02x starts no value", c)
	case s.class == classInt && n>>(8*s.lenBytes-1) == 0:
		return head{classUint, n}, b, nil
	case s.class == classInt:
		return head{classOther, 0}, b, nil
	}
	return head{s.class, n}, b, nil
}

// shape is the layout of the value behind a type byte from 0xc0 to 0xdf.
type shape struct {
	class    byte
	lenBytes int    // size of the length field, or of the uint itself
	extra    uint64 // payload bytes beyond the length: an ext's type byte, or a fixed size
	bad      bool   // the type byte is not used by msgpack
}

var shapes = [32]shape{
	0x00: {}, 0x01: {bad: true}, 0x02: {}, 0x03: {}, // nil, never used, false, true
	0x04: {classBin, 1, 0, false}, 0x05: {classBin, 2, 0, false}, 0x06: {classBin, 4, 0, false},
	0x07: {classOther, 1, 1, false}, 0x08: {classOther, 2, 1, false}, 0x09: {classOther, 4, 1, false}, // ext
	0x0a: {classOther, 0, 4, false}, 0x0b: {classOther, 0, 8, false}, // floats
	0x0c: {classUint, 1, 0, false}, 0x0d: {classUint, 2, 0, false}, 0x0e: {classUint, 4, 0, false}, 0x0f: {classUint, 8, 0, false},
	0x10: {classInt, 1, 0, false}, 0x11: {classInt, 2, 0, false}, 0x12: {classInt, 4, 0, false}, 0x13: {classInt, 8, 0, false},
	0x14: {classOther, 0, 2, false}, 0x15: {classOther, 0, 3, false}, 0x16: {classOther, 0, 5, false}, 0x17: {classOther, 0, 9, false}, 0x18: {classOther, 0, 17, false}, // fixext
	0x19: {classStr, 1, 0, false}, 0x1a: {classStr, 2, 0, false}, 0x1b: {classStr, 4, 0, false},
	0x1c: {classArray, 2, 0, false}, 0x1d: {classArray, 4, 0, false},
	0x1e: {classMap, 2, 0, false}, 0x1f: {classMap, 4, 0, false},
}

// skip returns the bytes that follow the value at the start of b.
func skip(b []byte, depth int) ([]byte, error) {
	if depth == 0 {
		return nil, errTooDeep
	}
	h, b, err := readHead(b)
	if err != nil {
		return nil, err
	}
	switch h.class {
	case classUint:
		return b, nil
	case classMap:
		h.n *= 2
		fallthrough
	case classArray:
		if h.n > uint64(len(b)) { // every element has at least one byte
			return nil, errTruncated
		}
		for ; h.n > 0; h.n-- {
			if b, err = skip(b, depth-1); err != nil {
				return nil, err
			}
		}
		return b, nil
	}
	if h.n > uint64(len(b)) {
		return nil, errTruncated
	}
	return b[h.n:], nil
}
