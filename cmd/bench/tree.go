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

// treeSize is how much is in a tree.
type treeSize struct {
	files int64 // that are regular
	bytes int64 // in them, with holes
	disk  int64 // bytes of disk that they and their folders take
}

func measureTree(root string) (treeSize, error) {
	var t treeSize
	seen := map[fileID]bool{} // files with several names, once
	err := filepath.WalkDir(root, func(_ string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a server may tidy up meanwhile
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

// warm reads every file of a tree, so that the next to read finds it in memory.
func warm(root string) error {
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

// compareTrees returns an error that names the first difference between two
// trees: names, kinds, permissions, contents, and where links lead. Times and
// owners are not compared.
func compareTrees(want, got string) error {
	c := comparison{every: 1}
	return c.trees(want, got)
}

// A comparison of trees may be content with sizes and a sample of the contents.
type comparison struct {
	every int64 // so many regular files to one whose content is compared
	files int64 // that are regular, of those compared so far
}

func (c *comparison) trees(want, got string) error {
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
			return fmt.Errorf("too many: %s", filepath.Join(got, b[i].Name()))
		}
		if err := c.entries(filepath.Join(want, a[i].Name()), filepath.Join(got, b[i].Name())); err != nil {
			return err
		}
	}
	return nil
}

func (c *comparison) entries(want, got string) error {
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
		return c.trees(want, got)
	case a.Mode().Type() == fs.ModeSymlink:
		to, err := os.Readlink(want)
		if err != nil {
			return err
		}
		if now, err := os.Readlink(got); err != nil || now != to {
			return fmt.Errorf("%s leads to %q, not %q (%v)", got, now, to, err)
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

// compareRange compares what two files have from one offset to another.
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
			return fmt.Errorf("content of %s differs within %d bytes from %d", b.Name(), size, from)
		}
	}
	return nil
}
