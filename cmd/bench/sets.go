package main

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
)

// A dataset is a tree of files that is the same on every machine. Only "code" depends on
// the Go release and on the version of the module that it copies.
type dataset struct {
	name string
	what string // description for the report
	make func(dir string, scale float64) error
}

// datasets lists all data sets in the order of reports.
var datasets = []dataset{
	{"big", "1 incompressible file of 2 GiB", makeBig},
	{"vm", "1 sparse disk image of 2 GiB in blocks of 1 MiB: a quarter random, a quarter text, half holes", makeVM},
	{"dup", "512 MiB of random data, a copy of it, and a copy with 64 insertions of 100 bytes", makeDup},
	{"logs", "16 log files of 64 MiB", makeLogs},
	{"code", "the sources of Go and of a large module", makeCode},
	{"small", "100,000 files of 0.5 to 16 KiB in 10,000 folders, 60 % text, 40 % random", func(dir string, scale float64) error {
		return makeSmall(dir, scaled(100_000, scale, 10))
	}},
	{"small10k", "the first tenth of small", func(dir string, scale float64) error {
		return makeSmall(dir, scaled(10_000, scale, 10))
	}},
}

func datasetNames() []string {
	var names []string
	for _, d := range datasets {
		names = append(names, d.name)
	}
	return names
}

// scaled returns scale times full, rounded to a multiple of unit, but at least one unit.
func scaled(full int64, scale float64, unit int64) int64 {
	return max(1, int64(math.Round(float64(full)*scale/float64(unit)))) * unit
}

// makeSets makes the named sets in dir, or all sets if there are no names. It keeps a set
// that is complete, and makes a set again that an interrupted call left incomplete. A
// complete set of another scale is an error.
func makeSets(dir string, names []string, scale float64, out io.Writer) error {
	if scale <= 0 || scale > 1 {
		return fmt.Errorf("the scale %v is not in (0,1]", scale)
	}
	for _, name := range names {
		if !slices.Contains(datasetNames(), name) {
			return fmt.Errorf("no data set is called %q; choose from %s", name, strings.Join(datasetNames(), ", "))
		}
	}
	for _, d := range datasets {
		if len(names) > 0 && !slices.Contains(names, d.name) {
			continue
		}
		result, err := d.makeOnce(dir, scale)
		if err != nil {
			return fmt.Errorf("making %s: %w", d.name, err)
		}
		fmt.Fprintf(out, "%s: %s\n", d.name, result)
	}
	return nil
}

// makeOnce makes the set unless it exists, and returns a text about what it did. The file
// .complete-NAME next to the set marks it as complete and holds its scale.
func (d dataset) makeOnce(dir string, scale float64) (string, error) {
	mark := filepath.Join(dir, ".complete-"+d.name)
	text := strconv.FormatFloat(scale, 'g', -1, 64)
	switch found, err := os.ReadFile(mark); {
	case err == nil && (string(found) == text || len(found) == 0 && scale == 1):
		return "exists already", nil
	case err == nil:
		return "", fmt.Errorf("the set exists already with scale %q, not %s: remove it, or use another folder", found, text)
	}
	root := filepath.Join(dir, d.name)
	if err := os.RemoveAll(root); err != nil {
		return "", err
	}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return "", err
	}
	start := time.Now()
	if err := d.make(root, scale); err != nil {
		return "", err
	}
	t, err := measureTree(root)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d files, %d bytes, %.1f s", t.files, t.bytes, time.Since(start).Seconds()),
		os.WriteFile(mark, []byte(text), 0o644)
}

func makeBig(dir string, scale float64) error {
	return writeFile(filepath.Join(dir, "big.bin"), io.LimitReader(newNoise("big"), scaled(2*gib, scale, 64*kib)))
}

func makeVM(dir string, scale float64) (err error) {
	n := newNoise("vm")
	text := prose(n)
	blocks := int(scaled(2048, scale, 4))
	order := n.Perm(blocks)
	f, err := os.Create(filepath.Join(dir, "disk.img"))
	if err != nil {
		return err
	}
	defer closeFile(f, &err)
	for i, kind := range order {
		var block []byte
		switch {
		case kind < blocks/4:
			block = n.bytes(mib)
		case kind < blocks/2:
			for range mib / (4 * kib) {
				block = append(block, cut(n, text, 4*kib)...)
			}
		default:
			continue // a hole
		}
		if _, err := f.WriteAt(block, int64(i)*mib); err != nil {
			return err
		}
	}
	return f.Truncate(int64(blocks) * mib)
}

