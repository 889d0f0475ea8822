package treetest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"time"
)

// Generate fills the existing folder dir with the tree of a seed. Equal seeds and sizes make equal
// trees. Only root gets shapes that take root's rights: owners, devices, and files that nobody may
// read. Names that the file system refuses, and attributes that it does not support, are left out.
func Generate(dir string, seed int64, size Size) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	g := &generator{rng: rand.New(rand.NewPCG(uint64(seed), 1)), root: root, dir: dir}
	shapes := []func(){g.files, g.sparse, g.names, g.order, g.deep, g.links, g.special, g.attributes, g.modes, g.times}
	if size == Large {
		shapes = append(shapes, g.large)
	}
	for _, shape := range shapes {
		shape()
	}
	g.close()
	return g.err
}

// generator makes shapes in root. After the first error it does nothing.
type generator struct {
	rng  *rand.Rand
	root *os.Root
	dir  string
	err  error
	dirs []madeDir
}

// madeDir is a folder whose metadata is set when it is complete.
type madeDir struct {
	root *os.Root // its parent, if it is too deep for a path; else nil
	name string
	mode os.FileMode
}

// isRoot reports whether shapes that take root's rights are made.
func isRoot() bool { return os.Geteuid() == 0 }

// check records the first error.
func (g *generator) check(err error) {
	if g.err == nil && err != nil {
		g.err = err
	}
}

// tryName records an error, unless it says that the file system refuses the name. It reports
// whether there was no error.
func (g *generator) tryName(err error) bool {
	if errors.Is(err, syscall.EILSEQ) || errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENAMETOOLONG) {
		return false
	}
	g.check(err)
	return err == nil
}

// mkdir makes a folder that gets the mode when it is complete.
func (g *generator) mkdir(name string, mode os.FileMode) {
	if g.err == nil {
		g.check(g.root.Mkdir(name, 0o700))
		g.dirs = append(g.dirs, madeDir{name: name, mode: mode})
	}
}

// write makes a file and gives it a time of its own.
func (g *generator) write(name string, content []byte) {
	if g.err == nil {
		g.check(g.root.WriteFile(name, content, 0o644))
		g.touch(g.root, name)
	}
}

func (g *generator) touch(root *os.Root, name string) {
	if g.err == nil {
		t := g.time()
		g.check(root.Chtimes(name, t, t))
	}
}

// time returns a random time of the last decades, to the nanosecond.
func (g *generator) time() time.Time {
	return time.Unix(g.rng.Int64N(1_700_000_000), g.rng.Int64N(1_000_000_000))
}

// close sets the metadata of folders, in reverse order.
func (g *generator) close() {
	for i := len(g.dirs) - 1; i >= 0; i-- {
		d := g.dirs[i]
		if d.root == nil {
			d.root = g.root
		} else {
			defer d.root.Close()
		}
		g.touch(d.root, d.name)
		if g.err == nil {
			g.check(d.root.Chmod(d.name, d.mode))
		}
	}
	g.touch(g.root, ".")
}

// random returns content that cannot be compressed.
func (g *generator) random(n int) []byte {
	return fill(make([]byte, n), g.rng.Uint64())
}

// fill fills b with the random bytes of a seed and returns it.
func fill(b []byte, seed uint64) []byte {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	rand.NewChaCha8(key).Read(b)
	return b
}

// text returns content that compresses well.
func (g *generator) text(n int) []byte {
	words := strings.SplitAfter("the quick brown fox\njumps over a lazy dog\nwhile backups run at night\n", " ")
	b := make([]byte, 0, n+16)
	for len(b) < n {
		b = append(b, words[g.rng.IntN(len(words))]...)
	}
	return b[:n]
}

// files makes files of many sizes, and files with equal content.
func (g *generator) files() {
	g.mkdir("files", 0o755)
	g.mkdir("files/empty folder", 0o755)
	for _, n := range []int{0, 1, 2, 511, 4095, 4096, 4097, 65536, 128 << 10, 128<<10 + 1, 1 << 20} {
		g.write(fmt.Sprintf("files/random-%d", n), g.random(n))
		g.write(fmt.Sprintf("files/text-%d", n), g.text(n))
	}
	big := g.random(3 << 20)
	g.write("files/twin-a", big)
	g.write("files/twin-b", big)
	g.write("files/twin-shifted", append([]byte("x"), big...))
	g.write("files/zeros", make([]byte, 1<<20))
}

