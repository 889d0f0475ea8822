package main

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/vmihailenco/msgpack/v5"
	"github.com/vmihailenco/msgpack/v5/msgpcode"
)

// Limits of the input of decode; messages of the bus are far smaller.
const (
	maxDecodeDepth = 64
	maxDecodeBlob  = 64 << 20 // one str, bin or ext, in bytes
	maxDecodeText  = 16 << 20 // plain text, in bytes
	maxDecodeHex   = 64       // bytes of a bin that are printed
)

func newDecode(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "decode",
		Short: a.t("decode.short"),
		Long:  a.t("decode.long"),
		Args:  a.takes(0, 0),
		RunE: func(*cobra.Command, []string) error {
			if err := decodeStream(a.out, a.in); err != nil {
				return a.fail("not-msgpack", err, "decode.failed")
			}
			return nil
		},
	}
}

// decodeStream writes each msgpack value of r as a line of JSON to w, as it arrives. It skips
// line breaks after a map. Input that is printable text becomes one JSON string, although its
// bytes are small numbers in msgpack.
func decodeStream(w *bufio.Writer, r io.Reader) error {
	in := bufio.NewReader(r)
	if _, err := in.Peek(1); err != nil {
		return ignoreEOF(err)
	}
	// The first read decides whether the input may be text; its last rune may be cut.
	head, _ := in.Peek(in.Buffered())
	if isText(head, true) {
		all, err := io.ReadAll(io.LimitReader(in, maxDecodeText))
		if err != nil {
			return err
		}
		if len(all) < maxDecodeText && isText(all, false) {
			return writeLine(w, appendJSONString(nil, string(all)))
		}
		in = bufio.NewReader(io.MultiReader(bytes.NewReader(all), in))
	}
	return decodeValues(w, in)
}

func decodeValues(w *bufio.Writer, in *bufio.Reader) error {
	d := jsonDecoder{msgpack.NewDecoder(in)}
	message := false // the previous value was a map: a complete message
	for n := 1; ; n++ {
		next, err := in.Peek(1)
		if err != nil {
			return ignoreEOF(err)
		}
		if message && next[0] == '\n' {
			// "nats req --raw" ends a message with a line break, which is msgpack for 10.
			_, _ = in.Discard(1) // the byte is buffered
			continue
		}
		line, err := d.value(nil, maxDecodeDepth)
		if err != nil {
			return fmt.Errorf("value %d: %w", n, unexpectedEOF(err))
		}
		if err := writeLine(w, line); err != nil {
			return err
		}
		message = line[0] == '{'
		// A live stream shows each value at once.
		if in.Buffered() == 0 {
			if err := w.Flush(); err != nil {
				return err
			}
		}
	}
}

func writeLine(w *bufio.Writer, line []byte) error {
	_, err := w.Write(append(line, '\n'))
	return err
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// unexpectedEOF turns an end inside a value into an error.
func unexpectedEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// isText reports whether b is printable UTF-8. If cut is set, the last rune may be
// incomplete.
func isText(b []byte, cut bool) bool {
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 {
			return cut && !utf8.FullRune(b)
		}
		if !unicode.IsPrint(r) && r != '\n' && r != '\r' && r != '\t' {
			return false
		}
		b = b[n:]
	}
	return true
}

// jsonDecoder turns msgpack into JSON and keeps the order of maps.
type jsonDecoder struct{ *msgpack.Decoder }

var (
	errDecodeDepth = errors.New("nested too deeply")
	errDecodeSize  = errors.New("a length beyond the limit")
)

// value appends the next value, at most depth levels deep, as JSON to dst.
func (d jsonDecoder) value(dst []byte, depth int) ([]byte, error) {
	if depth == 0 {
		return nil, errDecodeDepth
	}
	c, err := d.PeekCode()
	if err != nil {
		return nil, err
	}
	switch {
	case msgpcode.IsFixedMap(c), c == msgpcode.Map16, c == msgpcode.Map32:
		return d.object(dst, depth)
	case msgpcode.IsFixedArray(c), c == msgpcode.Array16, c == msgpcode.Array32:
		return d.array(dst, depth)
	case msgpcode.IsString(c), msgpcode.IsBin(c):
		return d.blob(dst, msgpcode.IsBin(c))
	case msgpcode.IsExt(c):
		return d.ext(dst)
	case c == msgpcode.Nil:
		return append(dst, "null"...), d.DecodeNil()
	case c == msgpcode.True, c == msgpcode.False:
		v, err := d.DecodeBool()
		return strconv.AppendBool(dst, v), err
	case c == msgpcode.Float, c == msgpcode.Double:
		v, err := d.DecodeFloat64()
		return appendFloat(dst, v, c == msgpcode.Float), err
	case msgpcode.IsFixedNum(c), c >= msgpcode.Uint8 && c <= msgpcode.Int64:
		return d.integer(dst, c)
	}
	return nil, fmt.Errorf("the byte 0x%02x starts no value", c)
}

