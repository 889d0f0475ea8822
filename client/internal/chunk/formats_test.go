package chunk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"servidor-backup/client/internal/clienttest"
	"servidor-backup/schemas/doctest"
)

var chunkDoc = filepath.Join("..", "..", "..", "docs", "formats.md")

func TestCutExamplesOfFormatsDoc(t *testing.T) {
	doctest.WantVectors(t, chunkDoc, "cuts", cutVectors(t, docContent()))
	doctest.WantVectors(t, chunkDoc, "cuts-zeros", cutVectors(t, docContent()[:300_000], make([]byte, 200_000), docContent()[300_000:]))
}

// cutVectors returns where this package cuts the content, which is given in parts: the
// second one is a run of zeros. It checks that the document's own steps cut there too.
func cutVectors(t *testing.T, parts ...[]byte) string {
	t.Helper()
	content := slices.Concat(parts...)
	ends := cutAll(t, bytes.NewReader(content), content)
	var byHand []int
	start := 0
	for i, part := range parts {
		cuts := []int{len(part)}
		if i != 1 {
			cuts = cutByHand(testGear(clienttest.Key()), part)
		}
		for _, end := range cuts {
			byHand = append(byHand, start+end)
		}
		start += len(part)
	}
	if !slices.Equal(ends, byHand) {
		t.Errorf("the document's steps cut at %v, the package at %v", byHand, ends)
	}
	var b strings.Builder
	for _, end := range ends {
		fmt.Fprintln(&b, end)
	}
	return b.String()
}

// docContent returns the content that the document cuts.
func docContent() (content []byte) {
	for i := range uint64(4 << 20 / 8) {
		content = binary.LittleEndian.AppendUint64(content, docMix(i))
	}
	return content
}

// docMix is the function mix of docs/protocol.md.
func docMix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func cutByHand(gear *Gear, content []byte) (ends []int) {
	for start := 0; start < len(content); {
		start += lengthByHand(gear, content[start:])
		ends = append(ends, start)
	}
	return ends
}

// lengthByHand follows the numbered steps of the document to the letter.
func lengthByHand(gear *Gear, rest []byte) int {
	if len(rest) <= 131_072 {
		return len(rest)
	}
	end := min(len(rest), 999_800)
	var hash uint64
	for _, b := range rest[131_008:131_072] {
		hash = 2*hash + gear[b]
	}
	for i := 131_072; i < end; i++ {
		hash = 2*hash + gear[rest[i]]
		if i < 434_176 && hash < 1<<43 || i >= 434_176 && hash < 1<<47 {
			return i + 1
		}
	}
	return end
}