func makeDup(dir string, scale float64) error {
	size := scaled(512*mib, scale, 64*kib)
	content := func() io.Reader { return io.LimitReader(newNoise("dup"), size) }
	for _, name := range []string{"a.bin", "same-as-a.bin"} {
		if err := writeFile(filepath.Join(dir, name), content()); err != nil {
			return err
		}
	}
	n := newNoise("dup insertions")
	offsets := make([]int64, 64)
	for i := range offsets {
		offsets[i] = n.below(size)
	}
	slices.Sort(offsets)
	from, last := content(), int64(0)
	var parts []io.Reader
	for _, o := range offsets {
		parts = append(parts, io.LimitReader(from, o-last), bytes.NewReader(n.bytes(100)))
		last = o
	}
	return writeFile(filepath.Join(dir, "a-inserted.bin"), io.MultiReader(append(parts, from)...))
}

func makeLogs(dir string, scale float64) error {
	size := scaled(64*mib, scale, 4*kib)
	for i := range 16 {
		f, err := os.Create(filepath.Join(dir, fmt.Sprintf("app-%02d.log", i)))
		if err != nil {
			return err
		}
		day := time.Date(2026, 3, 1+i, 0, 0, 0, 0, time.UTC)
		err = writeLog(f, newNoise(fmt.Sprintf("logs %d", i)), day, size)
		closeFile(f, &err)
		if err != nil {
			return err
		}
	}
	return nil
}

// makeSmall makes count files, ten in each leaf folder. A smaller count gives the first
// files of a larger one.
func makeSmall(dir string, count int64) error {
	n := newNoise("small")
	text := prose(n)
	for i := range int(count) {
		leaf := i / 10
		in := filepath.Join(dir, fmt.Sprintf("d%02d", leaf/250), fmt.Sprintf("s%02d", leaf/5%50), fmt.Sprintf("t%d", leaf%5))
		if i%10 == 0 {
			if err := os.MkdirAll(in, 0o755); err != nil {
				return err
			}
		}
		size := n.logUniform(512, 16*kib)
		name, content := fmt.Sprintf("f%06d.bin", i), []byte(nil)
		if i%5 < 3 {
			name = fmt.Sprintf("f%06d.txt", i)
			content = append(fmt.Appendf(nil, "file %d\n", i), cut(n, text, size)...)[:size]
		} else {
			content = n.bytes(size)
		}
		if err := os.WriteFile(filepath.Join(in, name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// codeModule is the module whose sources are in the set "code", together with those of Go.
const codeModule = "github.com/nats-io/nats-server/v2"

func makeCode(dir string, scale float64) error {
	goroot, err := goOutput("env", "GOROOT")
	if err != nil {
		return err
	}
	if _, err := goOutput("mod", "download", codeModule); err != nil {
		return err
	}
	module, err := goOutput("list", "-m", "-f", "{{.Dir}}", codeModule)
	if err != nil {
		return err
	}
	stride := max(1, int(math.Round(1/scale)))
	if err := copySources(filepath.Join(goroot, "src"), filepath.Join(dir, "go"), stride); err != nil {
		return err
	}
	return copySources(module, filepath.Join(dir, "module"), stride)
}

// goOutput runs the go command and returns its output without surrounding space.
func goOutput(args ...string) (string, error) {
	out, err := exec.Command("go", args...).Output()
	if err != nil {
		return "", fmt.Errorf("go %s: %w", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}

// copySources copies every stride-th file in the order of names. It makes the copies
// writable, because files in the module cache are read-only.
func copySources(from, to string, stride int) error {
	count := 0
	return filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		if count++; (count-1)%stride != 0 {
			return nil
		}
		relative, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		target := filepath.Join(to, relative)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		return os.WriteFile(target, content, info.Mode().Perm()|0o200)
	})
}

// writeFile makes a file with the content of r.
func writeFile(path string, r io.Reader) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer closeFile(f, &err)
	_, err = io.CopyBuffer(struct{ io.Writer }{f}, r, make([]byte, mib))
	return err
}

// closeFile closes c and stores its error in *err if that is nil. It is meant for defer.
func closeFile(c io.Closer, err *error) {
	if closeErr := c.Close(); *err == nil {
		*err = closeErr
	}
}