func (d jsonDecoder) integer(dst []byte, c byte) ([]byte, error) {
	if c == msgpcode.Uint64 {
		v, err := d.DecodeUint64()
		return strconv.AppendUint(dst, v, 10), err
	}
	v, err := d.DecodeInt64()
	return strconv.AppendInt(dst, v, 10), err
}

func (d jsonDecoder) array(dst []byte, depth int) ([]byte, error) {
	n, err := d.DecodeArrayLen()
	if err != nil {
		return nil, err
	}
	dst = append(dst, '[')
	for i := range n {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = d.value(dst, depth-1); err != nil {
			return nil, err
		}
	}
	return append(dst, ']'), nil
}

func (d jsonDecoder) object(dst []byte, depth int) ([]byte, error) {
	n, err := d.DecodeMapLen()
	if err != nil {
		return nil, err
	}
	dst = append(dst, '{')
	for i := range n {
		if i > 0 {
			dst = append(dst, ',')
		}
		key, err := d.value(nil, depth-1)
		if err != nil {
			return nil, err
		}
		if key[0] != '"' { // JSON allows only strings as keys
			key = appendJSONString(nil, string(key))
		}
		dst = append(append(dst, key...), ':')
		if dst, err = d.value(dst, depth-1); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

// blob appends a str or bin as a JSON string.
func (d jsonDecoder) blob(dst []byte, bin bool) ([]byte, error) {
	n, err := d.DecodeBytesLen()
	if err != nil {
		return nil, err
	}
	b, err := d.read(n)
	if err != nil {
		return nil, err
	}
	if bin {
		return appendJSONString(dst, hexString(b)), nil
	}
	return appendJSONString(dst, string(b)), nil
}

// read reads n bytes. It does not trust n: it allocates memory only as bytes arrive.
func (d jsonDecoder) read(n int) ([]byte, error) {
	if n < 0 || n > maxDecodeBlob {
		return nil, errDecodeSize
	}
	var b []byte
	for len(b) < n {
		done := len(b)
		b = append(b, make([]byte, min(n-done, 1<<20))...)
		if err := d.ReadFull(b[done:]); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// ext appends a timestamp as RFC 3339, and any other extension as its type and bytes.
func (d jsonDecoder) ext(dst []byte) ([]byte, error) {
	kind, n, err := d.DecodeExtHeader()
	if err != nil {
		return nil, err
	}
	b, err := d.read(n)
	if err != nil {
		return nil, err
	}
	if t, ok := timestamp(kind, b); ok {
		return appendJSONString(dst, t.Format(time.RFC3339Nano)), nil
	}
	return appendJSONString(dst, fmt.Sprintf("ext %d: %s", kind, hexString(b))), nil
}

// timestamp parses the three layouts of msgpack's timestamp extension, type -1.
func timestamp(kind int8, b []byte) (time.Time, bool) {
	if kind != -1 {
		return time.Time{}, false
	}
	var n uint64
	for _, c := range b[max(0, len(b)-8):] {
		n = n<<8 | uint64(c)
	}
	switch len(b) {
	case 4:
		return time.Unix(int64(n), 0).UTC(), true
	case 8:
		return time.Unix(int64(n&(1<<34-1)), int64(n>>34)).UTC(), true
	case 12:
		var ns int64
		for _, c := range b[:4] {
			ns = ns<<8 | int64(c)
		}
		return time.Unix(int64(n), ns).UTC(), true
	}
	return time.Time{}, false
}

// hexString formats bytes in hex; long data as the first bytes and the length.
func hexString(b []byte) string {
	if len(b) <= maxDecodeHex {
		return hex.EncodeToString(b)
	}
	return fmt.Sprintf("%s… (%d bytes)", hex.EncodeToString(b[:maxDecodeHex]), len(b))
}

// appendFloat appends a number, or a string for NaN and infinity, which JSON does not have.
func appendFloat(dst []byte, v float64, single bool) []byte {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return strconv.AppendQuote(dst, strconv.FormatFloat(v, 'g', -1, 64))
	}
	bits := 64
	if single {
		bits = 32
	}
	return strconv.AppendFloat(dst, v, 'g', -1, bits)
}

// appendJSONString appends s as a JSON string. Bytes that are not UTF-8 become \xNN in it.
func appendJSONString(dst []byte, s string) []byte {
	if !utf8.ValidString(s) {
		s = escapeInvalid(s)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic(err) // a string can always be encoded
	}
	return append(dst, bytes.TrimSuffix(b.Bytes(), []byte("\n"))...)
}

func escapeInvalid(s string) string {
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && n == 1 {
			fmt.Fprintf(&b, `\x%02x`, s[0])
		} else {
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String()
}
