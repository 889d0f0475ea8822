package tree

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/zeebo/blake3"

	"servidor-backup/client/internal/clienttest"
	"servidor-backup/client/internal/seal"
	"servidor-backup/schemas"
	"servidor-backup/schemas/doctest"
)

var treeDoc = filepath.Join("..", "..", "..", "docs", "formats.md")

func TestTreeExamplesOfFormatsDoc(t *testing.T) {
	leaf := makeDocLeaf(t)
	doctest.WantVectors(t, treeDoc, "borders", borderVectors(t, seal.New(clienttest.Key())))
	doctest.WantVectors(t, treeDoc, "leaf", leaf.vectors())
	doctest.WantHex(t, treeDoc, "leaf", leaf.node.Payload)
}

// borderVectors returns the draws of some items, and from which weight on they are borders.
func borderVectors(t *testing.T, k *seal.Keys) string {
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
		draw := drawByHand(t, byte(item.kind), byte(item.level), item.key)
		least := sort.Search(1<<20, func(weight int) bool { return isBorder(k, item.kind, item.level, item.key, weight) })
		if byHand := int(uint64(draw)*49152>>32) + 1; least != byHand {
			t.Errorf("%s is a border from the weight %d on, want %d by its draw", item.what, least, byHand)
		}
		fmt.Fprintf(&b, "%-36s draw %-10d weight %d\n", item.what, draw, least)
	}
	return b.String()
}

// drawByHand computes a draw with nothing but the border key that the document shows.
func drawByHand(t *testing.T, kind, level byte, key string) uint32 {
	t.Helper()
	_, blocks := doctest.Read(t, treeDoc)
	for line := range strings.Lines(blocks["vectors keys"]) {
		if digits, found := strings.CutPrefix(line, "tree border"); found {
			border, err := hex.DecodeString(strings.TrimSpace(digits))
			if err != nil {
				t.Fatal(err)
			}
			h, err := blake3.NewKeyed(border)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = h.Write(append([]byte{kind, level}, key...)) // it cannot fail
			return binary.LittleEndian.Uint32(h.Sum(nil))
		}
	}
	t.Fatal("the document shows no border key")
	return 0
}

// docLeaf is the document's worked example of a tree node.
type docLeaf struct {
	id      schemas.ChunkID
	node    Node
	weights []int // of the items
}

func makeDocLeaf(t *testing.T) *docLeaf {
	t.Helper()
	k, l := seal.New(clienttest.Key()), new(docLeaf)
	w := NewWriter(k, func(id schemas.ChunkID, trees, data []schemas.ChunkID, payload []byte) error {
		l.id, l.node = id, Node{Payload: slices.Clone(payload), Trees: slices.Clone(trees), Data: slices.Clone(data)}
		return nil
	})
	entries := docEntries(k)
	before := 0
	for _, e := range entries {
		if err := w.Add(e); err != nil {
			t.Fatal(err)
		}
		l.weights = append(l.weights, w.b.open(0).weight-before)
		before = w.b.open(0).weight
	}
	if _, err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	read, err := decodeLeaf(l.node)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(entries, read, sameEntry); diff != "" {
		t.Errorf("the leaf reads as (-written +read):\n%s", diff)
	}
	return l
}

func docEntries(k *seal.Keys) []*Entry {
	fox := Piece{Len: 19, ID: k.DataID([]byte("the quick brown fox"))}
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
		l.node.Trees[0][:], l.node.Data[0][:], l.id[:], weights)
}
