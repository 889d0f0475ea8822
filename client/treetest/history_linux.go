package treetest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// History changes a tree at random, as programs and people do between backups and during them.
// Equal seeds make equal trees and equal changes, as far as the file system allows each. When
// changes happen during a backup is not of the seed.
type History struct {
	rng *rand.Rand
	dir string
	// moments are the states that paths had during a backup; nil between backups.
	moments Moments
	// page holds what is written in one moment.
	page []byte
	// hasChangeTime says that the file system keeps times that nobody can set.
	hasChangeTime bool
	// hasCase says that "a" and "A" are two names.
	hasCase bool
}

// NewHistory fills the existing folder dir with a small random tree.
func NewHistory(dir string, seed uint64) *History {
	h := &History{rng: rand.New(rand.NewPCG(seed, 2)), dir: dir, page: make([]byte, pageSize)}
	h.probe()
	for range 3 + h.rng.IntN(12) {
		h.make()
	}
	for range h.rng.IntN(12) {
		h.event()
	}
	return h
}

// probe finds out what the file system tells apart. FAT and exFAT have no change times: the system
// shows the modification time in their place.
func (h *History) probe() {
	h.hasChangeTime, h.hasCase = true, true
	path := filepath.Join(h.dir, "probe")
	defer os.Remove(path)
	var st unix.Stat_t
	if os.WriteFile(path, nil, 0o600) != nil || os.Chtimes(path, time.Unix(1e9, 0), time.Unix(1e9, 0)) != nil || unix.Lstat(path, &st) != nil {
		return
	}
	h.hasChangeTime = st.Ctim.Sec != 1e9
	_, err := os.Lstat(filepath.Join(h.dir, "PROBE"))
	h.hasCase = err != nil
}

// Change makes some changes.
func (h *History) Change() {
	for range h.rng.IntN(6) {
		h.event()
	}
}

// ChangeUntil makes changes until done is closed, and returns the states that they went through.
func (h *History) ChangeUntil(done <-chan struct{}) Moments {
	h.moments = Moments{}
	for range 60 {
		select {
		case <-done:
			return h.end()
		case <-time.After(time.Duration(h.rng.IntN(3000)) * time.Microsecond):
		}
		h.event()
	}
	<-done
	return h.end()
}

func (h *History) end() Moments {
	m := h.moments
	h.moments = nil
	return m
}

// Pick returns a random number below n.
func (h *History) Pick(n int) int { return h.rng.IntN(n) }

// oddNames are names that programs stumble over. Which of them there are is up to the file system.
var oddNames = []string{
	" ", "-rf", "...", ".hidden", "new\nline", "cr\r", `quote"'`, `back\slash`, "*?[a-z]", "%s%d", "\x01\x7f", "\xff\xfe",
	"half\xc3", "açaí", "ac\u0327ai\u0301", "日本語", "🎒", "con", "trailing.", "A", "a", "a!", "a.b", strings.Repeat("n", 200),
}

// oddTimes are times that naive arithmetic gets wrong, as seconds and nanoseconds since 1970.
var oddTimes = []unix.Timespec{
	{}, {Nsec: 1}, {Sec: -1, Nsec: 999_999_999}, {Sec: -2_000_000_000, Nsec: 1}, {Sec: 1 << 31, Nsec: 5}, {Sec: 1<<31 - 1},
	{Sec: 9_300_000_000}, {Sec: 10_413_792_000, Nsec: 7}, {Sec: -9_300_000_000}, {Sec: 4_102_444_800, Nsec: 999_999_999},
	{Sec: 315_532_800}, {Sec: 1_700_000_000, Nsec: 1},
}

// sizes are those of files: around the bounds of pages, bundles and chunks.
var sizes = []int{
	0, 0, 1, 1, 100, 100, 4095, 4096, 4097, 9000, 9000, 20_000, 20_000, 64<<10 - 1, 64 << 10, 64<<10 + 1, 100_000, 128<<10 + 1,
	300_000, 300_000, 1 << 20, 2<<20 + 1,
}

