package client

import (
	"bytes"
	"encoding/hex"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"servidor-backup/client/internal/clienttest"
	"servidor-backup/client/internal/seal"
	"servidor-backup/schemas"
	"servidor-backup/schemas/doctest"
)

var formatsDoc = filepath.Join("..", "docs", "formats.md")

// Every example of the document is tested, here or beside the code that writes the format.
func TestFormatsDocHasNoUntestedExample(t *testing.T) {
	_, blocks := doctest.Read(t, formatsDoc)
	for _, tested := range []string{
		"vectors keys", "vectors key-file", "vectors source-ids", "vectors frame", "vectors label", // internal/seal
		"vectors cuts", "vectors cuts-zeros", // internal/chunk
		"vectors borders", "vectors leaf", "hex leaf", // internal/tree
		"hex label",   // below
		"hex segment", // storage
	} {
		if _, there := blocks[tested]; !there {
			t.Errorf("the document has no block %q", tested)
		}
		delete(blocks, tested)
	}
	for key := range blocks {
		t.Errorf("no test knows the document's block %q", key)
	}
}

func TestFormatsDocOfLabels(t *testing.T) {
	k, l := seal.New(seal.VaultKey(clienttest.Key())), docLabel(docID(t, "leaf"))
	plain := encodeLabel(t, l)
	doctest.WantHex(t, formatsDoc, "label", plain)
	id := docID(t, "label")
	sealed, err := sealLabel(k, l)
	if err != nil || !bytes.HasPrefix(sealed, id[:]) {
		t.Errorf("the label is sealed as %x, %v", sealed, err)
	}
	_, blocks := doctest.Read(t, formatsDoc)
	_, frame, _ := strings.Cut(blocks["vectors label"], "frame  ")
	b, err := hex.DecodeString(strings.TrimSpace(frame))
	if err != nil {
		t.Fatal(err)
	}
	read, err := openLabel(k, &schemas.Version{Record: l.Record, Root: l.Root, Sealed: append(id[:], b...)})
	if err != nil || !cmp.Equal(l, read) {
		t.Errorf("the label reads as %+v, %v", read, err)
	}
}

// docID returns the id that the vectors of name show.
func docID(t *testing.T, name string) (id schemas.ChunkID) {
	t.Helper()
	_, blocks := doctest.Read(t, formatsDoc)
	for line := range strings.Lines(blocks["vectors "+name]) {
		if digits, found := strings.CutPrefix(line, "id "); found {
			b, err := hex.DecodeString(strings.TrimSpace(digits))
			if err != nil || copy(id[:], b) != len(id) {
				t.Fatalf("the vectors of %s show no id (%v)", name, err)
			}
			return id
		}
	}
	t.Fatalf("the vectors of %s show no id", name)
	return id
}

func docLabel(root schemas.ChunkID) *label {
	return &label{Root: root, Record: "home", Host: "host", Paths: []string{"/home/ana"}, Top: "ana"}
}

func encodeLabel(t *testing.T, l *label) []byte {
	t.Helper()
	plain, err := schemas.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}
