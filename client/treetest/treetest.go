// Package treetest makes folders that are hard to back up, and compares folders.
//
// It measures the client and must not share its code, so that an error of the client cannot hide
// itself: it reads and writes all metadata with its own calls. [Generate] makes a folder of many
// shapes from a seed. [Compare] lists how two folders differ in content and metadata. [TempDir]
// makes a folder for both, which is removed after the test whatever modes its folders have.
//
// Every file is reached by single names from opened folders, so paths may be longer than one system
// call allows.
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

// Size says how much [Generate] makes.
type Size int

const (
	// Small has every shape once: some hundred entries, a few MB, made in well below a second.
	Small Size = iota
	// Large also has thousands of files, with some 100 MB.
	Large
)

// TempDir is like t.TempDir, for trees with folders that their owner may not change.
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

// RemoveAll removes a folder, whatever modes the folders in it have.
func RemoveAll(dir string) error { return errors.Join(unlock(dir), os.RemoveAll(dir)) }

// New generates a tree in a new [TempDir].
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

// WantNames checks the names in a folder, which are given sorted. It finds temporary files that
// were left.
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
		t.Errorf("the folder contains %q, want %q", got, want)
	}
}

// Noise returns n bytes that cannot be compressed. Equal seeds make equal bytes.
func Noise(seed byte, n int) []byte { return fill(make([]byte, n), uint64(seed)) }

// Text returns n bytes that compress well.
func Text(n int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "line %d of a log that says much the same all day\n", i)
	}
	return b.Bytes()[:n]
}