// name returns a new or old name in one of the tree's folders.
func (h *History) name() string {
	name := oddNames[h.rng.IntN(len(oddNames))]
	if h.rng.IntN(2) == 0 {
		name = fmt.Sprintf("f%d", h.rng.IntN(20))
	}
	if name == "A" && !h.hasCase {
		name = "a" // what happens to one would happen to the other, unnoticed here
	}
	return filepath.Join(h.folder(), name)
}

// paths returns the paths of one kind in the tree, sorted.
func (h *History) paths(want func(os.FileMode) bool) (all []string) {
	_ = filepath.WalkDir(h.dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && path != h.dir && !isHidden(path) && want(d.Type()) {
			all = append(all, path)
		}
		return nil
	})
	return all
}

func (h *History) pick(all []string) string {
	if len(all) == 0 {
		return ""
	}
	return all[h.rng.IntN(len(all))]
}

func (h *History) folder() string {
	return h.pick(append(h.paths(os.FileMode.IsDir), h.dir))
}

func (h *History) file() string { return h.pick(h.paths(os.FileMode.IsRegular)) }

func (h *History) any() string { return h.pick(h.paths(func(os.FileMode) bool { return true })) }

// content returns n bytes of one of several kinds.
func (h *History) content(n int) []byte {
	switch h.rng.IntN(4) {
	case 0:
		return Text(n)
	case 1:
		return bytes.Repeat([]byte{byte(h.rng.IntN(2))}, n)
	}
	return fill(make([]byte, n), h.rng.Uint64())
}

func (h *History) size() int { return sizes[h.rng.IntN(len(sizes))] }

// step does one thing that changes the paths. During a backup it notes the states around it, and
// between them those that between returns for the two states of a path; between may be nil.
func (h *History) step(between func(before, after State) []State, do func() error, paths ...string) {
	if h.moments != nil {
		before := h.alsoChanged(paths)
		h.moments.note(h.dir, before, nil)
		defer func() {
			after := h.alsoChanged(paths)
			h.moments.noteNew(h.dir, after)
			h.moments.note(h.dir, union(before, after), between)
		}()
	}
	_ = do() // what the file system refuses does not happen; the states tell
}

// whileWritten returns what the kernel shows while it writes: first the new time, then the content.
func whileWritten(before, after State) []State {
	before.Mtime = after.Mtime
	return []State{before}
}

// whileSet returns what the kernel shows while it changes what belongs to a file, truncation
// included: it sets one after the other, the size before or after the time, and does not keep others
// from looking meanwhile.
func whileSet(before, after State) (all []State) {
	for mix := range 1 << 5 {
		s := before
		if mix&1 != 0 {
			s.Size, s.Content, s.Pages = after.Size, after.Content, after.Pages
		}
		if mix&2 != 0 {
			s.Mtime = after.Mtime
		}
		if mix&4 != 0 {
			s.UID = after.UID
		}
		if mix&8 != 0 {
			s.GID = after.GID
		}
		if mix&16 != 0 {
			s.Mode = after.Mode
		}
		all = append(all, s)
	}
	return all
}

// alsoChanged returns the paths, and those that change with them: their folders, what is in them,
// and other names of the same files.
func (h *History) alsoChanged(paths []string) []string {
	all := slices.Clone(paths)
	inodes := map[fileID]bool{}
	for _, p := range paths {
		all = append(all, filepath.Dir(p))
		if info, err := os.Lstat(p); err == nil && !info.IsDir() {
			inodes[sysOf(info).id] = true
		}
		all = append(all, h.moments.below(h.dir, p)...)
	}
	_ = filepath.WalkDir(h.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		info, err := d.Info()
		inside := slices.ContainsFunc(paths, func(p string) bool { return strings.HasPrefix(path, p+"/") })
		if inside || err == nil && !d.IsDir() && inodes[sysOf(info).id] {
			all = append(all, path)
		}
		return nil
	})
	slices.Sort(all)
	return slices.Compact(all)
}

