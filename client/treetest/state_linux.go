package treetest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"maps"
	"math"
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
	Pages    string // two bytes of a hash for each page of a file
	Xattrs   string
	// Unreadable says that this user cannot read it.
	Unreadable bool
	id         fileID // only of moments
}

// same reports whether two states are equal, whatever the file.
func (s State) same(o State) bool {
	s.id, o.id = fileID{}, fileID{}
	return s == o
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

// HasReadableFile reports whether there is anything but folders that this user can read.
func (t *Tree) HasReadableFile() bool {
	for _, s := range t.States {
		if s != (State{}) && s.Type != os.ModeDir && !s.Unreadable {
			return true
		}
	}
	return false
}

// Moments are the states that paths went through, in their order. Each path has the one before the
// first change, too.
type Moments map[string][]State

// isHidden reports whether a path is what FUSE makes of a file that is removed while it is open. It
// comes and goes with those who have it open, such as a backup.
func isHidden(path string) bool { return strings.HasPrefix(filepath.Base(path), ".fuse_hidden") }

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
		if s.Type == os.ModeSocket || isHidden(rel) {
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
		s.Pages = pageHashes(content)
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

func pageHashes(content []byte) string {
	var all []byte
	for page := range slices.Chunk(content, pageSize) {
		all = binary.LittleEndian.AppendUint16(all, uint16(hash(page)))
	}
	return string(all)
}

// String shows a state without its pages.
func (s State) String() string {
	if (s == State{}) {
		return "not there"
	}
	text := fmt.Sprintf("%s %o %d:%d %d.%09d %d bytes %s", s.Type.String()[:1], s.Mode, s.UID, s.GID, s.Mtime.Sec, s.Mtime.Nsec, s.Size, s.Content)
	if s.Xattrs != "" {
		text += " attributes " + s.Xattrs
	}
	if s.Unreadable {
		text += " unreadable"
	}
	return text
}

// differingPages returns the numbers of the pages that differ, or are in one of the states only.
func differingPages(a, b State) (all []int) {
	for i := range max(len(a.Pages), len(b.Pages)) / 2 {
		if min(len(a.Pages), len(b.Pages)) < 2*i+2 || a.Pages[2*i:2*i+2] != b.Pages[2*i:2*i+2] {
			all = append(all, i)
		}
	}
	return all
}

// explain shows a state, and of those that are allowed the first, the last, and those that are most
// like it.
func explain(s State, allowed []State) string {
	least := math.MaxInt
	for _, a := range allowed {
		least = min(least, len(differingPages(s, a)))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n\t%v instead of one of %d:", s, len(allowed))
	for i, a := range allowed {
		pages := differingPages(s, a)
		if i == 0 || i == len(allowed)-1 || len(pages) == least || a.Mtime == s.Mtime {
			fmt.Fprintf(&b, "\n\t%d: %v, differing in pages %v", i, a, pages[:min(len(pages), 20)])
		}
	}
	return b.String()
}

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

// note appends the current states of paths in dir. Before a new state it appends those that between,
// if not nil, returns for the last state and the new one, of a path that was and is there.
func (m Moments) note(dir string, paths []string, between func(before, after State) []State) {
	for _, p := range paths {
		rel, err := filepath.Rel(dir, p)
		if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
			continue
		}
		s, id := stateOf(p)
		s.id = id
		all := m[rel]
		if len(all) > 0 && all[len(all)-1] == s {
			continue
		}
		if len(all) > 0 && between != nil && all[len(all)-1] != (State{}) && s != (State{}) {
			for _, b := range between(all[len(all)-1], s) {
				if !slices.Contains(all, b) {
					all = append(all, b)
				}
			}
		}
		m[rel] = append(all, s)
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

// Differences lists what a backup of the tree may not contain at part and below, one line for each
// difference. got is what was restored of that. named are the paths relative to part that the program
// has named as not saved or not restored whole; what is below them counts as named, too.
func (t *Tree) Differences(part string, got *Tree, moments Moments, named map[string]bool) (diffs []string) {
	whole, ever := t, moments
	t, moments = t.part(part), moments.part(part)
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
		if isHidden(p) {
			continue
		}
		allowed := moments[p]
		if len(allowed) == 0 {
			allowed = []State{t.States[p]}
		}
		s := got.States[p]
		moved, replaced := ever.moved(filepath.Join(part, p))
		if moved && s == (State{}) || (moved || replaced) && s != (State{}) && whole.hasOrHad(ever, s) {
			continue
		}
		if !isNamed(p) && !slices.ContainsFunc(allowed, s.same) {
			diffs = append(diffs, fmt.Sprintf("%q is %s", p, explain(s, allowed)))
		}
	}
	return append(diffs, t.linkDifferences(got, moments, isNamed)...)
}

// moved reports whether the path, or a folder above it, came or went, or was replaced by another
// file. What a program has opened there stays open, wherever it is, and may change under another name.
func (m Moments) moved(path string) (moved, replaced bool) {
	for ; path != "."; path = filepath.Dir(path) {
		all := m[path]
		moved = moved || slices.Contains(all, State{})
		replaced = replaced || slices.ContainsFunc(all, func(s State) bool { return s.id != all[0].id })
	}
	return moved, replaced
}

// hasOrHad reports whether some path has a state, or had it at a moment.
func (t *Tree) hasOrHad(m Moments, s State) bool {
	for _, states := range m {
		if slices.ContainsFunc(states, s.same) {
			return true
		}
	}
	for _, state := range t.States {
		if state.same(s) {
			return true
		}
	}
	return false
}

// linkDifferences compares which names are one file, among those that did not change.
func (t *Tree) linkDifferences(got *Tree, moments Moments, isNamed func(string) bool) (diffs []string) {
	var still []string
	for _, p := range slices.Sorted(maps.Keys(t.Files)) {
		moved, replaced := moments.moved(p)
		if _, there := got.Files[p]; there && moments[p] == nil && !moved && !replaced && !isNamed(p) {
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

// part returns what is at path, and below, with path as ".".
func (t *Tree) part(path string) *Tree {
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

// part returns the moments of what is at path, and below, with path as ".".
func (m Moments) part(path string) Moments {
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
