package seal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"servidor-backup/client/internal/chunk"
	"servidor-backup/schemas"
	"servidor-backup/schemas/doctest"
)

var sealDoc = filepath.Join("..", "..", "..", "docs", "formats.md")

// Other programs are written from docs/formats.md, so its examples must be what the
// client's packages do. Package doctest says how the examples are marked.
func TestSealingExamplesOfFormatsDoc(t *testing.T) {
	k := fixedKeys()
	for name, want := range map[string]string{
		"keys":       keyVectors(k),
		"key-file":   keyFileVector(),
		"source-ids": sourceVectors(),
		"frame":      frameVectors(t, k),
		"label":      labelVectors(t, k),
	} {
		doctest.WantVectors(t, sealDoc, name, want)
	}
}

func keyVectors(k *Keys) string {
	var source [32]byte
	testKey().derive("source id", source[:])
	fingerprint, checksum := testKey().Fingerprint(), keyChecksum(testKey())
	var b strings.Builder
	for _, sub := range []struct {
		purpose string
		key     []byte
	}{
		{"data chunk id", k.dataIDs.key[:]},
		{"tree chunk id", k.treeIDs.key[:]},
		{"label id", k.labelIDs.key[:]},
		{"seal", k.sealing.key[:]},
		{"tree border", k.borders.key[:]},
		{"source id", source[:]},
		{"fingerprint", fingerprint[:]},
		{"key file checksum", checksum[:]},
	} {
		fmt.Fprintf(&b, "%-18s %x\n", sub.purpose, sub.key)
	}
	for _, word := range []int{0, 1, 255} {
		fmt.Fprintf(&b, "%-18s %016x\n", fmt.Sprint("gear word ", word), chunk.NewGear(k.CutSeed())[word])
	}
	return b.String()
}

func keyFileVector() string {
	return strings.TrimPrefix(string(encodeKeyFile(testKey(), "of a test")), keyFileComment+"# of a test\n")
}

func sourceVectors() string {
	var b strings.Builder
	for _, paths := range [][]string{{"/home/ana"}, {"/etc", "/home/ana"}, {"-"}} {
		id := testKey().SourceID("host", strings.Join(paths, "\x00"))
		fmt.Fprintf(&b, "%-23s %x\n", fmt.Sprintf("%q", paths), id[:])
	}
	return b.String()
}

func frameVectors(t *testing.T, k *Keys) string {
	t.Helper()
	plain := []byte("the quick brown fox")
	id := k.DataID(plain)
	frame, err := k.sealData(nil, id, plain, options{level: CompressOff})
	if err != nil {
		t.Fatal(err)
	}
	key, inner := openByHand(t, k, id, frame)
	return fmt.Sprintf("id     %x\nkey    %x\ninner  %x\nframe  %x\n", id[:], key, inner, frame)
}

// openByHand opens a frame with nothing but what the document says about it.
func openByHand(t *testing.T, k *Keys, id schemas.ChunkID, frame []byte) (key, inner []byte) {
	t.Helper()
	h := newKeyed(k.sealing.key[:])
	h.Write(id[:])
	key = h.Sum(nil)
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	inner, err = gcm.Open(nil, frame[1:13], frame[13:], append([]byte{1}, id[:]...))
	if err != nil {
		t.Fatal(err)
	}
	return key, inner
}

// labelVectors seals the document's label without compression, because what zstd packs may
// change.
func labelVectors(t *testing.T, k *Keys) string {
	t.Helper()
	plain := doctest.Hex(t, sealDoc, "label")
	id := k.labelID(plain)
	frame, err := k.Seal(nil, id, plain, CompressOff)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := New(testKey()).open(nil, id, frame)
	if err != nil || !bytes.Equal(opened, plain) {
		t.Errorf("the label opens as %x, %v, want %x", opened, err, plain)
	}
	return fmt.Sprintf("id     %x\nframe  %x\n", id[:], frame)
}
