package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// treeSize holds the sizes of a tree.
type treeSize struct {
	files int64 // number of regular files
	bytes int64 // length of the regular files, with holes
	disk  int64 // disk space of all files and folders, bytes
}

// measureTree returns the size of a tree. Another process may remove files meanwhile.
func measureTree(root string) (treeSize, error) {
	var t treeSize
	seen := map[fileID]bool{} // files with several hard links, to count each once
	err := filepath.WalkDir(root, func(_ string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a server has removed it
		}
		if err != nil {
			return err
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if id, several := identity(info); several {
			if seen[id] {
				return nil
			}
			seen[id] = true
		}
		t.disk += diskBytes(info)
		if info.Mode().IsRegular() {
			t.files++
			t.bytes += info.Size()
		}
		return nil
	})
	return t, err
}

// fillCache reads every file of a tree, so that it is in the page cache.
func fillCache(root string) error {
	buffer := make([]byte, mib)
	return filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		defer f.Close()
		for {
			if _, err := f.Read(buffer); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
		}
	})
}

// compareTrees returns an error that names the first difference between two trees. It
// compares names, types, permissions, contents, and targets of links, but not times and
// owners.
func compareTrees(want, got string) error {
	c := comparison{every: 1}
	return c.compareFolders(want, got)
}

// A comparison compares trees. It can restrict contents to a sample of the files.
type comparison struct {
	every int64 // compare the contents of one in so many regular files
	files int64 // number of regular files compared so far
}

// compareFolders returns an error for the first difference between two folders.
func (c *comparison) compareFolders(want, got string) error {
	a, err := os.ReadDir(want)
	if err != nil {
		return err
	}
	b, err := os.ReadDir(got)
	if err != nil {
		return err
	}
	for i := range max(len(a), len(b)) {
		switch {
		case i >= len(b) || i < len(a) && a[i].Name() < b[i].Name():
			return fmt.Errorf("missing: %s", filepath.Join(want, a[i].Name()))
		case i >= len(a) || a[i].Name() != b[i].Name():
			return fmt.Errorf("unexpected: %s", filepath.Join(got, b[i].Name()))
		}
		if err := c.compareEntries(filepath.Join(want, a[i].Name()), filepath.Join(got, b[i].Name())); err != nil {
			return err
		}
	}
	return nil
}

// compareEntries returns an error for the first difference between two files or folders.
func (c *comparison) compareEntries(want, got string) error {
	a, err := os.Lstat(want)
	if err != nil {
		return err
	}
	b, err := os.Lstat(got)
	if err != nil {
		return err
	}
	switch {
	case a.Mode() != b.Mode():
		return fmt.Errorf("mode of %s: %v, not %v", got, b.Mode(), a.Mode())
	case a.IsDir():
		return c.compareFolders(want, got)
	case a.Mode().Type() == fs.ModeSymlink:
		target, err := os.Readlink(want)
		if err != nil {
			return err
		}
		if now, err := os.Readlink(got); err != nil || now != target {
			return fmt.Errorf("target of the link %s: %q, not %q (%v)", got, now, target, err)
		}
	case a.Mode().IsRegular() && a.Size() != b.Size():
		return fmt.Errorf("size of %s: %d, not %d", got, b.Size(), a.Size())
	case a.Mode().IsRegular():
		if c.files++; (c.files-1)%c.every == 0 {
			return compareContents(want, got)
		}
	}
	return nil
}

// compareContents compares two files of the same size.
func compareContents(want, got string) error {
	a, err := os.Open(want)
	if err != nil {
		return err
	}
	defer a.Close()
	b, err := os.Open(got)
	if err != nil {
		return err
	}
	defer b.Close()
	info, err := a.Stat()
	if err != nil {
		return err
	}
	return compareRange(a, b, 0, info.Size())
}

// compareRange compares the bytes of two files from offset from up to offset to.
func compareRange(a, b *os.File, from, to int64) error {
	size := min(to-from, mib)
	x, y := make([]byte, size), make([]byte, size)
	for ; from < to; from += size {
		size = min(size, to-from)
		if _, err := a.ReadAt(x[:size], from); err != nil {
			return err
		}
		if _, err := b.ReadAt(y[:size], from); err != nil {
			return err
		}
		if !bytes.Equal(x[:size], y[:size]) {
			return fmt.Errorf("content of %s differs in the %d bytes at offset %d", b.Name(), size, from)
		}
	}
	return nil
}
