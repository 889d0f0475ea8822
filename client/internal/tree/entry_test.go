package tree

import (
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"servidor-backup/client/internal/clienttest"
	"servidor-backup/client/internal/seal"
	"servidor-backup/schemas"
)

// sameEntry is the option for comparing entries: nil and empty are equal.
var sameEntry = cmpopts.EquateEmpty()

func TestCheckRefusesBadEntries(t *testing.T) {
	for name, e := range map[string]Entry{
		"path":         {Path: "../a", Type: TypeFile},
		"no type":      {Path: "a"},
		"mode":         {Path: "a", Type: TypeFile, Mode: 0o10000},
		"size":         {Path: "a", Type: TypeFile, Size: -1},
		"owner":        {Path: "a", Type: TypeFile, User: strings.Repeat("u", maxName+1)},
		"target":       {Path: "a", Type: TypeSymlink, Target: strings.Repeat("t", maxTarget+1)},
		"xattrs":       {Path: "a", Type: TypeFile, Xattrs: []Xattr{{"user.a", make([]byte, MaxInlineXattrs)}}},
		"xattr order":  {Path: "a", Type: TypeFile, Xattrs: []Xattr{{"user.b", nil}, {"user.a", nil}}},
		"hard link":    {Path: "a", Type: TypeFile, HardLink: "/etc/passwd"},
		"beyond":       {Path: "a", Type: TypeFile, Size: 5, Content: Content{Pieces: []Piece{{Off: 0, Len: 6}}, Bytes: 6}},
		"overlap":      {Path: "a", Type: TypeFile, Size: 9, Content: Content{Pieces: []Piece{{Off: 0, Len: 3}, {Off: 2, Len: 3}}, Bytes: 6}},
		"sum":          {Path: "a", Type: TypeFile, Size: 9, Content: Content{Pieces: []Piece{{Off: 0, Len: 3}}, Bytes: 4}},
		"skip of two":  {Path: "a", Type: TypeFile, Size: 9, Content: Content{Pieces: []Piece{{Len: 3, Skip: 1}, {Off: 3, Len: 3}}, Bytes: 6}},
		"skip too far": {Path: "a", Type: TypeFile, Size: 9, Content: Content{Pieces: []Piece{{Len: 3, Skip: seal.MaxPlain - 2}}, Bytes: 3}},
		"both":         {Path: "a", Type: TypeFile, Size: 9, Content: Content{Tree: schemas.ChunkID{1}, Pieces: []Piece{{Off: 0, Len: 3}}, Bytes: 3}},
		"too many":     {Path: "a", Type: TypeFile, Size: 99, Content: Content{Pieces: make([]Piece, maxInlinePieces+1)}},
	} {
		if err := e.Check(); err == nil {
			t.Errorf("%s: the entry is accepted", name)
		}
	}
	e := Entry{Path: "a", Type: TypeSocket + 1}
	if err := e.Check(); schemas.CodeOf(err) != schemas.TooNew {
		t.Errorf("a type of a newer program: %v", err)
	}
}

func TestEntryTypeNames(t *testing.T) {
	if TypeFile.String() != "file" || TypeSocket.String() != "socket" || EntryType(0).String() != "entry type 0" {
		t.Errorf("%v, %v, %v", TypeFile, TypeSocket, EntryType(0))
	}
}

// fullEntry returns an entry with every field set.
func fullEntry() *Entry {
	return &Entry{
		Path: "dir/na\xffme\n", Type: TypeFile, Mode: 0o4755, UID: 1000, GID: 1 << 31, User: "ana", Group: "staff",
		Mtime: -1, Ctime: 1_700_000_000_123_456_789, Size: 1 << 40, Dev: 1 << 63, Ino: 42, HardLink: "dir/a", Target: "../\xfe", Rdev: 7,
		Xattrs:       []Xattr{{"user.a", []byte{0, 1}}, {"user.b", nil}},
		XattrContent: Content{Pieces: []Piece{{Len: 9, ID: schemas.ChunkID{5}, Skip: 70_000}}, Bytes: 9},
		Content:      Content{Pieces: []Piece{{Len: 5, ID: schemas.ChunkID{1}}, {Off: 100, Len: 7, ID: schemas.ChunkID{2}}, {Off: 107, Len: 5, ID: schemas.ChunkID{1}}}, Bytes: 17},
	}
}

// encodeLeaf returns the leaf of these entries that the writer makes.
func encodeLeaf(t testing.TB, entries ...*Entry) Node {
	t.Helper()
	var leaf Node
	w := NewWriter(seal.New(clienttest.Key()), func(_ schemas.ChunkID, trees, data []schemas.ChunkID, payload []byte) error {
		leaf = Node{Payload: slices.Clone(payload), Trees: slices.Clone(trees), Data: slices.Clone(data)}
		return nil
	})
	for _, e := range entries {
		if err := w.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	return leaf
}

func decodeLeaf(leaf Node) (entries []*Entry, err error) {
	r := newNodeReader(leaf)
	_, items := r.header(pathTree)
	for range items {
		_, e := decodeEntry(r)
		entries = append(entries, e)
	}
	r.end()
	return entries, r.err
}

func TestEntryRoundTrip(t *testing.T) {
	want := []*Entry{
		{Path: ".", Type: TypeDir},
		fullEntry(),
		{Path: "tree", Type: TypeFile, Size: 1 << 50, Content: Content{Tree: schemas.ChunkID{9}, Bytes: 1 << 49}},
	}
	leaf := encodeLeaf(t, want...)
	if len(leaf.Data) != 3 || len(leaf.Trees) != 1 {
		t.Errorf("the leaf has %d tree edges and %d data edges, want 1 and 3: an edge is listed once", len(leaf.Trees), len(leaf.Data))
	}
	got, err := decodeLeaf(leaf)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(want, got, sameEntry); diff != "" {
		t.Error(diff)
	}
}

func TestLeafIsPinned(t *testing.T) {
	const golden = "940101009283a170c4012ea17402a16dcd01edde0012a170c40a6469722f6e61ff6d650aa17401a16dcd09eda175cd03e8a167ce80000000a155c403616e61a147c4057374616666a177ffa163cf17979cfe3d85cd15a173cf0000010000000000a164cf8000000000000000a1692aa168c4056469722f61a16cc4042e2e2ffea17207a17894c406757365722e61c4020001c406757365722e62c400a158940009cd0000ce00011170a162990005cd00015f07cd00020005cd0001"
	leaf := encodeLeaf(t, &Entry{Path: ".", Type: TypeDir, Mode: 0o755}, fullEntry())
	if got := hex.EncodeToString(leaf.Payload); got != golden {
		t.Errorf("the leaf is %s, pinned %s", got, golden)
	}
}

// A field of a newer program is an error and is not dropped.
func TestUnknownFieldIsRefused(t *testing.T) {
	leaf := encodeLeaf(t, &Entry{Path: "a", Type: TypeFile, Size: 5})
	leaf.Payload = []byte(strings.Replace(string(leaf.Payload), "\xa1s", "\xa1z", 1))
	if _, err := decodeLeaf(leaf); err == nil {
		t.Error("an unknown field is ignored")
	}
}

func TestUnixTypes(t *testing.T) {
	for kind := range EntryType(20) {
		known := kind >= TypeFile && kind <= TypeSocket
		if mode := kind.UnixType(); (mode != 0) != known || known && TypeOfMode(mode|0o7777) != kind {
			t.Errorf("%v has the st_mode type %#o, which is that of %v", kind, mode, TypeOfMode(mode))
		}
	}
}