// sparse makes files that have data at the given offsets and holes elsewhere.
func (g *generator) sparse() {
	g.mkdir("sparse", 0o755)
	const mb = 1 << 20
	for name, data := range map[string][]int64{
		"start": {7 * mb}, "middle": {0, 7 * mb}, "end": {0}, "all": {},
		"comb": {0, 1 * mb, 2 * mb, 3 * mb, 4 * mb, 5 * mb, 6 * mb},
	} {
		g.hole("sparse/"+name, 8*mb, data, 64<<10)
	}
	g.hole("sparse/huge", 1<<40, []int64{1 << 39}, 5000)
	g.hole("sparse/odd", 3*mb+17, []int64{mb + 3}, 4099)
}

// hole makes a file of the given size that has n bytes of data at each offset.
func (g *generator) hole(name string, size int64, at []int64, n int) {
	if g.err != nil {
		return
	}
	f, err := g.root.Create(name)
	if err != nil {
		g.check(err)
		return
	}
	g.check(f.Truncate(size))
	for _, off := range at {
		_, err := f.WriteAt(fill(make([]byte, n), uint64(off)), off)
		g.check(err)
	}
	g.check(f.Close())
	// The time must not depend on the random order of the map.
	t := time.Unix(size, int64(len(name)))
	g.check(g.root.Chtimes(name, t, t))
}

// names makes files and folders whose names have all kinds of bytes.
func (g *generator) names() {
	g.mkdir("names", 0o755)
	for _, name := range []string{
		" ", "  two  spaces ", "-rf", "--", "...", ".hidden", "new\nline", "tab\there", "cr\r", `quote"'`, "`tick`",
		`back\slash`, "*?[a-z]", "$HOME", "~", "#", "%s%d", "\x01\x7f", "\xff\xfe", "half\xc3", "açaí", "ac\u0327ai\u0301",
		"日本語", "🎒", "CACHEDIR.TAG", "con", "nul.txt", "trailing.", strings.Repeat("n", 255), strings.Repeat("\xe2\x82\xac", 85),
	} {
		err := g.root.WriteFile("names/"+name, []byte(name), 0o644)
		if g.err == nil && g.tryName(err) {
			g.touch(g.root, "names/"+name)
		}
		// The same name for a folder with a file.
		dir := "names/d" + name
		if len(name) < 255 && g.err == nil && g.tryName(g.root.Mkdir(dir, 0o755)) {
			g.dirs = append(g.dirs, madeDir{name: dir, mode: 0o755})
			g.write(dir+"/x", []byte(name))
		}
	}
}

// order makes names whose order depends on where the separator sorts.
func (g *generator) order() {
	g.mkdir("order", 0o755)
	g.mkdir("order/a", 0o755)
	g.mkdir("order/a/a", 0o755)
	for _, name := range []string{"a!", "a.b", "a-b", "a0", "a/x", "a/a.b", "a/a/x", "a/.x"} {
		g.write("order/"+name, []byte(name))
	}
}

// deep makes folders whose paths are longer than one system call allows, and many levels.
func (g *generator) deep() {
	g.mkdir("deep", 0o755)
	g.chain("deep", 20, strings.Repeat("d", 250))
	g.mkdir("levels", 0o755)
	g.chain("levels", 120, "l")
}

// chain makes nested folders in the folder name, each with a file.
func (g *generator) chain(name string, levels int, child string) {
	if g.err != nil {
		return
	}
	at, err := g.root.OpenRoot(name)
	g.check(err)
	for i := 0; i < levels && g.err == nil; i++ {
		g.check(at.WriteFile("file", fmt.Appendf(nil, "level %d", i), 0o644))
		g.touch(at, "file")
		g.check(at.Mkdir(child, 0o700))
		g.dirs = append(g.dirs, madeDir{root: at, name: child, mode: 0o750})
		next, err := at.OpenRoot(child)
		g.check(err)
		at = next
	}
	if g.err == nil {
		g.check(at.Close())
	}
}

