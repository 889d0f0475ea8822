package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// manyFiles is the number of files from which mutate changes files instead of blocks.
const manyFiles = 1000

// changes counts the changes that mutate made.
type changes struct{ overwrites, appends, inserts, renames, deletes, news int }

func (c changes) String() string {
	return fmt.Sprintf("%d overwrites, %d appends, %d inserts, %d renames, %d deletes, %d new files",
		c.overwrites, c.appends, c.inserts, c.renames, c.deletes, c.news)
}

// A mutation changes one tree.
type mutation struct {
	noise
	root string
	changes
}

// mutate changes about 1 % of the tree in root. The changes depend on the tree and the
// seed only.
//
// With manyFiles or more, it changes 1 % of the files: 40 % of these are overwritten in
// place, 20 % are appended to, 15 % are inserted into, 10 % are renamed, 10 % are
// deleted, and 5 % get a new file beside them.
//
// Fewer files are large ones. It overwrites 0.8 % of each file in the way of databases
// and disk images: blocks of 64 KiB in runs of up to 16 blocks. It also makes two
// insertions in one file, appends to the last file, renames one file, and adds one.
func mutate(root string, seed uint64) (changes, error) {
	var files []string
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			files = append(files, path)
		}
		return err
	})
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("no files in %s", root)
	}
	if err != nil {
		return changes{}, err
	}
	m := &mutation{noise: newNoise(fmt.Sprintf("mutate %d", seed)), root: root}
	if len(files) >= manyFiles {
		err = m.changeMany(files)
	} else {
		err = m.changeFew(files)
	}
	return m.changes, err
}

// changeMany changes 1 % of the files.
func (m *mutation) changeMany(files []string) error {
	for _, i := range m.Perm(len(files))[:len(files)/100] {
		if err := m.changeFile(files[i], m.IntN(100)); err != nil {
			return err
		}
	}
	return nil
}

// changeFile changes one small file. kind is in [0,100) and selects the change.
func (m *mutation) changeFile(path string, kind int) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	size := info.Size()
	switch {
	case kind < 40:
		m.overwrites++
		length := min(64, size)
		return writeAt(path, m.below(size-length+1), m.bytes(int(length)))
	case kind < 60:
		m.appends++
		return writeAt(path, size, fmt.Appendf(nil, "\nadded later: %x\n", m.Uint64()))
	case kind < 75:
		m.inserts++
		return insert(path, m.below(size+1), m.bytes(32))
	case kind < 85:
		m.renames++
		return os.Rename(path, path+".renamed")
	case kind < 95:
		m.deletes++
		return os.Remove(path)
	}
	m.news++
	return os.WriteFile(path+".new", m.bytes(4*kib), 0o644)
}

// changeFew changes a part of every file.
func (m *mutation) changeFew(files []string) error {
	for _, path := range files {
		if err := m.overwrite(path); err != nil {
			return err
		}
	}
	for range 2 {
		path := files[len(files)/2]
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		m.inserts++
		if err := insert(path, m.below(info.Size()), m.bytes(4*kib)); err != nil {
			return err
		}
	}
	last := files[len(files)-1]
	info, err := os.Stat(last)
	if err != nil {
		return err
	}
	m.appends++
	if err := writeAt(last, info.Size(), m.bytes(int(max(4*kib, info.Size()/500)))); err != nil {
		return err
	}
	if len(files) >= 3 {
		m.renames++
		if err := os.Rename(files[0], files[0]+".renamed"); err != nil {
			return err
		}
	}
	m.news++
	return os.WriteFile(filepath.Join(m.root, "new-file.bin"), m.bytes(mib), 0o644)
}

// overwrite overwrites 0.8 % of a large file, at least one block.
func (m *mutation) overwrite(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	size := info.Size()
	block := min(64*kib, size)
	if block == 0 {
		return nil
	}
	for left := max(1, size*8/1000/block); left > 0; {
		run := min(left, 1+m.below(16), size/block)
		left -= run
		m.overwrites += int(run)
		if err := writeAt(path, m.below(size-run*block+1), m.bytes(int(run*block))); err != nil {
			return err
		}
	}
	return nil
}

// writeAt writes content into an existing file.
func writeAt(path string, offset int64, content []byte) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer closeFile(f, &err)
	_, err = f.WriteAt(content, offset)
	return err
}

// insert inserts content into a file in the way of editors: it writes a copy that
// replaces the file.
func insert(path string, offset int64, content []byte) error {
	from, err := os.Open(path)
	if err != nil {
		return err
	}
	defer from.Close()
	info, err := from.Stat()
	if err != nil {
		return err
	}
	temp := path + ".inserting"
	to, err := os.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, info.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.CopyN(to, from, offset)
	if err == nil {
		_, err = to.Write(content)
	}
	if err == nil {
		_, err = io.Copy(to, from)
	}
	closeFile(to, &err)
	if err != nil {
		return err
	}
	return os.Rename(temp, path)
}
