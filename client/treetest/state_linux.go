package treetest

import (
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// State is all that a backup has to keep of a path, except which names are one file. The zero State
// is that of a path that is not there.
type State struct {
	Type     os.FileMode
	Mode     uint32
	UID, GID uint32
	Mtime    unix.Timespec // zero for a symbolic link, if the file system says nothing of use
	Size     int64
	Content  string // a hash, the target of a link, or the number of a device
	Xattrs   string
	// Unreadable says that this user cannot read it.
	Unreadable bool
}

// HasTime reports whether the time is one that a version can hold, from 1678 to 2262.
func (s State) HasTime() bool {
	return time.Unix(s.Mtime.Unix()).Year() >= 1678 && time.Unix(s.Mtime.Unix()).Year() < 2262
}

// Tree is what a folder holds: the states by path, relative to the folder, which is ".".
type Tree struct {
	States map[string]State
	// Files are the inodes of what is not a folder, for comparisons within the tree.
	Files map[string][2]uint64
}

// Moments are the states that paths went through, in their order. Each path has the one before the
// first change, too.
type Moments map[string][]State

// TakeTree looks at a folder. Sockets, which a backup leaves out, are left out.
func TakeTree(dir string) (*Tree, error) {
	t := &Tree{States: map[string]State{}, Files: map[string][2]uint64{}}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if d == nil {
			return err
		}
		s, id := stateOf(path)
		rel, _ := filepath.Rel(dir, path)
		if err != nil {
			s.Unreadable = true
			t.States[rel] = s
			return nil
		}
		if s.Type == os.ModeSocket {
			return nil
		}
		t.States[rel] = s
		if s.Type != os.ModeDir {
			t.Files[rel] = id
		}
		return nil
	})
	return t, err
}

// stateOf returns the state of a path, and its inode.
func stateOf(path string) (s State, id fileID) {
	info, err := os.Lstat(path)
	if err != nil {
		return State{}, id
	}
	st := info.Sys().(*syscall.Stat_t)
	id = sysOf(info).id
	s = State{
		Type: info.Mode().Type(), Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid,
		Mtime: unix.Timespec{Sec: st.Mtim.Sec, Nsec: st.Mtim.Nsec},
	}
	switch {
	case info.Mode().IsRegular():
		content, err := os.ReadFile(path)
		s.Size, s.Content, s.Unreadable = int64(len(content)), fmt.Sprintf("%x", hash(content)), err != nil
	case s.Type == os.ModeSymlink:
		s.Content, err = os.Readlink(path)
		s.Mode, s.Unreadable = 0, err != nil
	case s.Type&os.ModeDevice != 0:
		s.Content = fmt.Sprint(st.Rdev)
	}
	s.Xattrs = xattrText(path)
	return s, id
}

var hashSeed = maphash.MakeSeed()

// hash tells contents apart within this process. It is fast.
func hash(b []byte) uint64 { return maphash.Bytes(hashSeed, b) }

// xattrText returns the attributes of a path as text.
func xattrText(path string) string {
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return err.Error()
	}
	defer root.Close()
	attrs, err := xattrsOf(root, filepath.Base(path))
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return err.Error()
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(attrs)) {
		if name != "security.selinux" {
			fmt.Fprintf(&b, "%q=%x;", name, hash([]byte(attrs[name])))
		}
	}
	return b.String()
}

// noteNew notes that the paths that have no notes were not there before.
func (m Moments) noteNew(dir string, paths []string) {
	for _, p := range paths {
		if rel, err := filepath.Rel(dir, p); err == nil && m[rel] == nil && rel != ".." {
			m[rel] = []State{{}}
		}
	}
}

// note appends the current states of paths in dir.
func (m Moments) note(dir string, paths []string) {
	for _, p := range paths {
		rel, err := filepath.Rel(dir, p)
		if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
			continue
		}
		s, _ := stateOf(p)
		if all := m[rel]; len(all) == 0 || all[len(all)-1] != s {
			m[rel] = append(m[rel], s)
		}
	}
}

