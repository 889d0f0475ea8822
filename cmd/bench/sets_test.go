package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
)

// tiny is the scale of the data sets in tests.
const tiny = 0.002

// makeTestSets makes data sets in a new folder, which it returns.
func makeTestSets(t *testing.T, scale float64, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	if err := makeSets(dir, names, scale, io.Discard); err != nil {
		t.Fatal(err)
	}
	return dir
}

// hashes returns the size and the hash of each file in a tree, by relative path.
func hashes(t *testing.T, root string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		relative, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		sum := sha256.Sum256(content)
		found[relative] = fmt.Sprintf("%d %s", len(content), hex.EncodeToString(sum[:]))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestSetsAreReproducible(t *testing.T) {
	t.Parallel()
	a, b := hashes(t, makeTestSets(t, tiny)), hashes(t, makeTestSets(t, tiny))
	if diff := cmp.Diff(a, b); diff != "" {
		t.Error(diff)
	}
	for _, d := range datasets {
		if !strings.Contains(fmt.Sprint(a), d.name+string(filepath.Separator)) {
			t.Errorf("%s has no files", d.name)
		}
	}
}

func TestCompleteSetsAreKept(t *testing.T) {
	t.Parallel()
	dir := makeTestSets(t, tiny, "small10k")
	file := filepath.Join(dir, "small10k", "d00", "s00", "t0", "f000000.txt")
	if err := os.WriteFile(file, []byte("touched"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := makeSets(dir, []string{"small10k"}, tiny, io.Discard); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "touched" {
		t.Errorf("a complete set was made again: %q (%v)", text, err)
	}
	if err := makeSets(dir, []string{"small10k"}, 1, io.Discard); err == nil {
		t.Error("a set of another scale was accepted as a full one")
	}
	if err := os.Remove(filepath.Join(dir, ".complete-small10k")); err != nil {
		t.Fatal(err)
	}
	if err := makeSets(dir, []string{"small10k"}, tiny, io.Discard); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) == "touched" {
		t.Errorf("an incomplete set was kept (%v)", err)
	}
}

func TestMakeSetsRejectsBadArguments(t *testing.T) {
	t.Parallel()
	for _, scale := range []float64{0, -1, 1.5} {
		if makeSets(t.TempDir(), nil, scale, io.Discard) == nil {
			t.Errorf("the scale %v was accepted", scale)
		}
	}
	if makeSets(t.TempDir(), []string{"bogus"}, tiny, io.Discard) == nil {
		t.Error("an unknown set was accepted")
	}
}

func TestLogsCompressLikeRealLogs(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(makeTestSets(t, 0.01, "logs"), "logs", "app-03.log"))
	if err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	if ratio := float64(len(text)) / float64(len(z.EncodeAll(text, nil))); ratio < 4 || ratio > 5 {
		t.Errorf("zstd makes the logs %.2f times smaller, want about 4.5 times", ratio)
	}
}

func TestSmallHasTenFilesPerFolder(t *testing.T) {
	t.Parallel()
	dir := makeTestSets(t, 0.01, "small", "small10k")
	all, tenth := hashes(t, filepath.Join(dir, "small")), hashes(t, filepath.Join(dir, "small10k"))
	folders, text := map[string]int{}, 0
	for name, sum := range all {
		folders[filepath.Dir(name)]++
		if filepath.Ext(name) == ".txt" {
			text++
		}
		if first, found := tenth[name]; found && first != sum {
			t.Errorf("%s is different in small10k", name)
		}
	}
	if len(all) != 1000 || len(folders) != 100 || text != 600 || len(tenth) != 100 {
		t.Errorf("%d files, %d folders, %d texts; %d files in small10k", len(all), len(folders), text, len(tenth))
	}
}

func TestMutateDependsOnTheSeedOnly(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		set   string
		scale float64
	}{{"small", 0.01}, {"dup", tiny}, {"logs", tiny}, {"vm", tiny}} {
		pristine := hashes(t, filepath.Join(makeTestSets(t, test.scale, test.set), test.set))
		mutated := func(seed uint64) map[string]string {
			root := filepath.Join(makeTestSets(t, test.scale, test.set), test.set)
			done, err := mutate(root, seed)
			if err != nil || done == (changes{}) {
				t.Fatalf("%s: %v, %v", test.set, done, err)
			}
			return hashes(t, root)
		}
		first := mutated(1)
		if diff := cmp.Diff(first, mutated(1)); diff != "" {
			t.Errorf("%s: the same seed made different changes: %s", test.set, diff)
		}
		if cmp.Equal(first, mutated(2)) {
			t.Errorf("%s: another seed made the same changes", test.set)
		}
		if cmp.Equal(first, pristine) {
			t.Errorf("%s: nothing has changed", test.set)
		}
	}
}

func TestMutateChangesOnePercentOfManyFiles(t *testing.T) {
	t.Parallel()
	root := filepath.Join(makeTestSets(t, 0.01, "small"), "small")
	before := hashes(t, root)
	done, err := mutate(root, 7)
	if err != nil {
		t.Fatal(err)
	}
	if sum := done.overwrites + done.appends + done.inserts + done.renames + done.deletes + done.news; sum != len(before)/100 {
		t.Errorf("%d changes in %d files: %v", sum, len(before), done)
	}
	after := hashes(t, root)
	if want := len(before) - done.deletes + done.news; len(after) != want {
		t.Errorf("%d files, want %d, after %v", len(after), want, done)
	}
	same := 0
	for name, sum := range before {
		if after[name] == sum {
			same++
		}
	}
	if want := len(before) - len(before)/100 + done.news; same != want {
		t.Errorf("%d files are unchanged, want %d, after %v", same, want, done)
	}
}

func TestMutateRejectsAnEmptyTree(t *testing.T) {
	t.Parallel()
	if _, err := mutate(t.TempDir(), 1); err == nil {
		t.Error("an empty tree was accepted")
	}
}
