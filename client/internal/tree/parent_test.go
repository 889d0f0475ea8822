package tree

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"servidor-backup/schemas"
)

// rebuild writes a tree of entries that reuses the parent's tree where it can. It returns
// the root and how many tree nodes were put.
func (f *forest) rebuild(ctx context.Context, parent schemas.ChunkID, entries []*Entry) (root schemas.ChunkID, puts int) {
	f.t.Helper()
	before := &forest{nodes: maps.Clone(f.nodes)} // read concurrently with the puts
	p := OpenParent(ctx, NewReader(before.get, parent))
	defer p.Close()
	w := NewWriter(f.k, func(id schemas.ChunkID, trees, data []schemas.ChunkID, payload []byte) error {
		puts++
		return f.put(id, trees, data, payload)
	})
	for _, e := range entries {
		same, at, err := p.Find(ctx, e.Path)
		if err == nil && !e.Equal(same) {
			at = LeafPosition{}
		}
		if err := errors.Join(err, w.Reuse(e, at)); err != nil {
			f.t.Fatal(err)
		}
	}
	root, err := w.Finish()
	if err != nil {
		f.t.Fatal(err)
	}
	return root, puts
}

// A tree with reused leaves is the tree that adding its entries makes.
func TestReusedLeavesMakeTheSameTree(t *testing.T) {
	paths := rapid.SliceOfNDistinct(genPath(), 0, 60, rapid.ID)
	ctx := t.Context()
	rapid.Check(t, func(t *rapid.T) {
		f := newForest(t)
		before := genEntries(t, paths.Draw(t, "paths"))
		after := slices.Clone(before)
		for range rapid.IntRange(0, 5).Draw(t, "changes") {
			if len(after) == 0 {
				break
			}
			i := rapid.IntRange(0, len(after)-1).Draw(t, "at")
			e := *after[i]
			switch rapid.IntRange(0, 3).Draw(t, "change") {
			case 0:
				e.Mtime++
				after[i] = &e
			case 1:
				after = slices.Delete(after, i, i+1)
			case 2:
				after = after[:i]
			case 3:
				e.Path = JoinPath(e.Path, "!")
				if i+1 == len(after) || ComparePath(e.Path, after[i+1].Path) < 0 {
					after = slices.Insert(after, i+1, &e)
				}
			}
		}
		parent := f.build(before)
		if got, _ := f.rebuild(ctx, parent, after); got != f.build(after) {
			t.Fatalf("reuse makes another tree of %d entries, after %d in the parent", len(after), len(before))
		}
	})
}

// Unchanged entries cost nothing but the tree nodes above the leaves.
func TestReusedLeavesAreNotPut(t *testing.T) {
	f, entries := newForest(t), manyEntries(20_000)
	parent := f.build(entries)
	leaves := len(f.nodes)
	for _, changes := range []int{0, 1, 10} {
		after := withChanges(entries, changes)
		root, puts := f.rebuild(t.Context(), parent, after)
		if root != f.build(after) {
			t.Errorf("%d changes: reuse makes another tree", changes)
		}
		if limit := 2 + 2*changes; puts > limit {
			t.Errorf("%d changes: %d of %d nodes are put, want at most %d", changes, puts, leaves, limit)
		}
	}
}

func TestEqualComparesEveryField(t *testing.T) {
	e, same := fullEntry(), fullEntry()
	if !e.Equal(same) || e.Equal(nil) {
		t.Error("equal entries are not equal, or an entry equals nil")
	}
	for i, change := range []func(*Entry){
		func(e *Entry) { e.Path += "x" }, func(e *Entry) { e.Type = TypeDir }, func(e *Entry) { e.Mode++ },
		func(e *Entry) { e.UID++ }, func(e *Entry) { e.GID++ }, func(e *Entry) { e.User += "x" }, func(e *Entry) { e.Group += "x" },
		func(e *Entry) { e.Mtime++ }, func(e *Entry) { e.Ctime++ }, func(e *Entry) { e.Size++ },
		func(e *Entry) { e.Dev++ }, func(e *Entry) { e.Ino++ }, func(e *Entry) { e.HardLink += "x" },
		func(e *Entry) { e.Target += "x" }, func(e *Entry) { e.Rdev++ },
		func(e *Entry) { e.Xattrs[0].Value[0]++ }, func(e *Entry) { e.Xattrs[0].Name += "x" }, func(e *Entry) { e.Xattrs = e.Xattrs[1:] },
		func(e *Entry) { e.XattrContent.Pieces[0].Len++ }, func(e *Entry) { e.XattrContent.Bytes++ },
		func(e *Entry) { e.Content.Pieces[1].Off++ }, func(e *Entry) { e.Content.Pieces[1].ID[3]++ }, func(e *Entry) { e.Content.Tree[0]++ },
	} {
		other := fullEntry()
		if change(other); e.Equal(other) || other.Equal(e) {
			t.Errorf("change %d is not noticed", i)
		}
	}
}

// A parent can be closed before its end, and an error of its tree is returned.
func TestParentIsClosedOrFails(t *testing.T) {
	f, entries := newForest(t), manyEntries(20_000)
	root := f.build(entries)
	stopped := OpenParent(t.Context(), NewReader(f.get, root))
	if e, at, err := stopped.Find(t.Context(), entries[3].Path); err != nil || !e.Equal(entries[3]) || at.leaf.entries[at.index] != e {
		t.Errorf("found %+v at %+v, %v", e, at, err)
	}
	stopped.Close()
	(*Parent)(nil).Close()

	failing := OpenParent(t.Context(), NewReader(f.get, schemas.ChunkID{1}))
	defer failing.Close()
	for range 2 {
		if _, _, err := failing.Find(t.Context(), "x"); err == nil {
			t.Error("a tree without nodes is read")
		}
	}
}

// BenchmarkMerge does what a backup does with entries, of which some have changed, except
// for looking at the files.
func BenchmarkMerge(b *testing.B) {
	f, entries := newForest(b), manyEntries(20_000)
	parent := f.build(entries)
	for _, percent := range []int{0, 1, 100} {
		b.Run(fmt.Sprintf("changed=%d%%", percent), func(b *testing.B) {
			after := slices.Clone(entries)
			r := rand.New(rand.NewPCG(1, 2))
			for i := range after {
				if r.IntN(100) < percent {
					e := *after[i]
					e.Mtime++
					after[i] = &e
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				f.rebuild(b.Context(), parent, after)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(after)), "ns/entry")
		})
	}
}
