package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/vmihailenco/msgpack/v5"

	"servidor-backup/schemas"
)

func decoded(r io.Reader) (string, error) {
	var b strings.Builder
	w := bufio.NewWriter(&b)
	err := decodeStream(w, r)
	w.Flush()
	return b.String(), err
}

func TestDecode(t *testing.T) {
	long := bytes.Repeat([]byte{0xab}, 65)
	for _, test := range []struct {
		in   any // a []byte is already msgpack
		want string
	}{
		{[]byte{}, ``},
		{[]byte("hello é\n"), `"hello é\n"`},
		{[]byte("7"), `"7"`},
		{[]byte("abc\x01"), "97\n98\n99\n1"},
		{[]byte{0xc0, 0xc2, 0xc3}, "null\nfalse\ntrue"},
		{[]byte{0x82, 0xa1, 'b', 1, 0xa1, 'a', 2}, `{"b":1,"a":2}`},
		{[]byte{0x84, 1, 2, 0xc0, 3, 0xc4, 1, 0xff, 4, 0x91, 5, 6}, `{"1":2,"null":3,"ff":4,"[5]":6}`},
		{[]byte{0xa3, 'a', 0xff, 'b'}, `"a\\xffb"`},
		{[]byte{0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, `18446744073709551615`},
		{[]byte{0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0}, `-9223372036854775808`},
		{[]byte{0xff, 0xe0}, "-1\n-32"},
		{[]byte{0xcb, 0x7f, 0xf0, 0, 0, 0, 0, 0, 0}, `"+Inf"`},
		{[]byte{0xca, 0x3d, 0xcc, 0xcc, 0xcd}, `0.1`},
		{[]byte{0xd4, 5, 0xaa}, `"ext 5: aa"`},
		{[]byte{0xc7, 12, 0xff, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, `"1969-12-31T23:59:59.000000001Z"`},
		{time.Unix(1, 5), `"1970-01-01T00:00:01.000000005Z"`},
		{time.Unix(1, 0), `"1970-01-01T00:00:01Z"`},
		{map[string][]byte{"x": long}, `{"x":"` + strings.Repeat("ab", 64) + `… (65 bytes)"}`},
		{schemas.ListRequest{Nickname: "ana <&>"}, `{"apelido":"ana <&>"}`},
	} {
		in, ok := test.in.([]byte)
		if !ok {
			var err error
			if in, err = msgpack.Marshal(test.in); err != nil {
				t.Fatal(err)
			}
		}
		want := test.want
		if want != "" {
			want += "\n"
		}
		for _, r := range []io.Reader{bytes.NewReader(in), iotest.OneByteReader(bytes.NewReader(in))} {
			if got, err := decoded(r); got != want || err != nil {
				t.Errorf("%x: %s, %v; want %s", in, got, err, want)
			}
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"unused byte":  "\xc1",
		"cut map":      "\x82\xa1a\x01",
		"cut string":   "\xd9\x05ab",
		"huge bin":     "\xc6\xff\xff\xff\xff",
		"huge array":   "\xdd\xff\xff\xff\xff",
		"too deep":     strings.Repeat("\x91", 100) + "\x01",
		"cut ext":      "\xc7\x05\x01a",
		"second value": "\x01\x81",
	} {
		if out, err := decoded(strings.NewReader(in)); err == nil {
			t.Errorf("%s gave %s", name, out)
		}
	}
	c := newCLI(t)
	c.in = "\xc1"
	c.expect(t, exitFailed, "decode", "--json")
	contains(t, c.err.String(), `"code":"not-msgpack"`, "value 1")
}

// A live stream shows each value when it arrives.
func TestDecodeIsLive(t *testing.T) {
	in, send := io.Pipe()
	got, out := io.Pipe()
	done := make(chan error)
	go func() { done <- decodeStream(bufio.NewWriter(out), in) }()
	lines := bufio.NewReader(got)
	for range 3 {
		if _, err := send.Write([]byte{0x81, 0xa1, 'a', 0x01}); err != nil {
			t.Fatal(err)
		}
		if line, err := lines.ReadString('\n'); line != "{\"a\":1}\n" || err != nil {
			t.Fatalf("%q, %v", line, err)
		}
	}
	send.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("\x82\xa1a\x01\xc4\x02ab\xc3"))
	f.Add([]byte("text"))
	f.Add([]byte("\xd6\xff\x00\x00\x00\x01"))
	f.Add([]byte("\x81\xca\x7f\xc0\x00\x00\xa1\xff"))
	f.Fuzz(func(t *testing.T, in []byte) {
		out, err := decoded(bytes.NewReader(in))
		if err != nil {
			return
		}
		for line := range strings.Lines(out) {
			if !json.Valid([]byte(line)) {
				t.Errorf("%x gave %q", in, line)
			}
		}
	})
}
