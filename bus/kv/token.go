package kv

import (
	"fmt"

	"github.com/zeebo/blake3"
)

// maxToken is the longest token, in bytes. It keeps a subject with two names, a number and
// a bucket's name well below NATS's limit of 4 KiB for a protocol line.
const maxToken = 200

// Token encodes a name as one token of a key. Letters, digits, "-" and "_" stay as they
// are, so that the output of "nats kv ls" is readable. Other bytes become = and two hex
// digits. A token that would be too long becomes == and a hash.
func Token(name string) string {
	const hex = "0123456789abcdef"
	var t []byte
	for _, c := range []byte(name) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' {
			t = append(t, c)
		} else {
			t = append(t, '=', hex[c>>4], hex[c&15])
		}
	}
	if len(t) <= maxToken {
		return string(t)
	}
	sum := blake3.Sum256([]byte(name))
	return fmt.Sprintf("==%x", sum[:16])
}
