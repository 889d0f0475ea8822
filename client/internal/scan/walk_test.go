package scan

import (
	"context"
	"errors"
	"fmt"
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
	"servidor-backup/client/internal/tree"
	"servidor-backup/client/treetest"
)

// makeFiles makes the named files, with their names as content, and folders for names that
// end in a slash.
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

// walkAll walks the paths that a person gave.
func walkAll(t *testing.T, paths []string, exclude *Matcher, visit func(Item) error) {
	t.Helper()
	roots, err := NewRoots(paths)
	if err != nil {
		t.Fatal(err)
	}
	if err := Walk(t.Context(), roots, exclude, visit); err != nil {
		t.Fatal(err)
	}
}

// walkAlone walks a folder without helpers, so that folders are read only when the walk
// reaches them.
func walkAlone(t *testing.T, dir string, visit func(Item) error) {
	t.Helper()
	roots, err := NewRoots([]string{dir})
	if err != nil {
		t.Fatal(err)
	}
	w := newWalker(t.Context(), nil, visit)
	defer w.dirs.Close()
	if err := w.walkRoot(roots[0]); err != nil {
		t.Fatal(err)
	}
}

// wantWalk checks that a walk has no errors and visits these paths.
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
		t.Errorf("only %d entries were visited", n)
	}
}

// A path that is removed during the walk is reported, and everything else is visited.
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

// A name may be removed between the listing and the look at it.
func TestRemovedNamesAreItemsWithAnError(t *testing.T) {
	dir := t.TempDir()
	makeFiles(t, dir, "b", "d/x")
	w := newWalker(t.Context(), nil, nil)
	top, err := w.dirs.Top(dir)
	if err != nil {
		t.Fatal(err)
	}
	l := &listing{dir: top, path: ".", names: []string{"a", "b", "c", "d"}, listed: true}
	w.queue.append(l)
	w.queue.await(l)
	for i, it := range l.items {
		if removed := it.Path == "a" || it.Path == "c"; it.Path != string(rune('a'+i)) || removed != errors.Is(it.Err, fs.ErrNotExist) || removed != (it.Entry == nil) {
			t.Errorf("item %d is %+v", i, it)
		}
	}
	if len(l.items) != 4 || len(l.subdirs) != 1 || l.subdirs[0].path != "d" {
		t.Errorf("got %d items and %d folders, want 4 items, of which the folder d", len(l.items), len(l.subdirs))
	}
}

// The names of a large folder, with folders among them, are split into several listings.
func TestLargeFolderIsWalkedInOrder(t *testing.T) {
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

func TestWalkEndsWithTheVisitorOrTheContext(t *testing.T) {
	dir := t.TempDir()
	makeFiles(t, dir, "a", "b")
	roots, err := NewRoots([]string{dir})
	if err != nil {
		t.Fatal(err)
	}
	stop := errors.New("stop")
	if err := Walk(t.Context(), roots, nil, func(Item) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v, want the visitor's error", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = Walk(ctx, roots, nil, func(Item) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

func TestSocketsAndExcludedFoldersAreLeftOut(t *testing.T) {
	dir := t.TempDir()
	makeFiles(t, dir, "a", "cache/x", "cache/y")
	t.Chdir(dir) // the path of a socket must be short
	l, err := net.Listen("unix", "s")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	wantWalk(t, []string{dir}, matcherFor(t, patterns("cache"), dir), ".", "a")
	wantWalk(t, []string{dir}, nil, ".", "a", "cache", "cache/x", "cache/y")
}

func TestDeepFoldersAreWalked(t *testing.T) {
	const depth = 200
	dir := treetest.TempDir(t)
	makeFiles(t, dir, strings.Repeat("d/", depth), strings.Repeat("d/", depth/2)+"z")
	n := 0
	walkAll(t, []string{dir}, nil, func(it Item) error {
		n++
		return it.Err
	})
	if want := depth + 2; n != want {
		t.Errorf("%d entries are visited, want %d", n, want)
	}
}

// Items are not kept until the walk ends.
func TestWalkDropsVisitedItems(t *testing.T) {
	dir := t.TempDir()
	var names []string
	for i := range 1000 {
		names = append(names, fmt.Sprintf("%02d/%02d/file", i/50, i%50))
	}
	makeFiles(t, dir, names...)
	var freed atomic.Int64
	visited := 0
	walkAll(t, []string{dir}, nil, func(it Item) error {
		visited++
		runtime.AddCleanup(it.Entry, func(int) { freed.Add(1) }, 0)
		if it.Path == "19/49/file" {
			bustest.Eventually(t, "most visited entries are freed", func() bool {
				runtime.GC()
				return freed.Load() > int64(visited)*9/10
			})
		}
		return nil
	})
}
