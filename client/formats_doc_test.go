package client

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"servidor-backup/schemas"
)

// docs/formats.md is what other programs are written from, so what it shows must
// be what this package does. In it, a fenced block whose first line is "hex
// NAME" holds bytes, with comments behind semicolons, and "vectors NAME" results
// of functions.

var docBlock = regexp.MustCompile("(?ms)^```([a-z]+) ([a-z0-9-]+)\n(.*?)^```$")

func readFormatsDoc(t *testing.T) map[string]string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "docs", "formats.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := map[string]string{}
	for _, m := range docBlock.FindAllStringSubmatch(strings.ReplaceAll(string(b), "\r\n", "\n"), -1) {
		key := m[1] + " " + m[2]
		if _, twice := blocks[key]; twice {
			t.Errorf("the document has two blocks %q", key)
		}
		blocks[key] = m[3]
	}
	return blocks
}

func TestFormatsDocVectors(t *testing.T) {
	blocks := readFormatsDoc(t)
	k, leaf := fixedKeys(), makeDocLeaf(t)
	for name, want := range map[string]string{
		"keys":       keyVectors(k),
		"key-file":   keyFileVector(),
		"source-ids": sourceVectors(),
		"cuts":       cutVectors(t, docContent()),
		"cuts-zeros": cutVectors(t, docContent()[:300_000], make([]byte, 200_000), docContent()[300_000:]),
		"frame":      frameVectors(t, k),
		"borders":    borderVectors(t, k),
		"leaf":       leaf.vectors(),
		"label":      labelVectors(t, k, leaf.id),
	} {
		if got := blocks["vectors "+name]; got != want {
			t.Errorf("the vectors of %s should be\n%s", name, want)
		}
		delete(blocks, "vectors "+name)
	}
	for name, want := range map[string][]byte{"leaf": leaf.node.payload, "label": encodeLabel(t, docLabel(leaf.id))} {
		got, err := uncommentedHex(blocks["hex "+name])
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("the bytes of %s are wrong (%v), they should be\n%s", name, err, hexLines(want))
		}
		delete(blocks, "hex "+name)
	}
	delete(blocks, "hex segment") // for the test beside the code that writes it
	for key := range blocks {
		t.Errorf("the document's block %q is nothing that this test knows", key)
	}
}

func uncommentedHex(block string) ([]byte, error) {
	var digits strings.Builder
	for line := range strings.Lines(block) {
		code, _, _ := strings.Cut(line, ";")
		digits.WriteString(strings.Join(strings.Fields(code), ""))
	}
	return hex.DecodeString(digits.String())
}

// hexLines is a block of b to paste, still without comments.
func hexLines(b []byte) string {
	var lines strings.Builder
	for line := range slices.Chunk(b, 32) {
		fmt.Fprintf(&lines, "%x\n", line)
	}
	return lines.String()
}

func keyVectors(k *keys) string {
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
		fmt.Fprintf(&b, "%-18s %016x\n", fmt.Sprint("gear word ", word), testGear(testKey())[word])
	}
	return b.String()
}

func keyFileVector() string {
	return strings.TrimPrefix(string(encodeKeyFile(testKey())), keyFileComment)
}

func sourceVectors() string {
	var b strings.Builder
	for _, paths := range [][]string{{"/home/ana"}, {"/etc", "/home/ana"}, {"-"}} {
		id := SourceID(testKey(), "host", strings.Join(paths, "\x00"))
		fmt.Fprintf(&b, "%-23s %x\n", fmt.Sprintf("%q", paths), id[:])
	}
	return b.String()
}

// cutVectors are where content is cut, by this package and by the document's own
// steps. It is given in parts, the second of which is a run of zeros.
func cutVectors(t *testing.T, parts ...[]byte) string {
	t.Helper()
	content := slices.Concat(parts...)
	ends := cutAll(t, bytes.NewReader(content), content)
	var byHand []int
	start := 0
	for i, part := range parts {
		cuts := []int{len(part)}
		if i != 1 {
			cuts = cutByHand(testGear(testKey()), part)
		}
		for _, end := range cuts {
			byHand = append(byHand, start+end)
		}
		start += len(part)
	}
	if !slices.Equal(ends, byHand) {
		t.Errorf("the document's steps cut at %v", byHand)
	}
	var b strings.Builder
	for _, end := range ends {
		fmt.Fprintln(&b, end)
	}
	return b.String()
}

// docContent is the content that the document has cut.
func docContent() (content []byte) {
	for i := range uint64(4 << 20 / 8) {
		content = binary.LittleEndian.AppendUint64(content, docMix(i))
	}
	return content
}

// docMix is mix of docs/protocol.md.
func docMix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func cutByHand(gear *gearTable, content []byte) (ends []int) {
	for start := 0; start < len(content); {
		start += lengthByHand(gear, content[start:])
		ends = append(ends, start)
	}
	return ends
}

