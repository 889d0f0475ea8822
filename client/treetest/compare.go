package treetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

// Ignore says what [Compare] does not look at.
type Ignore struct {
	Owner  bool // numeric owners
	Xattrs bool
	Holes  bool
	Top    bool // metadata of the two folders themselves
	// Special leaves out sockets and devices, which a restore does not make, or may not.
	Special bool
}

// holeSlack is how many bytes a copy may take on disk beyond twice the size of the original.
const holeSlack = 256 << 10

// Compare lists how the folder b differs from a, one line for each difference, in the order of
// paths. It compares type, mode, owner, mtime to the nanosecond, size, content, link targets, which
// names are the same file, extended attributes, and holes that b does not have. What cannot be read
// is a difference, too.
func Compare(a, b string, ignore Ignore) []string {
	c := &comparison{ignore: ignore, groups: [2]map[fileID][]string{{}, {}}}
	c.buf[0], c.buf[1] = make([]byte, 256<<10), make([]byte, 256<<10)
	ra, errA := os.OpenRoot(a)
	rb, errB := os.OpenRoot(b)
	if err := errors.Join(errA, errB); err != nil {
		return []string{err.Error()}
	}
	defer ra.Close()
	defer rb.Close()
	if !ignore.Top {
		c.entry(".", ".", ra, rb)
	}
	c.folder("", ra, rb)
	c.hardLinks()
	return c.diffs
}

type comparison struct {
	ignore Ignore
	diffs  []string
	groups [2]map[fileID][]string // names of files with several names, in a and in b
	buf    [2][]byte
}

// fileID is a file's identity on its machine: device and inode.
type fileID [2]uint64

// sysInfo is what os.FileInfo does not say.
type sysInfo struct {
	id       fileID
	uid, gid uint32
	nlink    uint64
	rdev     uint64
	bytes    int64 // on disk; -1 if unknown
}

func (c *comparison) report(path, format string, args ...any) {
	c.diffs = append(c.diffs, fmt.Sprintf("%q: ", path)+fmt.Sprintf(format, args...))
}

// folder compares the contents of two folders.
func (c *comparison) folder(path string, a, b *os.Root) {
	namesA, errA := c.names(a)
	namesB, errB := c.names(b)
	if errA != nil || errB != nil {
		c.report(path, "cannot be listed: %v, %v", errA, errB)
		return
	}
	for _, name := range union(namesA, namesB) {
		_, inA := slices.BinarySearch(namesA, name)
		_, inB := slices.BinarySearch(namesB, name)
		switch full := path + name; {
		case !inB:
			c.report(full, "is missing")
		case !inA:
			c.report(full, "should not be there")
		default:
			c.entry(full, name, a, b)
			c.descend(full, name, a, b)
		}
	}
}

