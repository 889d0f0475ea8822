package segment

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/zeebo/blake3"
)

// docs/formats.md shows the beginning of a segment as a fenced block of hex with
// comments behind semicolons. The bytes must be those that this package writes.
func TestFormatsDocSegment(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "formats.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, block, found := strings.Cut(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n```hex segment\n")
	block, _, closed := strings.Cut(block, "```")
	if !found || !closed {
		t.Fatal("the document has no block \"hex segment\"")
	}
	segment, _ := goldenSegment()
	shown, annotated := annotateSegment(segment)
	var digits strings.Builder
	for line := range strings.Lines(block) {
		code, _, _ := strings.Cut(line, ";")
		digits.WriteString(strings.Join(strings.Fields(code), ""))
	}
	got, err := hex.DecodeString(digits.String())
	if err != nil || !bytes.Equal(got, shown) {
		t.Errorf("the block is wrong (%v), it should be\n%s", err, annotated)
	}
	checkSums(t, segment)
	// The next bytes of the golden segment must begin another record.
	if !bytes.HasPrefix(segment[len(shown):], []byte(recordMagic)) {
		t.Error("the block does not end where a record ends")
	}
}

// checkSums computes the checksums of the golden segment's first record from its
// bytes alone, as the document describes them.
func checkSums(t *testing.T, segment []byte) {
	t.Helper()
	at := func(from, to int) []byte { return segment[FileHeaderSize+from : FileHeaderSize+to] }
	edges, content := at(152, 248), at(248, 254)
	// id, kind, numbers of trees and data, edges, content
	sum := blake3.Sum256(slices.Concat(at(56, 88), at(4, 5), at(8, 16), edges, content))
	if !bytes.Equal(sum[:], at(88, 120)) {
		t.Errorf("by the document the sum is %x", sum)
	}
	sum = blake3.Sum256(edges)
	if !bytes.Equal(sum[:16], at(120, 136)) {
		t.Errorf("by the document the edgesum is %x", sum[:16])
	}
	keyed, err := blake3.NewKeyed(segment[48:80])
	if err != nil {
		t.Fatal(err)
	}
	keyed.Write(at(0, 136))
	keyed.Write(segment[12:16]) // the segment's number
	keyed.Write(binary.LittleEndian.AppendUint64(nil, FileHeaderSize))
	if head := keyed.Sum(nil)[:16]; !bytes.Equal(head, at(136, 152)) {
		t.Errorf("by the document the headsum is %x", head)
	}
}

// annotateSegment returns the file header and the first record of the golden
// segment, as bytes and as the document shows them.
func annotateSegment(segment []byte) (shown []byte, text string) {
	var b strings.Builder
	n := 0
	for _, field := range []struct {
		size int
		what string
	}{
		{8, `"SBKSEGMT"`},
		{4, "version 1"},
		{4, "segment 7"},
		{32, `node "abcdefgh23456723"`},
		{32, "salt"},
		{8, "created 1700000000"},
		{8, "0"},
		{32, "checksum"},
		{4, `"SBr1"`},
		{1, "kind: tree"},
		{3, "shard 0 of 1+0"},
		{4, "1 tree edge"},
		{4, "2 data edges"},
		{4, "6 bytes of content"},
		{4, "0"},
		{8, "time 1700000001"},
		{8, "the batch starts at 128"},
		{16, "vault"},
		{32, "chunk id"},
		{32, "sum"},
		{16, "edgesum"},
		{16, "headsum"},
		{32, "tree edge 0"},
		{32, "data edge 0"},
		{32, "data edge 1"},
		{6, `"sealed"`},
	} {
		fmt.Fprintf(&b, "%-64x ; %s\n", segment[n:n+field.size], field.what)
		n += field.size
	}
	return segment[:n], b.String()
}
