package tree

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"servidor-backup/client/internal/clienttest"
	"servidor-backup/client/internal/seal"
	"servidor-backup/schemas"
)

// forest holds the tree nodes of trees, as storage nodes would. It checks at every put that
// children come first, that ids match, and that a tree node fits a chunk.
type forest struct {
	t     reporter
	k     *seal.Keys
	nodes map[schemas.ChunkID]Node
	gets  int // calls of get
}

// reporter has what a forest needs of a *testing.T or a *rapid.T.
type reporter interface {
	Helper()
	Errorf(format string, args ...any)
	Fatal(args ...any)
}

func newForest(t reporter) *forest {
	return &forest{t: t, k: seal.New(clienttest.Key()), nodes: map[schemas.ChunkID]Node{}}
}

func (f *forest) put(id schemas.ChunkID, trees, data []schemas.ChunkID, payload []byte) error {
	if f.k.TreeID(trees, data, payload) != id {
		f.t.Errorf("node %s does not match its id", id.Short())
	}
	for _, child := range trees {
		// Ids of file trees that no test writes begin with 0xee.
		if _, ok := f.nodes[child]; !ok && child[0] != 0xee {
			f.t.Errorf("node %s is put before its child %s", id.Short(), child.Short())
		}
	}
	c := schemas.Chunk{ID: id, Kind: schemas.Tree, Trees: trees, Data: data, Content: make([]byte, len(payload)+seal.Overhead)}
	if err := c.Validate(); err != nil || len(payload) > seal.MaxPlain {
		f.t.Errorf("node of %d bytes: %v", len(payload), err)
	}
	f.nodes[id] = Node{slices.Clone(payload), slices.Clone(trees), slices.Clone(data)}
	return nil
}

func (f *forest) get(_ context.Context, ids []schemas.ChunkID) ([]Node, error) {
	f.gets++
	nodes := make([]Node, len(ids))
	for i, id := range ids {
		node, ok := f.nodes[id]
		if !ok {
			return nil, fmt.Errorf("no node %s", id.Short())
		}
		nodes[i] = node
	}
	return nodes, nil
}

func (f *forest) build(entries []*Entry) schemas.ChunkID {
	f.t.Helper()
	w := NewWriter(f.k, f.put)
	for _, e := range entries {
		if err := w.Add(e); err != nil {
			f.t.Fatal(err)
		}
	}
	root, err := w.Finish()
	if err != nil {
		f.t.Fatal(err)
	}
	return root
}

// reachable returns the tree nodes of the tree at root.
func (f *forest) reachable(root schemas.ChunkID) map[schemas.ChunkID]bool {
	seen := map[schemas.ChunkID]bool{root: true}
	for todo := []schemas.ChunkID{root}; len(todo) > 0; {
		node := f.nodes[todo[0]]
		todo = todo[1:]
		for _, child := range node.Trees {
			if !seen[child] {
				seen[child] = true
				todo = append(todo, child)
			}
		}
	}
	return seen
}

// collect returns all items that next yields.
func collect[T any](t reporter, next func() (T, bool, error)) (items []T) {
	t.Helper()
	for {
		item, ok, err := next()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return items
		}
		items = append(items, item)
	}
}

// mustMatch compares entry by entry; a diff of long lists would take too long.
func mustMatch(t reporter, want, got []*Entry) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d entries, want %d", len(got), len(want))
		return
	}
	for i := range want {
		if !reflect.DeepEqual(want[i], got[i]) {
			t.Errorf("entry %d: %s", i, gocmp.Diff(want[i], got[i]))
			return
		}
	}
}

// manyEntries returns n files in folders, much like those of a home folder.
func manyEntries(n int) []*Entry {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	entries := make([]*Entry, n)
	for i := range entries {
		var id schemas.ChunkID
		binary.BigEndian.PutUint64(id[:], r.Uint64())
		size := int64(r.IntN(100_000) + 1)
		entries[i] = &Entry{
			Path: fmt.Sprintf("folder-%03d/file-%06d.txt", i/100, i), Type: TypeFile, Mode: 0o644, UID: 1000, GID: 1000, User: "ana", Group: "ana",
			Mtime: r.Int64(), Ctime: r.Int64(), Size: size, Dev: 64769, Ino: r.Uint64N(1 << 32),
			Content: Content{Pieces: []Piece{{Len: size, ID: id, Skip: int64(i%3) * 1000}}, Bytes: size},
		}
	}
	return entries
}

