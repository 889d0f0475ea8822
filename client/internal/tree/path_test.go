package tree

import (
	"cmp"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestComparePath(t *testing.T) {
	sorted := []string{".", "!", "a", "a/!", "a/x", "a/x/y", "a/x.y", "a\x01", "a!", "a.b", "aa", "b", "\xff", "\xff/a", "\xff\xff"}
	want := slices.Clone(sorted)
	slices.SortFunc(want, componentOrder)
	if !slices.Equal(sorted, want) {
		t.Fatalf("the table is not in order: %q", want)
	}
	for i, a := range sorted {
		for j, b := range sorted {
			if got := sign(ComparePath(a, b)); got != sign(i-j) {
				t.Errorf("ComparePath(%q, %q) is %d, want %d", a, b, got, sign(i-j))
			}
		}
	}
}

func sign(n int) int { return cmp.Compare(n, 0) }

// componentOrder is the definition of ComparePath's order.
func componentOrder(a, b string) int {
	split := func(p string) []string {
		if p == "." {
			return nil
		}
		return strings.Split(p, "/")
	}
	return slices.Compare(split(a), split(b))
}

func TestComparePathIsComponentOrder(t *testing.T) {
	path := genPath()
	rapid.Check(t, func(t *rapid.T) {
		a, b := path.Draw(t, "a"), path.Draw(t, "b")
		if got, want := sign(ComparePath(a, b)), componentOrder(a, b); got != want {
			t.Fatalf("ComparePath(%q, %q) is %d, want %d", a, b, got, want)
		}
	})
}

// genPath generates paths that are close to each other in the order.
func genPath() *rapid.Generator[string] {
	name := rapid.StringOfN(rapid.RuneFrom([]rune("ab.!\x01é")), 1, 3, -1).
		Filter(func(s string) bool { return s != "." && s != ".." })
	return rapid.Custom(func(t *rapid.T) string {
		parts := rapid.SliceOfN(name, 0, 4).Draw(t, "parts")
		if len(parts) == 0 {
			return "."
		}
		return strings.Join(parts, "/")
	})
}

func TestComparePathIsWalkOrder(t *testing.T) {
	dir := t.TempDir()
	for _, p := range []string{"a/x/y", "a/x.y", "a.b", "a b/c", "aa/b/c", "b/-", "b/é"} {
		if err := os.MkdirAll(filepath.Join(dir, p), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var walked []string
	err := fs.WalkDir(os.DirFS(dir), ".", func(p string, _ fs.DirEntry, err error) error {
		walked = append(walked, p)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.IsSortedFunc(walked, ComparePath) {
		t.Errorf("a walk meets %q, which is not in order", walked)
	}
}

func TestInSubtree(t *testing.T) {
	for _, c := range []struct {
		path, top string
		want      bool
	}{
		{"a", ".", true}, {".", ".", true}, {"a", "a", true}, {"a/b", "a", true},
		{"a.b", "a", false}, {"ab", "a", false}, {"a", "a/b", false}, {".", "a", false}, {"b/a", "a", false},
	} {
		if got := InSubtree(c.path, c.top); got != c.want {
			t.Errorf("InSubtree(%q, %q) is %v", c.path, c.top, got)
		}
	}
}

func TestCheckPath(t *testing.T) {
	for _, good := range []string{".", "a", "a/b", "...", ".a", "a..", "\xff\n", "-", strings.Repeat("x/", 2000) + "x"} {
		if err := CheckPath(good); err != nil {
			t.Errorf("%.20q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "/", "/a", "a/", "a//b", "..", "../a", "a/..", "a/../b", "./a", "a/.", "a\x00", strings.Repeat("x", MaxPath+1)} {
		if err := CheckPath(bad); err == nil {
			t.Errorf("%.20q is accepted", bad)
		}
	}
}
