// Package doctest reads the examples in docs/protocol.md and docs/formats.md for tests that
// compare them with the code. A fenced block whose info string is "hex NAME" has the bytes
// of a message, with comments behind semicolons; "json NAME" has the same message as JSON;
// "vectors NAME" has results of functions.
package doctest

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var fence = regexp.MustCompile("(?ms)^```(hex|json|vectors) ([a-z0-9-]+)\n(.*?)^```$")

// Read returns the text of the document at path, with LF line ends, and its example blocks
// by "KIND NAME".
func Read(t testing.TB, path string) (text string, blocks map[string]string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text, blocks = strings.ReplaceAll(string(b), "\r\n", "\n"), map[string]string{}
	for _, m := range fence.FindAllStringSubmatch(text, -1) {
		key := m[1] + " " + m[2]
		if _, twice := blocks[key]; twice {
			t.Errorf("the document has two blocks named %q", key)
		}
		blocks[key] = m[3]
	}
	return text, blocks
}

// WantVectors fails the test unless the block "vectors NAME" of the document at path
// equals want.
func WantVectors(t testing.TB, path, name, want string) {
	t.Helper()
	if _, blocks := Read(t, path); blocks["vectors "+name] != want {
		t.Errorf("the vectors of %s should be\n%s", name, want)
	}
}

// Hex returns the bytes of the block "hex NAME", without its comments.
func Hex(t testing.TB, path, name string) []byte {
	t.Helper()
	_, blocks := Read(t, path)
	var digits strings.Builder
	for line := range strings.Lines(blocks["hex "+name]) {
		code, _, _ := strings.Cut(line, ";")
		digits.WriteString(strings.Join(strings.Fields(code), ""))
	}
	b, err := hex.DecodeString(digits.String())
	if err != nil {
		t.Errorf("the bytes of %s: %v", name, err)
	}
	return b
}

// WantHex fails the test unless the block "hex NAME" holds want. It prints want as a block
// to paste, without comments.
func WantHex(t testing.TB, path, name string, want []byte) {
	t.Helper()
	if bytes.Equal(Hex(t, path, name), want) {
		return
	}
	var lines strings.Builder
	for line := range slices.Chunk(want, 32) {
		fmt.Fprintf(&lines, "%x\n", line)
	}
	t.Errorf("the bytes of %s are wrong, they should be\n%s", name, lines.String())
}