func TestTreeRoundTrip(t *testing.T) {
	for _, n := range []int{0, 1, 2, 100, 10_000} {
		f, want := newForest(t), manyEntries(n)
		root := f.build(want)
		r := NewReader(f.get, root)
		got := collect(t, r.Iterate(t.Context(), ".").Next)
		mustMatch(t, want, got)
		if len(f.nodes) != len(f.reachable(root)) {
			t.Errorf("%d entries: %d nodes put, %d reachable", n, len(f.nodes), len(f.reachable(root)))
		}
		if f.build(got) != root {
			t.Errorf("%d entries: the entries that are read make another tree", n)
		}
	}
}

func TestNodesHaveTheirAverageSize(t *testing.T) {
	f := newForest(t)
	f.build(manyEntries(20_000))
	total := 0
	for _, node := range f.nodes {
		total += len(node.Payload) + edgeSize*(len(node.Trees)+len(node.Data))
	}
	if avg := total / len(f.nodes); avg < avgNode*3/4 || avg > avgNode*5/4 {
		t.Errorf("nodes have %d bytes on average, want about %d", avg, avgNode)
	}
}

func TestReadAheadSavesRoundTrips(t *testing.T) {
	f := newForest(t)
	r := NewReader(f.get, f.build(manyEntries(20_000)))
	collect(t, r.Iterate(t.Context(), ".").Next)
	if limit := len(f.nodes)/readAhead + 4; f.gets > limit {
		t.Errorf("%d gets for %d nodes, want at most %d", f.gets, len(f.nodes), limit)
	}
	f.gets = 0
	if _, err := r.Lookup(t.Context(), "folder-150/file-015000.txt"); err != nil || f.gets > 3 {
		t.Errorf("a lookup took %d gets: %v", f.gets, err)
	}
}