// make makes something new.
func (h *History) make() {
	path := h.name()
	switch h.rng.IntN(10) {
	case 0, 1:
		h.step(nil, func() error { return os.Mkdir(path, 0o755) }, path)
	case 2:
		target := []string{"f1", "nowhere", "..", "/etc/passwd", strings.Repeat("t/", 100), "\xff\n"}[h.rng.IntN(6)]
		h.step(nil, func() error { return os.Symlink(target, path) }, path)
	case 3:
		h.step(nil, func() error { return unix.Mkfifo(path, 0o640) }, path)
	case 4:
		h.sparse(path)
	case 5:
		h.link(path)
	default:
		h.write(path, h.content(h.size()))
	}
}

// write writes a file, and replaces one that is there.
func (h *History) write(path string, content []byte) {
	f := h.open(path, os.O_CREATE|os.O_TRUNC)
	h.overwrite(f, path, content, 0)
}

// open opens a file for writing, unless it is something else. It returns nil after an error.
func (h *History) open(path string, flag int) (f *os.File) {
	if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() || path == "" {
		return nil
	}
	h.step(whileSet, func() (err error) {
		f, err = os.OpenFile(path, os.O_WRONLY|unix.O_NOFOLLOW|flag, 0o644)
		if err != nil {
			f = nil
		}
		return err
	}, path)
	return f
}

// overwrite writes content at off, and closes the file.
func (h *History) overwrite(f *os.File, path string, content []byte, off int64) {
	if f == nil {
		return
	}
	defer f.Close()
	h.put(f, path, content, off)
}

// pageSize is the most that a file changes by in one moment.
const pageSize = 4096

// put writes content at off. During a backup it does so page by page, and only the beginning of
// large content, because notes cost time. Each write is one moment only if it is in one page of the
// file and comes from one page of memory: if a page of memory is not there when the kernel copies
// from it, others see what it has copied until then.
func (h *History) put(f *os.File, path string, content []byte, off int64) {
	if h.moments != nil {
		content = content[:min(len(content), 64<<10)]
	}
	for len(content) > 0 {
		part := content
		if h.moments != nil {
			part = h.page[:copy(h.page[:pageSize-int(off%pageSize)], content)]
		}
		h.step(whileWritten, func() error { _, err := f.WriteAt(part, off); return err }, path)
		content, off = content[len(part):], off+int64(len(part))
	}
}

func (h *History) sparse(path string) {
	f := h.open(path, os.O_CREATE|os.O_TRUNC)
	if f == nil {
		return
	}
	defer f.Close()
	size := int64(h.size())
	h.step(whileSet, func() error { return f.Truncate(size) }, path)
	for range h.rng.IntN(3) {
		off := h.rng.Int64N(size + 1)
		h.put(f, path, h.content(1+h.rng.IntN(3000)), off)
	}
}

func (h *History) link(path string) {
	if from := h.file(); from != "" {
		h.step(nil, func() error { return os.Link(from, path) }, path, from)
	}
}

// remove removes a path, whatever it is, and what is in it, one by one.
func (h *History) remove(path string) {
	if info, err := os.Lstat(path); err == nil && info.IsDir() {
		entries, _ := os.ReadDir(path)
		for _, e := range entries {
			h.remove(filepath.Join(path, e.Name()))
		}
	}
	h.step(nil, func() error { return os.Remove(path) }, path)
}

// setTime sets the time of a path itself. It leaves those of files alone that have no other: no
// program could tell then that a file was written to, and none claims to.
func (h *History) setTime(path string, t unix.Timespec) {
	if info, err := os.Lstat(path); !h.hasChangeTime && err == nil && !info.IsDir() {
		return
	}
	h.step(whileSet, func() error {
		return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{t, t}, unix.AT_SYMLINK_NOFOLLOW)
	}, path)
}

// mtime returns the time of a path.
func mtime(path string) unix.Timespec {
	var st unix.Stat_t
	_ = unix.Lstat(path, &st)
	return st.Mtim
}

// sizeOf returns the size of a file.
func sizeOf(path string) int {
	info, err := os.Lstat(path)
	if err != nil {
		return 0
	}
	return int(info.Size())
}

