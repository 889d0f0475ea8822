// Package doctest reads the examples in docs/protocol.md for the tests that hold them
// against the code. A fenced block whose first line is "hex NAME" has the bytes of a
// message, with comments behind semicolons; "json NAME" has the same message as JSON;
// "vectors NAME" has results of functions.
package doctest

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

var fence = regexp.MustCompile("(?ms)^```(hex|json|vectors) ([a-z0-9-]+)\n(.*?)^```$")

// Read returns the text of the document at path, and its blocks by "KIND NAME".
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
			t.Errorf("the document has two blocks %q", key)
		}
		blocks[key] = m[3]
	}
	return text, blocks
}

// WantVectors fails the test unless the block "vectors NAME" of the document at path
// says want.
func WantVectors(t testing.TB, path, name, want string) {
	t.Helper()
	if _, blocks := Read(t, path); blocks["vectors "+name] != want {
		t.Errorf("the vectors of %s should be\n%s", name, want)
	}
}
