package restore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"servidor-backup/bus/bustest"
	"servidor-backup/client/internal/seal"
	"servidor-backup/client/internal/target"
	"servidor-backup/client/internal/tree"
	"servidor-backup/client/treetest"
	"servidor-backup/schemas"
)

func dirEntry(path string) *tree.Entry {
	return &tree.Entry{Path: path, Type: tree.TypeDir, Mode: 0o755}
}

// partOf returns a file whose content is the piece [skip, skip+n) of a chunk.
func partOf(path string, id schemas.ChunkID, skip, n int64) *tree.Entry {
	return &tree.Entry{Path: path, Type: tree.TypeFile, Mode: 0o644, Size: n,
		Content: tree.Content{Pieces: []tree.Piece{{Len: n, ID: id, Skip: skip}}, Bytes: n}}
}

func wantContent(t testing.TB, path string, want []byte) {
	t.Helper()
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s holds %d bytes (%v), want the %d that were saved", path, len(got), err, len(want))
	}
}

// Small files share chunks in turn, with large files in between. Each chunk is fetched once.
func TestSharedChunksAreFetchedOnce(t *testing.T) {
	s := newShelf(t)
	shared := [][]byte{treetest.Noise(1, 200_000), treetest.Text(300_000), treetest.Noise(2, 5000)}
	ids := make([]schemas.ChunkID, len(shared))
	for i, plain := range shared {
		ids[i] = s.data(plain)
	}
	large := treetest.Noise(3, seal.MaxPlain)
	entries := []*tree.Entry{dirEntry("."), partOf("large", s.data(large), 0, int64(len(large)))}
	want := map[string][]byte{"large": large}
	for d := range 5 {
		entries = append(entries, dirEntry(fmt.Sprint(d)))
		for f := range 40 {
			c, skip, n := f%3, int64(d*40+f)*20, int64(f)
			name := fmt.Sprintf("%d/%02d", d, f)
			e := partOf(name, ids[c], skip, n)
			if n == 0 {
				e.Content = tree.Content{}
			}
			entries = append(entries, e)
			want[name] = shared[c][skip:][:n]
		}
	}
	to, done, warnings := s.restore(s.version(entries))
	for name, content := range want {
		wantContent(t, filepath.Join(to, name), content)
	}
	if len(warnings) > 0 || done.Files != int64(len(want)) {
		t.Errorf("%d files were restored, want %d; warnings: %q", done.Files, len(want), warnings)
	}
	for id, n := range s.dataGets() {
		if n != 1 {
			t.Errorf("chunk %s was fetched %d times", id.Short(), n)
		}
	}
}

// Damage of a shared chunk, or of one file's piece of it, costs exactly the files that need it.
func TestDamageCostsOnlyItsFiles(t *testing.T) {
	s := newShelf(t)
	good, bad, lost := treetest.Noise(1, 9000), s.data(treetest.Noise(2, 9000)), s.data(treetest.Noise(3, 9000))
	c := s.chunks[bad]
	c.Content[100] ^= 1
	delete(s.chunks, lost)
	id := s.data(good)
	to, done, warnings := s.restore(s.version([]*tree.Entry{
		dirEntry("."), partOf("a", id, 0, 4000), partOf("b", bad, 0, 4000), partOf("c", lost, 0, 4000),
		partOf("d", id, 4000, 5000), partOf("e", id, 4001, 5000), partOf("f", bad, 4000, 1),
	}))
	wantContent(t, filepath.Join(to, "a"), good[:4000])
	wantContent(t, filepath.Join(to, "d"), good[4000:])
	treetest.WantNames(t, to, "a", "d")
	if len(warnings) != 4 || done.Failed != 4 {
		t.Errorf("%d failed, want 4: %q", done.Failed, warnings)
	}
}

// twins returns a version in which the file "z" is equal to "a", far after it: their content, their
// chunk, and a chunk of a file between them.
func (s *shelf) twins() (v *Source, content []byte, id, middle schemas.ChunkID) {
	content = treetest.Noise(200, 300_000)
	id = s.data(content)
	entries := []*tree.Entry{dirEntry("."), partOf("a", id, 0, int64(len(content))), partOf("z", id, 0, int64(len(content)))}
	const between = 2*slots + maxGatheredBytes/seal.MaxPlain
	for i := range between {
		other := s.data(treetest.Noise(byte(i), seal.MaxPlain))
		entries = append(entries, partOf(fmt.Sprintf("b%02d", i), other, 0, seal.MaxPlain))
		if i == slots {
			middle = other
		}
	}
	return s.version(entries), content, id, middle
}

func TestWrittenChunksAreNotFetchedAgain(t *testing.T) {
	s := newShelf(t)
	v, content, id, _ := s.twins()
	to, _, warnings := s.restore(v)
	wantContent(t, filepath.Join(to, "a"), content)
	wantContent(t, filepath.Join(to, "z"), content)
	if n := s.gets[id]; n != 1 || len(warnings) > 0 {
		t.Errorf("the chunk was fetched %d times; warnings: %q", n, warnings)
	}
}

