package scan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"servidor-backup/bus/bustest"
	"servidor-backup/client/internal/osfs"
	"servidor-backup/client/internal/tree"
	"servidor-backup/client/treetest"
)

// makeFiles makes the named files with their names as content, and folders for
// names that end in a slash.
func makeFiles(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, name := range names {
		path := filepath.Join(dir, filepath.FromSlash(name))
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if strings.HasSuffix(name, "/") {
			err = errors.Join(err, os.MkdirAll(path, 0o755))
		} else {
			err = errors.Join(err, os.WriteFile(path, []byte(name), 0o644))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// walkAll walks the paths of a command line.
func walkAll(t *testing.T, paths []string, exclude *Matcher, visit func(Item) error) walkCount {
	t.Helper()
	roots, err := NewRoots(paths)
	if err != nil {
		t.Fatal(err)
	}
	count, err := Walk(t.Context(), roots, exclude, visit)
	if err != nil {
		t.Fatal(err)
	}
	return count
}

// walkAlone walks a folder without helpers: a folder is looked at when the walk
// gets there.
func walkAlone(t *testing.T, dir string, visit func(Item) error) {
	t.Helper()
	roots, err := NewRoots([]string{dir})
	if err != nil {
		t.Fatal(err)
	}
	w := newWalker(t.Context(), nil, visit)
	defer w.set.Close()
	if err := w.root(roots[0]); err != nil {
		t.Fatal(err)
	}
}

// wantWalk checks the entries' paths of a walk without errors.
func wantWalk(t *testing.T, paths []string, exclude *Matcher, want ...string) {
	t.Helper()
	var got []string
	walkAll(t, paths, exclude, func(it Item) error {
		if it.Err != nil {
			t.Errorf("%q: %v", it.Path, it.Err)
		}
		got = append(got, it.Path)
		return nil
	})
	if !slices.Equal(got, want) {
		t.Errorf("walked %q, want %q", got, want)
	}
}

func TestWalkIsInOrder(t *testing.T) {
	dir := treetest.New(t, 4, treetest.Small)
	last, n := "", 0
	walkAll(t, []string{dir}, nil, func(it Item) error {
		if it.Err != nil {
			t.Errorf("%q: %v", it.Path, it.Err)
		} else if it.Entry.Path != it.Path {
			t.Errorf("the item %q has an entry %q", it.Path, it.Entry.Path)
		} else if err := it.Entry.Check(); err != nil {
			t.Error(err)
		}
		if n > 0 && tree.ComparePath(last, it.Path) >= 0 {
			t.Errorf("%q came after %q", it.Path, last)
		}
		last = it.Path
		n++
		return nil
	})
	if n < 200 {
		t.Errorf("only %d entries were walked", n)
	}
}

func TestWalkRoots(t *testing.T) {
	dir := t.TempDir()
	makeFiles(t, dir, "docs/x", "docs/y/z", "file", "other/docs/x", "a/")
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := os.Symlink("docs", at("current")); err != nil {
		t.Fatal(err)
	}
	wantWalk(t, []string{at("docs")}, nil, ".", "x", "y", "y/z")
	wantWalk(t, []string{at("docs") + "/"}, nil, ".", "x", "y", "y/z")
	wantWalk(t, []string{at("file")}, nil, "file")
	wantWalk(t, []string{at("file"), at("docs"), at("a")}, nil, "a", "docs", "docs/x", "docs/y", "docs/y/z", "file")
	wantWalk(t, []string{at("current")}, nil, ".", "x", "y", "y/z")
	wantWalk(t, []string{at("current"), at("file")}, nil, "current", "current/x", "current/y", "current/y/z", "file")

	t.Chdir(at("docs"))
	wantWalk(t, []string{"."}, nil, ".", "x", "y", "y/z")
	wantWalk(t, []string{".", "../file"}, nil, "docs", "docs/x", "docs/y", "docs/y/z", "file")
}

func TestImpossibleRoots(t *testing.T) {
	dir := t.TempDir()
	makeFiles(t, dir, "docs/x", "other/docs/x")
	for name, tc := range map[string]struct {
		paths []string
		want  string
	}{
		"none":      {nil, "no path"},
		"missing":   {[]string{filepath.Join(dir, "nothing")}, "nothing"},
		"same name": {[]string{filepath.Join(dir, "docs"), filepath.Join(dir, "other/docs")}, "two records"},
		"nameless":  {[]string{filepath.Join(dir, "docs"), "/"}, "save it alone"},
	} {
		if _, err := NewRoots(tc.paths); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, tc.want)
		}
	}
}

// What vanishes during a walk is told, and everything else is walked.
func TestWalkGoesOnAfterErrors(t *testing.T) {
	dir := t.TempDir()
	makeFiles(t, dir, "a/x", "b", "c/x")
	var whole, failed []string
	walkAlone(t, dir, func(it Item) error {
		if it.Err == nil {
			whole = append(whole, it.Path)
		} else if failed = append(failed, it.Path); !errors.Is(it.Err, fs.ErrNotExist) || it.Entry != nil {
			t.Errorf("%q: got %v, want fs.ErrNotExist and no entry", it.Path, it.Err)
		}
		if it.Path == "a" && it.Err == nil {
			return os.RemoveAll(filepath.Join(dir, "a"))
		}
		return nil
	})
	if want := []string{".", "a", "b", "c", "c/x"}; !slices.Equal(whole, want) {
		t.Errorf("walked %q, want %q", whole, want)
	}
	if want := []string{"a"}; !slices.Equal(failed, want) {
		t.Errorf("failed for %q, want %q", failed, want)
	}
}

// A name may be gone before it is looked at.
func TestScanOfVanishedNames(t *testing.T) {
	dir := t.TempDir()
	makeFiles(t, dir, "b", "d/x")
	w := newWalker(t.Context(), nil, nil)
	top, err := w.set.Top(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := &listing{dir: top, path: ".", names: []string{"a", "b", "c", "d"}, listed: true}
	w.listings.add(s)
	w.listings.await(s)
	for i, it := range s.items {
		if gone := it.Path == "a" || it.Path == "c"; it.Path != string(rune('a'+i)) || gone != errors.Is(it.Err, fs.ErrNotExist) || gone != (it.Entry == nil) {
			t.Errorf("item %d is %+v", i, it)
		}
	}
	if len(s.items) != 4 || len(s.below) != 1 || s.below[0].path != "d" {
		t.Errorf("%d items, %d folders", len(s.items), len(s.below))
	}
}

// A folder with very many names, and folders among them, comes in parts.
func TestWalkOfALargeFolder(t *testing.T) {
	dir := t.TempDir()
	var names, want []string
	for i := range 3*listingItems + 7 {
		name := fmt.Sprintf("%05d", i)
		want = append(want, name)
		if i%100 == 99 {
			want = append(want, name+"/x")
			name += "/x"
		}
		names = append(names, name)
	}
	makeFiles(t, dir, names...)
	wantWalk(t, []string{dir}, nil, slices.Insert(want, 0, ".")...)
}

func TestWalkEndsEarly(t *testing.T) {
	dir := t.TempDir()
	makeFiles(t, dir, "a", "b")
	roots, err := NewRoots([]string{dir})
	if err != nil {
		t.Fatal(err)
	}
	stop := errors.New("stop")
	if _, err := Walk(t.Context(), roots, nil, func(Item) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v, want the visitor's error", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err = Walk(ctx, roots, nil, func(Item) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

func TestWalkCountsWhatItLeavesOut(t *testing.T) {
	dir := t.TempDir()
	makeFiles(t, dir, "a", "cache/x", "cache/y")
	t.Chdir(dir) // the path of a socket must be short
	l, err := net.Listen("unix", "s")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	m, err := NewMatcher([]string{"cache"})
	if err != nil {
		t.Fatal(err)
	}
	count := walkAll(t, []string{dir}, m, func(Item) error { return nil })
	if want := (walkCount{Excluded: 1, Special: 1}); count != want {
		t.Errorf("got %+v, want %+v", count, want)
	}
}

func TestOpenAfterTheWalk(t *testing.T) {
	dir := t.TempDir()
	makeFiles(t, dir, "a/b/file")
	var last Item
	walkAll(t, []string{dir}, nil, func(it Item) error { last = it; return nil })
	if err := os.WriteFile(filepath.Join(dir, "a/b/file"), []byte("longer than before"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, _, err := last.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got, err := io.ReadAll(f); string(got) != "longer than before" || int64(len(got)) != last.Entry.Size {
		t.Errorf("read %q (%v), and the entry's size is %d", got, err, last.Entry.Size)
	}
}

func TestWalkBoundsOpenFolders(t *testing.T) {
	dir := treetest.TempDir(t)
	makeFiles(t, dir, strings.Repeat("d/", 4*osfs.MaxOpenFolders), strings.Repeat("d/", 2*osfs.MaxOpenFolders)+"z")
	roots, err := NewRoots([]string{dir})
	if err != nil {
		t.Fatal(err)
	}
	var w *walker
	most, n := 0, 0
	w = newWalker(t.Context(), nil, func(it Item) error {
		most = max(most, w.set.Open.Len())
		n++
		return it.Err
	})
	set, limit := w.set, w.set.Limit
	if err := w.root(roots[0]); err != nil {
		t.Fatal(err)
	}
	if want := 4*osfs.MaxOpenFolders + 2; n != want || most != limit {
		t.Errorf("%d entries with up to %d folders open, want %d with %d", n, most, want, limit)
	}
	set.Close()
	if set.Open.Len() != 0 {
		t.Errorf("%d folders stay open", set.Open.Len())
	}
}

// What was visited is not kept until the walk ends.
func TestWalkForgets(t *testing.T) {
	dir := t.TempDir()
	var names []string
	for i := range 1000 {
		names = append(names, fmt.Sprintf("%02d/%02d/file", i/50, i%50))
	}
	makeFiles(t, dir, names...)
	var gone atomic.Int64
	visited := 0
	walkAll(t, []string{dir}, nil, func(it Item) error {
		visited++
		runtime.AddCleanup(it.Entry, func(int) { gone.Add(1) }, 0)
		if it.Path == "19/49/file" {
			bustest.Eventually(t, "what was visited is gone", func() bool {
				runtime.GC()
				return gone.Load() > int64(visited)*9/10
			})
		}
		return nil
	})
}

func BenchmarkWalk(b *testing.B) { benchWalk(b, treetest.New(b, 1, treetest.Large)) }

// What could not be read of an entry is looked for again by the next backup.
func TestAttributesThatCannotBeReadAreNotTakenForRead(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "d")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "f"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	roots, err := NewRoots([]string{top})
	if err != nil {
		t.Fatal(err)
	}
	var item Item
	if _, err := Walk(t.Context(), roots, nil, func(it Item) error {
		if it.Path == "d/f" {
			item = it
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	item.Entry.Ctime = 1
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := item.Complete(); err == nil || item.Entry.Ctime != 0 {
		t.Errorf("%v, and the change time is %d", err, item.Entry.Ctime)
	}
}