// names returns the names in r that are compared, sorted.
func (c *comparison) names(r *os.Root) ([]string, error) {
	d, err := r.Open(".")
	if err != nil {
		return nil, err
	}
	defer d.Close()
	all, err := d.Readdirnames(-1)
	names := all[:0]
	for _, name := range all {
		info, err := r.Lstat(name)
		if err == nil && c.ignore.Special && info.Mode()&(os.ModeSocket|os.ModeDevice) != 0 {
			continue
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names, err
}

func union(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

// descend compares the contents of a folder that both sides have.
func (c *comparison) descend(path, name string, a, b *os.Root) {
	infoA, errA := a.Lstat(name)
	infoB, errB := b.Lstat(name)
	if errA != nil || errB != nil || !infoA.IsDir() || !infoB.IsDir() {
		return // entry has reported it
	}
	ra, errA := a.OpenRoot(name)
	rb, errB := b.OpenRoot(name)
	if errA == nil {
		defer ra.Close()
	}
	if errB == nil {
		defer rb.Close()
	}
	if errA != nil || errB != nil {
		c.report(path, "cannot be opened: %v, %v", errA, errB)
		return
	}
	c.folder(path+"/", ra, rb)
}

// entry compares a name, without the contents of a folder.
func (c *comparison) entry(path, name string, a, b *os.Root) {
	infoA, errA := a.Lstat(name)
	infoB, errB := b.Lstat(name)
	if errA != nil || errB != nil {
		c.report(path, "cannot be looked at: %v, %v", errA, errB)
		return
	}
	if infoA.Mode().Type() != infoB.Mode().Type() {
		c.report(path, "is %v instead of %v", infoB.Mode(), infoA.Mode())
		return
	}
	c.metadata(path, infoA, infoB)
	switch {
	case infoA.Mode().IsRegular():
		c.content(path, name, a, b)
	case infoA.Mode()&os.ModeSymlink != 0:
		c.target(path, name, a, b)
	}
	if !c.ignore.Xattrs {
		c.xattrs(path, name, a, b)
	}
}

func (c *comparison) metadata(path string, a, b os.FileInfo) {
	if a.Mode() != b.Mode() && a.Mode()&os.ModeSymlink == 0 {
		c.report(path, "has mode %v instead of %v", b.Mode(), a.Mode())
	}
	if !a.ModTime().Equal(b.ModTime()) {
		c.report(path, "has mtime %v instead of %v", b.ModTime().UTC(), a.ModTime().UTC())
	}
	sa, sb := sysOf(a), sysOf(b)
	if !c.ignore.Owner && (sa.uid != sb.uid || sa.gid != sb.gid) {
		c.report(path, "belongs to %d:%d instead of %d:%d", sb.uid, sb.gid, sa.uid, sa.gid)
	}
	if a.Mode()&os.ModeDevice != 0 && sa.rdev != sb.rdev {
		c.report(path, "is device %#x instead of %#x", sb.rdev, sa.rdev)
	}
	if a.IsDir() {
		return
	}
	for i, s := range []sysInfo{sa, sb} {
		if s.nlink > 1 {
			c.groups[i][s.id] = append(c.groups[i][s.id], path)
		}
	}
	if a.Mode().IsRegular() && a.Size() != b.Size() {
		c.report(path, "has %d bytes instead of %d", b.Size(), a.Size())
	}
	if !c.ignore.Holes && sa.bytes >= 0 && sb.bytes > 2*sa.bytes+holeSlack {
		c.report(path, "takes %d bytes on disk instead of %d: holes were filled", sb.bytes, sa.bytes)
	}
}

func (c *comparison) target(path, name string, a, b *os.Root) {
	ta, errA := a.Readlink(name)
	tb, errB := b.Readlink(name)
	if errA != nil || errB != nil || ta != tb {
		c.report(path, "links to %q (%v) instead of %q (%v)", tb, errB, ta, errA)
	}
}

// hardLinks compares which names are the same file. Names outside of the two folders do not count.
func (c *comparison) hardLinks() {
	var sets [2]map[string]bool
	for i, groups := range c.groups {
		sets[i] = map[string]bool{}
		for _, names := range groups {
			if len(names) > 1 {
				sets[i][fmt.Sprintf("%q", names)] = true
			}
		}
	}
	for _, g := range slices.Sorted(maps.Keys(sets[0])) {
		if !sets[1][g] {
			c.diffs = append(c.diffs, g+" are not one file any more")
		}
	}
	for _, g := range slices.Sorted(maps.Keys(sets[1])) {
		if !sets[0][g] {
			c.diffs = append(c.diffs, g+" were not one file")
		}
	}
}

func (c *comparison) content(path, name string, a, b *os.Root) {
	fa, errA := a.Open(name)
	fb, errB := b.Open(name)
	if errA == nil {
		defer fa.Close()
	}
	if errB == nil {
		defer fb.Close()
	}
	if errA != nil || errB != nil {
		c.report(path, "cannot be read: %v, %v", errA, errB)
		return
	}
	off, err := firstDifference(fa, fb, c.buf[0], c.buf[1])
	if err != nil {
		c.report(path, "cannot be read at %d: %v", off, err)
	} else if off >= 0 {
		c.report(path, "has other content from byte %d on", off)
	}
}

// firstDifference returns the offset at which two files differ first, or -1 if they are equal. It
// skips ranges that are holes in both. The buffers must have the same length.
func firstDifference(a, b *os.File, bufA, bufB []byte) (int64, error) {
	for off := int64(0); ; {
		off = min(nextData(a, off), nextData(b, off))
		na, errA := io.ReadFull(io.NewSectionReader(a, off, int64(len(bufA))), bufA)
		nb, errB := io.ReadFull(io.NewSectionReader(b, off, int64(len(bufB))), bufB)
		if n := min(na, nb); !bytes.Equal(bufA[:n], bufB[:n]) {
			for i := range n {
				if bufA[i] != bufB[i] {
					return off + int64(i), nil
				}
			}
		}
		if na != nb {
			return off + int64(min(na, nb)), nil
		}
		for _, err := range []error{errA, errB} {
			if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
				return off, err
			}
		}
		if na < len(bufA) {
			return -1, nil
		}
		off += int64(na)
	}
}

func (c *comparison) xattrs(path, name string, a, b *os.Root) {
	xa, errA := xattrsOf(a, name)
	xb, errB := xattrsOf(b, name)
	if errA != nil || errB != nil {
		c.report(path, "attributes cannot be read: %v, %v", errA, errB)
		return
	}
	for _, attr := range union(slices.Sorted(maps.Keys(xa)), slices.Sorted(maps.Keys(xb))) {
		va, inA := xa[attr]
		vb, inB := xb[attr]
		// A label of the machine's security policy follows its own rules.
		if attr != "security.selinux" && (inA != inB || va != vb) {
			c.report(path, "attribute %q is %q (there: %v) instead of %q (there: %v)", strings.ToValidUTF8(attr, "?"), vb, inB, va, inA)
		}
	}
}