// below returns the paths below a folder of which there are notes.
func (m Moments) below(dir, path string) (all []string) {
	rel, _ := filepath.Rel(dir, path)
	for p := range m {
		if strings.HasPrefix(p, rel+"/") {
			all = append(all, filepath.Join(dir, p))
		}
	}
	return all
}

// Differences lists what a backup of the tree may not contain, one line for each difference. named
// are the paths that the program has named as not saved or not restored whole; what is below them
// counts as named, too.
func (t *Tree) Differences(got *Tree, moments Moments, named map[string]bool) (diffs []string) {
	isNamed := func(path string) bool {
		for ; path != "."; path = filepath.Dir(path) {
			if named[path] {
				return true
			}
		}
		return named["."]
	}
	paths := union(slices.Collect(maps.Keys(t.States)), slices.Collect(maps.Keys(got.States)))
	paths = union(paths, slices.Collect(maps.Keys(moments)))
	for _, p := range paths {
		allowed := moments[p]
		if len(allowed) == 0 {
			allowed = []State{t.States[p]}
		}
		s := got.States[p]
		if moments.moved(p) && (s == State{} || t.hasOrHad(moments, s)) {
			continue
		}
		if !isNamed(p) && !slices.Contains(allowed, s) {
			diffs = append(diffs, fmt.Sprintf("%q is\n\t%+v instead of", p, s))
			for _, a := range allowed[:min(len(allowed), 6)] {
				diffs[len(diffs)-1] += fmt.Sprintf("\n\t%+v", a)
			}
		}
	}
	return append(diffs, t.linkDifferences(got, moments, isNamed)...)
}

// moved reports whether the path, or a folder above it, came or went. What a program has opened
// there stays open, wherever it is, and may change under another name.
func (m Moments) moved(path string) bool {
	for ; path != "."; path = filepath.Dir(path) {
		if slices.Contains(m[path], State{}) {
			return true
		}
	}
	return false
}

// hasOrHad reports whether some path has a state, or had it at a moment.
func (t *Tree) hasOrHad(m Moments, s State) bool {
	for _, states := range m {
		if slices.Contains(states, s) {
			return true
		}
	}
	for _, state := range t.States {
		if state == s {
			return true
		}
	}
	return false
}

// linkDifferences compares which names are one file, among those that did not change.
func (t *Tree) linkDifferences(got *Tree, moments Moments, isNamed func(string) bool) (diffs []string) {
	var still []string
	for _, p := range slices.Sorted(maps.Keys(t.Files)) {
		if _, there := got.Files[p]; there && moments[p] == nil && !moments.moved(p) && !isNamed(p) {
			still = append(still, p)
		}
	}
	for i, p := range still {
		for _, q := range still[:i] {
			want, is := t.Files[p] == t.Files[q], got.Files[p] == got.Files[q]
			if want != is {
				diffs = append(diffs, fmt.Sprintf("%q and %q are one file: %t instead of %t", p, q, is, want))
			}
		}
	}
	return diffs
}

// Part returns what is at path, and below, with path as ".".
func (t *Tree) Part(path string) *Tree {
	if path == "." {
		return t
	}
	part := &Tree{States: map[string]State{}, Files: map[string][2]uint64{}}
	for p, s := range t.States {
		if rel, ok := below(p, path); ok {
			part.States[rel] = s
		}
	}
	for p, id := range t.Files {
		if rel, ok := below(p, path); ok {
			part.Files[rel] = id
		}
	}
	return part
}

// Part returns the moments of what is at path, and below, with path as ".".
func (m Moments) Part(path string) Moments {
	part := Moments{}
	for p, s := range m {
		if rel, ok := below(p, path); ok {
			part[rel] = s
		}
	}
	return part
}

// below returns p relative to path, if p is path or below it.
func below(p, path string) (rel string, ok bool) {
	switch path {
	case p:
		return ".", true
	case ".":
		return p, true
	}
	return strings.CutPrefix(p, path+"/")
}