// Damage removes, cuts, overwrites and changes some of what is in another folder. It makes nothing.
func (h *History) Damage(dir string) {
	d := &History{rng: h.rng, dir: dir, hasChangeTime: true}
	for range h.rng.IntN(6) {
		path, file := d.any(), d.file()
		if path == "" {
			return
		}
		switch d.rng.IntN(5) {
		case 0:
			d.remove(path)
		case 1:
			_ = os.Truncate(file, int64(d.rng.IntN(1+sizeOf(file)))) // this user may not be allowed to
		case 2: // in place, with the time of before
			before := mtime(file)
			d.overwrite(d.open(file, 0), file, fill(make([]byte, sizeOf(file)), d.rng.Uint64()), 0)
			d.setTime(file, before)
		case 3:
			d.setTime(path, unix.NsecToTimespec(d.rng.Int64()))
		case 4:
			_ = unix.Lsetxattr(path, "user.0", d.content(d.rng.IntN(3000)), 0) // not every path can have one
		}
	}
}

// event changes one thing.
func (h *History) event() {
	path, file := h.any(), h.file()
	if path == "" || file == "" {
		h.make()
		return
	}
	switch h.rng.IntN(18) {
	case 0: // appended to
		h.overwrite(h.open(file, 0), file, h.content(h.size()), int64(sizeOf(file)))
	case 1: // cut short or made longer
		size := int64(h.size())
		h.step(whileSet, func() error { return os.Truncate(file, size) }, file)
	case 2, 3: // same size, written in place
		h.overwrite(h.open(file, 0), file, fill(make([]byte, sizeOf(file)), h.rng.Uint64()), 0)
	case 4: // same size, and the time set back
		before := mtime(file)
		h.overwrite(h.open(file, 0), file, fill(make([]byte, sizeOf(file)), h.rng.Uint64()), 0)
		h.setTime(file, before)
	case 5: // replaced by a rename, as editors do
		fresh := file + "~"
		h.write(fresh, fill(make([]byte, sizeOf(file)), h.rng.Uint64()))
		if h.rng.IntN(2) == 0 {
			h.setTime(fresh, mtime(file))
		}
		h.step(nil, func() error { return os.Rename(fresh, file) }, fresh, file)
	case 6: // removed and made again, often with the same inode
		size, before := sizeOf(file), mtime(file)
		h.remove(file)
		if h.rng.IntN(2) == 0 {
			file = h.name()
		}
		h.write(file, fill(make([]byte, size), h.rng.Uint64()))
		if h.rng.IntN(2) == 0 {
			h.setTime(file, before)
		}
	case 7:
		h.remove(path)
	case 8:
		to := h.name()
		h.step(nil, func() error { return os.Rename(path, to) }, path, to)
	case 9:
		h.link(h.name())
	case 10:
		h.setTime(path, oddTimes[h.rng.IntN(len(oddTimes))])
	case 11:
		h.setTime(path, unix.NsecToTimespec(time.Now().UnixNano()))
	case 12:
		mode := []uint32{0, 0o400, 0o444, 0o600, 0o755, 0o777, 0o4755, 0o2755, 0o1777}[h.rng.IntN(9)]
		h.step(whileSet, func() error { return unix.Fchmodat(unix.AT_FDCWD, path, mode, unix.AT_SYMLINK_NOFOLLOW) }, path)
	case 13:
		h.step(whileSet, func() error { return os.Lchown(path, 1000+h.rng.IntN(3), 2000+h.rng.IntN(3)) }, path)
	case 14:
		name, value := fmt.Sprintf("user.%d", h.rng.IntN(3)), h.content(h.rng.IntN(3000))
		h.step(nil, func() error { return unix.Lsetxattr(path, name, value, 0) }, path)
	case 15:
		h.step(nil, func() error { return unix.Lremovexattr(path, fmt.Sprintf("user.%d", h.rng.IntN(3))) }, path)
	default:
		h.make()
	}
}