// lengthByHand follows the numbered steps of the document to the letter.
func lengthByHand(gear *gearTable, rest []byte) int {
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

func frameVectors(t *testing.T, k *keys) string {
	t.Helper()
	plain := []byte("the quick brown fox")
	id := k.dataID(plain)
	frame, err := k.sealData(nil, id, plain, sealOptions{Compression: CompressOff})
	if err != nil {
		t.Fatal(err)
	}
	key, inner := openByHand(t, k, id, frame)
	return fmt.Sprintf("id     %x\nkey    %x\ninner  %x\nframe  %x\n", id[:], key, inner, frame)
}

// openByHand opens a frame with nothing but what the document says of it.
func openByHand(t *testing.T, k *keys, id schemas.ChunkID, frame []byte) (key, inner []byte) {
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

// borderVectors are some items' draws, and from which weight on they are borders.
func borderVectors(t *testing.T, k *keys) string {
	t.Helper()
	var b strings.Builder
	for _, item := range []struct {
		what  string
		kind  treeKind
		level int
		key   string
	}{
		{`path tree, level 0, "."`, pathTree, 0, "."},
		{`path tree, level 0, "a"`, pathTree, 0, "a"},
		{`path tree, level 0, "dir/b"`, pathTree, 0, "dir/b"},
		{`path tree, level 1, "dir/b"`, pathTree, 1, "dir/b"},
		{`file tree, level 0, offset 1048576`, fileTree, 0, offsetKey(1 << 20)},
	} {
		sum := k.borders.sum(append([]byte{byte(item.kind), byte(item.level)}, item.key...))
		draw := binary.LittleEndian.Uint32(sum[:])
		least := sort.Search(1<<20, func(weight int) bool { return isBorder(k, item.kind, item.level, item.key, weight) })
		if byHand := int(uint64(draw)*49152>>32) + 1; least != byHand {
			t.Errorf("%s is a border from the weight %d on, by its draw from %d on", item.what, least, byHand)
		}
		fmt.Fprintf(&b, "%-36s draw %-10d weight %d\n", item.what, draw, least)
	}
	return b.String()
}

// docLeaf is the document's worked example of a node.
type docLeaf struct {
	id      schemas.ChunkID
	node    treeNode
	weights []int // of its items
}

func makeDocLeaf(t *testing.T) *docLeaf {
	t.Helper()
	k, l := newKeys(testKey()), new(docLeaf)
	w := newTreeWriter(k, func(id schemas.ChunkID, trees, data []schemas.ChunkID, payload []byte) error {
		l.id, l.node = id, treeNode{payload: slices.Clone(payload), trees: slices.Clone(trees), data: slices.Clone(data)}
		return nil
	})
	entries := docEntries(k)
	before := 0
	for _, e := range entries {
		if err := w.add(e); err != nil {
			t.Fatal(err)
		}
		l.weights = append(l.weights, w.b.open(0).weight-before)
		before = w.b.open(0).weight
	}
	if _, err := w.finish(); err != nil {
		t.Fatal(err)
	}
	read, err := decodeLeaf(l.node)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(entries, read, sameEntry); diff != "" {
		t.Errorf("the leaf reads as (-written +read):\n%s", diff)
	}
	return l
}

func docEntries(k *keys) []*Entry {
	fox := Piece{Len: 19, ID: k.dataID([]byte("the quick brown fox"))}
	return []*Entry{
		{Path: ".", Type: TypeDir, Mode: 0o755},
		{
			Path: "a.txt", Type: TypeFile, Mode: 0o644, UID: 1000, GID: 1000, User: "ana", Group: "ana",
			Mtime: 1_700_000_000_000_000_000, Ctime: 1_700_000_000_000_000_000, Size: 19, Dev: 1, Ino: 42,
			Content: Content{Pieces: []Piece{fox}, Bytes: 19},
		},
		{
			Path: "big", Type: TypeFile, Mode: 0o600, Size: 1 << 40,
			Content: Content{Tree: schemas.ChunkID{9}, Bytes: 1 << 30},
		},
	}
}

func (l *docLeaf) vectors() string {
	weights := strings.Trim(fmt.Sprint(l.weights), "[]")
	return fmt.Sprintf("tree edge  %x\ndata edge  %x\nid         %x\nweights    %s\n",
		l.node.trees[0][:], l.node.data[0][:], l.id[:], weights)
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

// labelVectors seal without compression: how zstd packs may change.
func labelVectors(t *testing.T, k *keys, root schemas.ChunkID) string {
	t.Helper()
	l := docLabel(root)
	plain := encodeLabel(t, l)
	id := k.labelID(plain)
	frame, err := k.seal(nil, id, plain, CompressOff)
	if err != nil {
		t.Fatal(err)
	}
	read, err := openLabel(k, &schemas.Version{Record: l.Record, Root: l.Root, Sealed: append(id[:], frame...)})
	if err != nil || !cmp.Equal(l, read) {
		t.Errorf("the label reads as %+v, %v", read, err)
	}
	sealed, err := sealLabel(k, l)
	if err != nil || !bytes.HasPrefix(sealed, id[:]) {
		t.Errorf("the label is sealed as %x, %v", sealed, err)
	}
	return fmt.Sprintf("id     %x\nframe  %x\n", id[:], frame)
}