// links makes symbolic and hard links.
func (g *generator) links() {
	g.mkdir("links", 0o755)
	g.mkdir("links/dir", 0o755)
	for name, target := range map[string]string{
		"dangling": "nowhere", "absolute": "/etc/passwd", "up": "../../../../../..", "self": "self", "loop-a": "loop-b", "loop-b": "loop-a",
		"to-dir": "dir", "to-file": "../files/random-4096", "slash": "dir/", "long": strings.Repeat("t/", 2000), "bytes": "\xff\n\x01",
	} {
		if g.err == nil {
			g.check(g.root.Symlink(target, "links/"+name))
			g.check(setLinkTime(g.root, "links", name, time.Unix(int64(len(target))<<16, int64(len(name)))))
		}
	}
	g.write("links/m-first", g.text(300_000))
	for _, name := range []string{"links/n-same-folder", "links/dir/other-folder", "links/a-sorts-before", "order/a/from-another-branch"} {
		if g.err == nil {
			g.check(g.root.Link("links/m-first", name))
		}
	}
}

// modes makes files and folders with odd permissions. Those of folders are set when they are
// complete.
func (g *generator) modes() {
	g.mkdir("modes", 0o755)
	files := []os.FileMode{0o400, 0o444, 0o600, 0o755, 0o777, 0o640, 0o755 | os.ModeSetuid, 0o755 | os.ModeSetgid, 0o644 | os.ModeSticky}
	dirs := []os.FileMode{0o500, 0o555, 0o700, 0o777 | os.ModeSticky, 0o755 | os.ModeSetgid}
	if isRoot() {
		files = append(files, 0, 0o200, 0o111)
		dirs = append(dirs, 0, 0o300, 0o444)
	}
	for i, mode := range files {
		name := fmt.Sprintf("modes/file-%04o", mode.Perm()) + fmt.Sprint(i)
		g.write(name, []byte(name))
		g.owner(name, i)
		if g.err == nil {
			g.check(g.root.Chmod(name, mode))
		}
	}
	for i, mode := range dirs {
		name := fmt.Sprintf("modes/dir-%04o", mode.Perm()) + fmt.Sprint(i)
		g.mkdir(name, mode)
		g.owner(name, i)
		g.mkdir(name+"/below", 0o755)
		g.write(name+"/below/file", []byte(name))
		if g.err == nil {
			// The first name is below the folder with the odd mode, the second is not.
			g.check(g.root.Link(name+"/below/file", "modes/link"+fmt.Sprint(i)))
		}
	}
}

// owner gives a file to another owner: to ids with a name on most machines, and to ids without.
func (g *generator) owner(name string, i int) {
	if g.err == nil && isRoot() && i%3 != 0 {
		g.check(g.root.Lchown(name, []int{65534, 12345}[i%2], []int{54321, 65534}[i%2]))
	}
}

// times makes files with times that naive arithmetic gets wrong.
func (g *generator) times() {
	g.mkdir("times", 0o755)
	for i, t := range []time.Time{
		time.Unix(0, 0), time.Unix(0, 1), time.Unix(-1, 999_999_999), time.Unix(-1, 1), time.Unix(-2_000_000_000, 500_000_001),
		time.Unix(1<<31, 123_456_789), time.Unix(4_102_444_800, 999_999_999), time.Unix(1_700_000_000, 1),
	} {
		name := fmt.Sprintf("times/%d", i)
		g.write(name, []byte(name))
		if g.err == nil {
			g.check(g.root.Chtimes(name, t, t))
		}
	}
}

// large makes a wide folder, a bushy tree and a few big files.
func (g *generator) large() {
	g.mkdir("wide", 0o755)
	for i := range 3000 {
		g.write(fmt.Sprintf("wide/%d", g.rng.Uint64()), g.text(i%700))
	}
	g.mkdir("bushy", 0o755)
	for i := range 40 {
		g.mkdir(fmt.Sprintf("bushy/%d", i), 0o755)
		for j := range 25 {
			dir := fmt.Sprintf("bushy/%d/%d", i, j)
			g.mkdir(dir, 0o755)
			g.write(dir+"/file", g.random(g.rng.IntN(20_000)))
		}
	}
	g.mkdir("big", 0o755)
	for i := range 3 {
		g.write(fmt.Sprintf("big/random%d", i), g.random(20<<20))
		g.write(fmt.Sprintf("big/text%d", i), g.text(10<<20))
	}
}
