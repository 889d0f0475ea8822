package scan

import (
	"path/filepath"
	"slices"
	"testing"
)

func TestPatternsFollowGitignore(t *testing.T) {
	dir := t.TempDir()
	makeFiles(t, dir, "a/build/x", "a/keep.o", "a/main.c", "build", "cache/deep/x", "sp[ec", "\xffraw")
	all := []string{".", "a", "a/build", "a/build/x", "a/keep.o", "a/main.c", "build", "cache", "cache/deep", "cache/deep/x", "sp[ec", "\xffraw"}
	for pattern, without := range map[string][]string{
		"*.o":         {"a/keep.o"},
		"build":       {"a/build", "a/build/x", "build"},
		"build/":      {"a/build", "a/build/x"},
		"/build":      {"build"},
		"a/*.c":       {"a/main.c"},
		"a/*":         {"a/build", "a/build/x", "a/keep.o", "a/main.c"},
		"*/x":         nil,
		"**/x":        {"a/build/x", "cache/deep/x"},
		"cache/**/x":  {"cache/deep/x"},
		"{build,a}/x": nil,
		"*.{o,c}":     {"a/keep.o", "a/main.c"},
		`sp\[ec`:      {"sp[ec"},
		"?raw":        {"\xffraw"},
		"*":           all[1:],
	} {
		t.Run(pattern, func(t *testing.T) {
			m, err := NewMatcher([]string{"no such name", pattern})
			if err != nil {
				t.Fatal(err)
			}
			want := slices.DeleteFunc(slices.Clone(all), func(p string) bool { return slices.Contains(without, p) })
			wantWalk(t, []string{dir}, m, want...)
		})
	}
}

// Patterns with a slash are matched against the path below each root.
func TestPatternsAreRelativeToTheirRoot(t *testing.T) {
	dir := t.TempDir()
	makeFiles(t, dir, "one/tmp/x", "two/tmp/x", "two/sub/tmp/x")
	m, err := NewMatcher([]string{"/tmp", "one"})
	if err != nil {
		t.Fatal(err)
	}
	wantWalk(t, []string{filepath.Join(dir, "one"), filepath.Join(dir, "two")}, m,
		"one", "two", "two/sub", "two/sub/tmp", "two/sub/tmp/x")
}

// An excluded folder is left out however the walk reaches it, unless it is itself a root.
func TestExcludedFoldersAreLeftOut(t *testing.T) {
	dir := t.TempDir()
	makeFiles(t, dir, "a/store/x", "a/other/store/x", "a/file", "b/x")
	m := new(Matcher)
	m.ExcludeFolders([]string{filepath.Join(dir, "a", "store"), filepath.Join(dir, "a", "file"), filepath.Join(dir, "gone"), filepath.Join(dir, "b")})
	wantWalk(t, []string{filepath.Join(dir, "a"), filepath.Join(dir, "b")}, m,
		"a", "a/file", "a/other", "a/other/store", "a/other/store/x", "b", "b/x")
}

func TestBadPatternsAreRefused(t *testing.T) {
	for _, pattern := range []string{"", "/", "[", "a/[b", "{a", `x\`} {
		if _, err := NewMatcher([]string{pattern}); err == nil {
			t.Errorf("the pattern %q was accepted", pattern)
		}
	}
}