// A file that was changed after it was written is not read back: its chunk is fetched again.
func TestChangedFilesAreNotReadBack(t *testing.T) {
	s := newShelf(t)
	v, content, id, middle := s.twins()
	for name, change := range map[string]func(path string) error{
		"overwritten": func(path string) error { return os.WriteFile(path, treetest.Noise(201, 300_000), 0o600) },
		"cut off":     func(path string) error { return os.Truncate(path, 1) },
		"removed":     os.Remove,
		"a link":      func(path string) error { return errors.Join(os.Remove(path), os.Symlink("b00", path)) },
		"a folder":    func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) },
	} {
		t.Run(name, func(t *testing.T) {
			to := t.TempDir()
			clear(s.gets)
			s.before = func(asked schemas.ChunkID) error {
				if asked == middle {
					a := filepath.Join(to, "r", "a")
					bustest.Eventually(t, "the first file is complete", func() bool {
						info, err := os.Stat(a)
						return err == nil && info.ModTime().UnixNano() == 0 // set last
					})
					if err := change(a); err != nil {
						t.Error(err)
					}
				}
				return nil
			}
			s.restoreTo(to, v)
			wantContent(t, filepath.Join(to, "r", "z"), content)
			if n := s.gets[id]; n != 2 {
				t.Errorf("the chunk was fetched %d times, want 2", n)
			}
		})
	}
}

// entriesBelow returns the entries in the tree below a node of a version.
func entriesBelow(t *testing.T, v *Source, node schemas.ChunkID) (all []*tree.Entry) {
	t.Helper()
	entries := tree.NewReader(v.Chunks.TreeNodes, node).Iterate(t.Context(), ".")
	for {
		e, more, err := entries.Next()
		if err != nil {
			t.Fatal(err)
		}
		if !more {
			return all
		}
		all = append(all, e)
	}
}

// A lost leaf of the path tree costs the paths in it, and nothing else.
func TestALostLeafCostsItsPaths(t *testing.T) {
	s := newShelf(t)
	content := treetest.Text(2000)
	id := s.data(content)
	entries := []*tree.Entry{dirEntry(".")}
	for d := range 40 {
		dir := dirEntry(fmt.Sprintf("d%02d", d))
		dir.Mtime = 1e18
		entries = append(entries, dir)
		for f := range 200 {
			entries = append(entries, partOf(fmt.Sprintf("%s/f%03d", dir.Path, f), id, int64(f), 1500))
		}
	}
	v := s.version(entries)
	root, err := v.Chunks.TreeNodes(t.Context(), []schemas.ChunkID{v.Entries.Root})
	if err != nil {
		t.Fatal(err)
	}
	leaves := root[0].Trees
	if len(leaves) < 5 {
		t.Fatalf("the tree has %d leaves, too few for this test", len(leaves))
	}
	lost := entriesBelow(t, v, leaves[2])
	s.chunks[leaves[2]].Content[50] ^= 1

	to, done, warnings := s.restore(v)
	if want := fmt.Sprintf("r/%s: lost", lost[0].Path); len(warnings) != 1 || !strings.HasPrefix(warnings[0], want) {
		t.Errorf("warnings are %q, want one that begins with %q", warnings, want)
	}
	if done.Failed != 1 {
		t.Errorf("%d failures, want 1", done.Failed)
	}
	inLeaf := map[string]bool{}
	for _, e := range lost {
		inLeaf[e.Path] = true
	}
	for _, e := range entries {
		info, err := os.Lstat(filepath.Join(to, e.Path))
		switch {
		case inLeaf[e.Path]: // a folder may exist for other paths in it
			if e.Type == tree.TypeFile && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s was lost and exists (%v)", e.Path, err)
			}
		case err != nil:
			t.Error(err)
		case info.ModTime().UnixNano() != e.Mtime:
			t.Errorf("%s has the time %v", e.Path, info.ModTime())
		case e.Type == tree.TypeFile && info.Size() != e.Size:
			t.Errorf("%s has %d bytes", e.Path, info.Size())
		}
	}
}

// A restore that ends in the middle of a file leaves nothing under its name, and an older file of
// that name stays.
func TestAnInterruptedFileDoesNotGetItsName(t *testing.T) {
	s := newShelf(t)
	e := partOf("f", s.data(treetest.Text(2000)), 0, 1500)
	root := schemas.ChunkID{9}
	e.Size, e.Content = 70_000_000, tree.Content{Tree: root, Bytes: 70_000_000}
	v := s.version([]*tree.Entry{dirEntry("."), e})
	broken := errors.New("the connection is broken")
	get := v.Entries.Get
	v.Entries.Get = func(ctx context.Context, ids []schemas.ChunkID) ([]tree.Node, error) {
		if slices.Contains(ids, root) {
			return nil, broken
		}
		return get(ctx, ids)
	}
	for _, exists := range []bool{false, true} {
		to := t.TempDir()
		name := filepath.Join(to, "r", "f")
		if exists {
			if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, []byte("precious"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.run(to, v, target.Options{Overwrite: exists}, func(string, error) {}); !errors.Is(err, broken) {
			t.Errorf("the restore ended with %v", err)
		}
		b, err := os.ReadFile(name)
		if exists && string(b) != "precious" || !exists && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("existed: %v; the file has %d bytes now (%v)", exists, len(b), err)
		}
		if left, err := os.ReadDir(filepath.Dir(name)); err == nil && len(left) > 1 {
			t.Errorf("%v are left", left)
		}
	}
}
