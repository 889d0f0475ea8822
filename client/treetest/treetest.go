// Package treetest makes folders that are hard to save and says whether two
// folders are the same.
//
// It is a measure of the client and must not share its code: what it knows of
// files it reads by itself. [Generate] makes a folder of many shapes from a
// seed, [Compare] lists how two folders differ by content and metadata, and
// [TempDir] is a place for both that is removed whatever the modes in it.
//
// Everything is reached by single names from opened folders, so paths may be
// longer than the system allows in one call.
package treetest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"testing"
)

// Size is how much [Generate] makes.
type Size int

const (
	// Small is every shape once: some hundred entries, a few MB, well below a
	// second.
	Small Size = iota
	// Large has thousands of files and some 100 MB besides.
	Large
)

// TempDir is like t.TempDir, for trees with folders that their owner may not
// change.
func TempDir(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	t.Cleanup(func() {
		if err := unlock(dir); err != nil {
			t.Errorf("make %s removable: %v", dir, err)
		}
	})
	return dir
}

// New generates a tree in a [TempDir].
func New(t testing.TB, seed int64, size Size) string {
	t.Helper()
	dir := TempDir(t)
	if err := Generate(dir, seed, size); err != nil {
		t.Fatalf("generate a tree from seed %d: %v", seed, err)
	}
	return dir
}

// unlock gives the owner all rights to every folder in and below dir.
func unlock(dir string) error {
	if err := os.Chmod(dir, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return unlockBelow(root)
}

func unlockBelow(root *os.Root) error {
	entries, err := fs.ReadDir(root.FS(), ".")
	for _, e := range entries {
		if e.IsDir() {
			err = errors.Join(err, unlockChild(root, e.Name()))
		}
	}
	return err
}

func unlockChild(root *os.Root, name string) error {
	if err := root.Chmod(name, 0o700); err != nil {
		return err
	}
	child, err := root.OpenRoot(name)
	if err != nil {
		return err
	}
	defer child.Close()
	return unlockBelow(child)
}

// WantNames checks what is in a folder, sorted: nothing temporary may be left.
func WantNames(t testing.TB, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if !slices.Equal(got, want) {
		t.Errorf("in the folder are %q, want %q", got, want)
	}
}

// Noise is n bytes that nothing compresses; equal seeds make equal bytes.
func Noise(seed byte, n int) []byte { return fill(make([]byte, n), uint64(seed)) }

// Text is n bytes that compress well.
func Text(n int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "line %d of a log that says much the same all day\n", i)
	}
	return b.Bytes()[:n]
}