func TestLookup(t *testing.T) {
	f, entries := newForest(t), manyEntries(5000)
	r := NewReader(f.get, f.build(entries))
	for i := 0; i < len(entries); i += 97 {
		got, err := r.Lookup(t.Context(), entries[i].Path)
		if err != nil || !gocmp.Equal(got, entries[i], sameEntry) {
			t.Fatalf("%s: %v, %v", entries[i].Path, got, err)
		}
	}
	for _, path := range []string{".", "a", "folder-000", "folder-000/file-000000.txt/x", "zzz"} {
		if _, err := r.Lookup(t.Context(), path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// A change makes new tree nodes on the way from its leaf to the root. An insertion or a deletion
// may make a few more, until the borders fall into step. Everything else is shared.
func TestVersionsShareNodes(t *testing.T) {
	entries := manyEntries(20_000)
	const depth = 2
	f := newForest(t)
	before := f.reachable(f.build(entries))
	for name, c := range map[string]struct {
		entries []*Entry
		limit   int // of new nodes
	}{
		"change":    {withChanges(entries, 1), depth},
		"changes":   {withChanges(entries, 10), 9*(depth-1) + depth},
		"insertion": {slices.Insert(slices.Clone(entries), 10_001, &Entry{Path: "folder-100/file-010000.txt.new", Type: TypeFile}), depth + 2},
		"deletion":  {slices.Delete(slices.Clone(entries), 10_000, 10_001), depth + 2},
		"prepend":   {slices.Insert(slices.Clone(entries), 0, &Entry{Path: ".", Type: TypeDir}), depth + 2},
		"truncate":  {entries[:len(entries)-1], depth + 2},
	} {
		after := f.reachable(f.build(c.entries))
		total := len(after)
		maps.DeleteFunc(after, func(id schemas.ChunkID, _ bool) bool { return before[id] })
		if len(after) > c.limit {
			t.Errorf("%s: %d of %d nodes are new, want at most %d", name, len(after), total, c.limit)
		}
		if name != "changes" && len(after)*100 > total*5 {
			t.Errorf("%s: %d of %d nodes are new, more than 5%%", name, len(after), total)
		}
	}
}

// withChanges returns a copy in which n entries have other times and contents.
func withChanges(entries []*Entry, n int) []*Entry {
	entries = slices.Clone(entries)
	r := rand.New(rand.NewPCG(1, 2))
	for range n {
		i := r.IntN(len(entries))
		e := *entries[i]
		e.Mtime++
		e.Content.Pieces = []Piece{{Len: e.Size, ID: schemas.ChunkID{byte(i), 7}}}
		entries[i] = &e
	}
	return entries
}

func TestAnyTreeIsReadAsWritten(t *testing.T) {
	paths, ctx := rapid.SliceOfNDistinct(genPath(), 0, 60, rapid.ID), t.Context()
	rapid.Check(t, func(t *rapid.T) {
		f := newForest(t)
		entries := genEntries(t, paths.Draw(t, "paths"))
		r := NewReader(f.get, f.build(entries))
		mustMatch(t, entries, collect(t, r.Iterate(ctx, ".").Next))
		probe := genPath().Draw(t, "probe")
		from := slices.IndexFunc(entries, func(e *Entry) bool { return ComparePath(e.Path, probe) >= 0 })
		want := entries[len(entries):]
		if from >= 0 {
			want = entries[from:]
		}
		mustMatch(t, want, collect(t, r.Iterate(ctx, probe).Next))
		want = slices.DeleteFunc(slices.Clone(entries), func(e *Entry) bool { return !InSubtree(e.Path, probe) })
		mustMatch(t, want, collect(t, r.Subtree(ctx, probe).Next))
	})
}

// genEntries generates entries at paths. Some are heavy, so that small trees have
// several levels.
func genEntries(t *rapid.T, paths []string) []*Entry {
	slices.SortFunc(paths, ComparePath)
	heavy := clienttest.Noise(1, 30<<10)
	entries := make([]*Entry, len(paths))
	for i, path := range paths {
		e := &Entry{Path: path, Type: TypeFile, Mtime: rapid.Int64().Draw(t, "mtime"), Size: 1 << 30}
		if rapid.IntRange(0, 3).Draw(t, "heavy") == 0 {
			e.Xattrs = []Xattr{{"user.heavy", heavy}}
		}
		for j := range rapid.IntRange(0, 3).Draw(t, "pieces") {
			e.Content.Pieces = append(e.Content.Pieces, Piece{Off: int64(j) * 100, Len: 50, ID: schemas.ChunkID{byte(i), byte(j)}})
			e.Content.Bytes += 50
		}
		if e.Content.Pieces == nil && rapid.Bool().Draw(t, "file tree") {
			e.Content = Content{Tree: schemas.ChunkID{0xee, byte(i)}, Bytes: 7}
		}
		entries[i] = e
	}
	return entries
}

// The heaviest entries that the format allows still make tree nodes that fit a chunk.
func TestHeaviestEntriesFitNodes(t *testing.T) {
	heavy := func(i int) *Entry {
		prefix := fmt.Sprintf("%04d", i)
		e := &Entry{
			Path: prefix + strings.Repeat("p", MaxPath-4), HardLink: strings.Repeat("h", MaxPath), Type: TypeFile, Mode: 0o7777,
			UID: 1<<32 - 1, GID: 1<<32 - 1, User: strings.Repeat("u", maxName), Group: strings.Repeat("g", maxName),
			Mtime: -1 << 63, Ctime: -1 << 63, Size: 1<<63 - 1, Dev: 1<<64 - 1, Ino: 1<<64 - 1, Rdev: 1<<64 - 1,
			Target: strings.Repeat("t", maxTarget), Xattrs: []Xattr{{"user.x", make([]byte, MaxInlineXattrs-14)}},
		}
		for j := range maxInlinePieces {
			p := Piece{Off: int64(j+1) << 50, Len: seal.MaxPlain, ID: schemas.ChunkID{byte(i), byte(i >> 8), byte(j)}}
			e.Content.Pieces = append(e.Content.Pieces, p)
			e.Content.Bytes += p.Len
		}
		return e
	}
	var entries []*Entry
	for i := range 40 {
		entries = append(entries, heavy(i))
	}
	f := newForest(t) // it checks the size of every node
	r := NewReader(f.get, f.build(entries))
	mustMatch(t, entries, collect(t, r.Iterate(t.Context(), ".").Next))
}

func TestNodesWithManyEdgesFit(t *testing.T) {
	var entries []*Entry
	for i := range 3000 {
		e := &Entry{Path: fmt.Sprintf("%s/%05d", strings.Repeat("d", 4000), i), Type: TypeFile, Size: 1 << 40}
		for j := range maxInlinePieces {
			e.Content.Pieces = append(e.Content.Pieces, Piece{Off: int64(j) * seal.MaxPlain, Len: seal.MaxPlain, ID: schemas.ChunkID{byte(i), byte(i >> 8), byte(j)}})
			e.Content.Bytes += seal.MaxPlain
		}
		entries = append(entries, e)
	}
	f := newForest(t)
	r := NewReader(f.get, f.build(entries))
	if got := collect(t, r.Subtree(t.Context(), strings.Repeat("d", 4000)).Next); len(got) != len(entries) {
		t.Errorf("%d of %d entries came back", len(got), len(entries))
	}
}

func TestWriterRefusesBadEntriesAndDisorder(t *testing.T) {
	f := newForest(t)
	w := NewWriter(f.k, f.put)
	entry := func(path string) *Entry { return &Entry{Path: path, Type: TypeFile} }
	if err := w.Add(entry("b")); err != nil {
		t.Fatal(err)
	}
	if err := w.Add(entry("../x")); !errors.Is(err, ErrBadEntry) {
		t.Errorf("a bad path: %v", err)
	}
	if err := w.Add(entry("b/x")); err != nil {
		t.Errorf("after a bad entry: %v", err)
	}
	if err := w.Add(entry("b/x")); err == nil {
		t.Error("the same path is accepted twice")
	}
	if err := w.Add(entry("c")); err == nil {
		t.Error("a failed writer goes on")
	}
	if _, err := w.Finish(); err == nil {
		t.Error("a failed writer finishes")
	}
}

func TestFailedPutStays(t *testing.T) {
	full := errors.New("disk full")
	w := NewWriter(seal.New(clienttest.Key()), func(schemas.ChunkID, []schemas.ChunkID, []schemas.ChunkID, []byte) error { return full })
	var err error
	for _, e := range manyEntries(5000) {
		if err = w.Add(e); err != nil {
			break
		}
	}
	if !errors.Is(err, full) {
		t.Errorf("add: %v", err)
	}
	if _, err := w.Finish(); !errors.Is(err, full) {
		t.Errorf("finish: %v", err)
	}
}

// buildFile writes n pieces, every third of them after a hole. It returns the content, the
// pieces and the size of the file.
func (f *forest) buildFile(n int) (Content, []Piece, int64) {
	f.t.Helper()
	w := NewFileWriter(f.k, f.put)
	var pieces []Piece
	off := int64(0)
	for i := range n {
		if i%3 == 0 {
			off += 4096
		}
		p := Piece{Off: off, Len: int64(1000 + i%500)}
		binary.BigEndian.PutUint64(p.ID[:], uint64(i*i))
		if err := w.Add(p.Off, p.Len, p.ID); err != nil {
			f.t.Fatal(err)
		}
		pieces = append(pieces, p)
		off += p.Len
	}
	content, err := w.Finish()
	if err != nil {
		f.t.Fatal(err)
	}
	return content, pieces, off
}

func TestFileContentRoundTrip(t *testing.T) {
	for _, n := range []int{0, 1, maxInlinePieces, maxInlinePieces + 1, 100_000} {
		f := newForest(t)
		content, want, size := f.buildFile(n)
		if inline := content.Tree.IsZero(); inline != (n <= maxInlinePieces) {
			t.Errorf("%d pieces: inline is %v", n, inline)
		}
		got := collect(t, NewPieces(t.Context(), f.get, content, size).Next)
		if !slices.Equal(got, want) {
			t.Errorf("%d pieces: the pieces that are read differ", n)
		}
	}
}

func TestPiecesMustMatchSizeAndSum(t *testing.T) {
	for _, n := range []int{1, maxInlinePieces, maxInlinePieces + 1, 3000} {
		f := newForest(t)
		content, _, size := f.buildFile(n)
		if _, _, err := lastOf(NewPieces(t.Context(), f.get, content, size-1)); !errors.Is(err, seal.ErrDamaged) {
			t.Errorf("the last of %d pieces ends beyond the file: %v", n, err)
		}
		content.Bytes++
		if _, _, err := lastOf(NewPieces(t.Context(), f.get, content, size)); !errors.Is(err, seal.ErrDamaged) {
			t.Errorf("%d pieces with a wrong sum: %v", n, err)
		}
	}
}

// lastOf reads all pieces.
func lastOf(it *Pieces) (p Piece, ok bool, err error) {
	for {
		if p, ok, err = it.Next(); !ok || err != nil {
			return p, ok, err
		}
	}
}

func TestFileWriterRefusesBadPieces(t *testing.T) {
	for name, add := range map[string]func(w *FileWriter) error{
		"overlap":  func(w *FileWriter) error { return w.Add(9, 1, schemas.ChunkID{}) },
		"empty":    func(w *FileWriter) error { return w.Add(10, 0, schemas.ChunkID{}) },
		"too long": func(w *FileWriter) error { return w.Add(10, seal.MaxPlain+1, schemas.ChunkID{}) },
		"overflow": func(w *FileWriter) error { return w.Add(maxFileSize, 1, schemas.ChunkID{}) },
	} {
		w := NewFileWriter(seal.New(clienttest.Key()), newForest(t).put)
		if err := w.Add(0, 10, schemas.ChunkID{}); err != nil {
			t.Fatal(err)
		}
		if err := add(w); err == nil {
			t.Errorf("%s: the piece is accepted", name)
		}
		if _, err := w.Finish(); err == nil {
			t.Errorf("%s: the failed writer finishes", name)
		}
	}
}

// A forger with the key can make any tree node. The reader refuses trees that break
// the rules.
func TestForgedTreesAreRefused(t *testing.T) {
	leaf := func(paths ...string) Node {
		var es []*Entry
		for _, p := range paths {
			es = append(es, &Entry{Path: p, Type: TypeFile})
		}
		return encodeLeaf(t, es...)
	}
	inner := func(level int, keys ...string) []byte {
		var p packer
		p.arrayLen(4)
		p.int(nodeVersion)
		p.int(int64(pathTree))
		p.int(int64(level))
		p.arrayLen(len(keys))
		for i, key := range keys {
			p.arrayLen(2)
			p.bin(key)
			p.index(uint16(i))
		}
		return p.buf
	}
	a, b, c := schemas.ChunkID{1}, schemas.ChunkID{2}, schemas.ChunkID{3}
	for name, nodes := range map[string]map[schemas.ChunkID]Node{
		"a loop":            {a: {inner(1, "x"), []schemas.ChunkID{a}, nil}},
		"a level left out":  {a: {inner(2, "x"), []schemas.ChunkID{b}, nil}, b: leaf("x")},
		"a wrong key":       {a: {inner(1, "x"), []schemas.ChunkID{b}, nil}, b: leaf("y")},
		"keys in disorder":  {a: {inner(1, "y", "x"), []schemas.ChunkID{b, c}, nil}, b: leaf("y"), c: leaf("x")},
		"leaves overlap":    {a: {inner(1, "x", "y"), []schemas.ChunkID{b, c}, nil}, b: leaf("x", "z"), c: leaf("y")},
		"a missing edge":    {a: {inner(1, "x"), nil, nil}},
		"an empty leaf":     {a: {inner(1, "x"), []schemas.ChunkID{b}, nil}, b: leaf()},
		"an empty node":     {a: {inner(1), nil, nil}},
		"an empty key":      {a: {inner(1, ""), []schemas.ChunkID{b}, nil}, b: leaf("x")},
		"too deep":          {a: {inner(maxDepth, "x"), []schemas.ChunkID{b}, nil}, b: leaf("x")},
		"a wrong inner key": {a: {inner(2, "x"), []schemas.ChunkID{b}, nil}, b: {inner(1, "y"), []schemas.ChunkID{c}, nil}, c: leaf("y")},
		"bytes at the end":  {a: {append(leaf("x").Payload, 0), nil, nil}},
		"bytes after inner": {a: {append(inner(1, "x"), 0), []schemas.ChunkID{b}, nil}, b: leaf("x")},
		"bytes after empty": {a: {append(leaf().Payload, 0), nil, nil}},
		"an empty payload":  {a: {}},
	} {
		f := newForest(t)
		f.nodes = nodes
		it := NewReader(f.get, a).Iterate(t.Context(), ".")
		if err := drain(it); !errors.Is(err, seal.ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
		if _, _, err := it.Next(); !errors.Is(err, seal.ErrDamaged) {
			t.Errorf("%s: the error does not stay: %v", name, err)
		}
	}
	f := newForest(t)
	f.nodes[a] = Node{Payload: []byte("\x94\x02\x01\x00\x90")}
	if err := drain(NewReader(f.get, a).Iterate(t.Context(), ".")); schemas.CodeOf(err) != schemas.TooNew {
		t.Errorf("a newer node: %v", err)
	}
}

// drain reads all entries.
func drain(it *Entries) error {
	for {
		if _, ok, err := it.Next(); !ok || err != nil {
			return err
		}
	}
}

func TestKindsAreNotMixed(t *testing.T) {
	f := newForest(t)
	content, _, _ := f.buildFile(1000)
	if err := drain(NewReader(f.get, content.Tree).Iterate(t.Context(), ".")); !errors.Is(err, seal.ErrDamaged) {
		t.Errorf("a file tree read as a path tree: %v", err)
	}
}

func TestFailedGetIsNoDamage(t *testing.T) {
	f := newForest(t)
	if err := drain(NewReader(f.get, schemas.ChunkID{1}).Iterate(t.Context(), ".")); err == nil || errors.Is(err, seal.ErrDamaged) {
		t.Errorf("a failed get is reported as %v", err)
	}
}

// FuzzTree reads arbitrary tree nodes as trees of both kinds. The reader may return errors, but
// must not panic, and its entries must pass Check.
func FuzzTree(f *testing.F) {
	f.Add(encodeLeaf(f, &Entry{Path: ".", Type: TypeDir}, fullEntry()).Payload)
	f.Add(encodeLeaf(f).Payload)
	f.Add([]byte("\x94\x01\x01\x01\x91\x92\xc4\x01x\xcd\x00\x00"))
	f.Add([]byte("\x94\x01\x02\x00\x91\x93\x00\x05\xcd\x00\x00"))
	f.Fuzz(func(t *testing.T, payload []byte) {
		node := Node{Payload: payload, Trees: make([]schemas.ChunkID, 3), Data: make([]schemas.ChunkID, 3)}
		for i := range 3 {
			node.Trees[i][0], node.Data[i][0] = byte(i+1), byte(i+1)
		}
		get := func(_ context.Context, ids []schemas.ChunkID) ([]Node, error) {
			return slices.Repeat([]Node{node}, len(ids)), nil
		}
		it := NewReader(get, schemas.ChunkID{1}).Iterate(t.Context(), ".")
		for {
			e, ok, err := it.Next()
			if err != nil || !ok {
				break
			}
			if err := e.Check(); err != nil {
				t.Fatalf("an entry was read that Check refuses: %v", err)
			}
		}
		lastOf(NewPieces(t.Context(), get, Content{Tree: schemas.ChunkID{1}}, 1<<40))
	})
}

func BenchmarkTreeWrite(b *testing.B) {
	entries, k := manyEntries(20_000), seal.New(clienttest.Key())
	b.ReportAllocs()
	for b.Loop() {
		w := NewWriter(k, func(schemas.ChunkID, []schemas.ChunkID, []schemas.ChunkID, []byte) error { return nil })
		for _, e := range entries {
			if err := w.Add(e); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := w.Finish(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(entries)), "ns/entry")
}

func BenchmarkTreeRead(b *testing.B) {
	f := newForest(b)
	r := NewReader(f.get, f.build(manyEntries(20_000)))
	b.ReportAllocs()
	for b.Loop() {
		if err := drain(r.Iterate(b.Context(), ".")); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*20_000), "ns/entry")
}
