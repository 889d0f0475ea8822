package tree

import (
	"bytes"
	"math"
	"testing"

	"github.com/vmihailenco/msgpack/v5"
	"pgregory.net/rapid"
)

// The packer writes the same bytes as a msgpack library.
func TestPackerIsMsgpack(t *testing.T) {
	numbers := rapid.OneOf(rapid.Int64(), rapid.SampledFrom([]int64{
		0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x10000, math.MaxUint32, math.MaxUint32 + 1, math.MaxInt64,
		-1, -32, -33, -128, -129, -0x8000, -0x8001, math.MinInt32, math.MinInt32 - 1, math.MinInt64,
	}))
	lengths := rapid.SampledFrom([]int{0, 1, 15, 16, 255, 256, 65535, 65536})
	rapid.Check(t, func(t *rapid.T) {
		var got packer
		var want bytes.Buffer
		lib := msgpack.NewEncoder(&want)
		for range rapid.IntRange(1, 20).Draw(t, "n") {
			switch v := numbers.Draw(t, "number"); rapid.IntRange(0, 4).Draw(t, "what") {
			case 0:
				got.int(v)
				lib.EncodeInt(v)
			case 1:
				got.uint(uint64(v))
				lib.EncodeUint(uint64(v))
			case 2:
				got.index(uint16(v))
				lib.EncodeUint16(uint16(v))
			case 3:
				b := make([]byte, lengths.Draw(t, "bytes"))
				got.bin(string(b))
				lib.EncodeBytes(b)
			case 4:
				n := lengths.Draw(t, "elements")
				got.arrayLen(n)
				lib.EncodeArrayLen(n)
			}
		}
		if !bytes.Equal(got.buf, want.Bytes()) {
			t.Fatalf("packed % x, want % x", got.buf, want.Bytes())
		}
	})
}

// Another program may write the same values in other forms.
func TestNodeReaderAcceptsAnyForm(t *testing.T) {
	for form, want := range map[string]int64{
		"\x05": 5, "\xff": -1, "\xe0": -32, "\xcc\x05": 5, "\xcd\x00\x05": 5, "\xce\x00\x00\x00\x05": 5,
		"\xcf\x00\x00\x00\x00\x00\x00\x00\x05": 5, "\xd0\xfb": -5, "\xd1\xff\xfb": -5, "\xd2\xff\xff\xff\xfb": -5,
		"\xd3\xff\xff\xff\xff\xff\xff\xff\xfb": -5, "\xc0": 0,
	} {
		r := newNodeReader(Node{Payload: []byte(form)})
		got := r.int()
		if r.end(); got != want || r.err != nil {
			t.Errorf("% x is read as %d, %v, want %d", form, got, r.err, want)
		}
		u := newNodeReader(Node{Payload: []byte(form)})
		if got := u.uint(math.MaxUint64); got != uint64(want) || u.err != nil {
			t.Errorf("% x is read as %d, %v, want %d", form, got, u.err, uint64(want))
		}
		if cut := newNodeReader(Node{Payload: []byte(form[:len(form)-1])}); cut.int() != 0 || cut.err == nil {
			t.Errorf("% x, which is cut short, is read", form[:len(form)-1])
		}
	}
	for _, form := range []string{"\xa2ab", "\xd9\x02ab", "\xda\x00\x02ab", "\xdb\x00\x00\x00\x02ab", "\xc4\x02ab", "\xc5\x00\x02ab", "\xc6\x00\x00\x00\x02ab"} {
		r := newNodeReader(Node{Payload: []byte(form)})
		got := r.str(10)
		if r.end(); got != "ab" || r.err != nil {
			t.Errorf("% x is read as %q, %v", form, got, r.err)
		}
		for _, bad := range []*nodeReader{newNodeReader(Node{Payload: []byte(form[:len(form)-1])}), newNodeReader(Node{Payload: []byte(form)})} {
			if got := bad.str(1); got != "" || bad.err == nil {
				t.Errorf("% x is read as %q", form, got)
			}
		}
	}
	for _, form := range []string{"\x92\x01\x02", "\xdc\x00\x02\x01\x02", "\xdd\x00\x00\x00\x02\x01\x02"} {
		if r := newNodeReader(Node{Payload: []byte(form)}); r.arrayLen(2) != 2 || r.err != nil {
			t.Errorf("% x is not read as a list of 2: %v", form, r.err)
		}
	}
	for _, form := range []string{"\x82\x01\x02", "\xde\x00\x02\x01\x02", "\xdf\x00\x00\x00\x02\x01\x02"} {
		if r := newNodeReader(Node{Payload: []byte(form)}); r.mapLen(2) != 2 || r.err != nil {
			t.Errorf("% x is not read as a map of 2: %v", form, r.err)
		}
	}
}
