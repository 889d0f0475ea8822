package scan

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// matcherFor makes a matcher for a walk of paths.
func matcherFor(t *testing.T, rules Rules, paths ...string) *Matcher {
	t.Helper()
	roots, err := NewRoots(paths)
	if err != nil {
		t.Fatal(err)
	}
	m, err := NewMatcher(rules, roots)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func patterns(texts ...string) (r Rules) {
	for _, text := range texts {
		r.Patterns = append(r.Patterns, Rule{Text: text})
	}
	return r
}

func TestPatternsFollowGitignore(t *testing.T) {
	dir := t.TempDir()
	makeFiles(t, dir, "a/build/x", "a/keep.o", "a/main.c", "build", "cache/deep/x", "sp[ec", "\xffraw")
	all := []string{".", "a", "a/build", "a/build/x", "a/keep.o", "a/main.c", "build", "cache", "cache/deep", "cache/deep/x", "sp[ec", "\xffraw"}
	for list, without := range map[string][]string{
		"*.o":             {"a/keep.o"},
		"build":           {"a/build", "a/build/x", "build"},
		"build/":          {"a/build", "a/build/x"},
		"/build":          {"build"},
		"a/*.c":           {"a/main.c"},
		"a/*":             {"a/build", "a/build/x", "a/keep.o", "a/main.c"},
		"*/x":             nil,
		"**/x":            {"a/build/x", "cache/deep/x"},
		"cache/**/x":      {"cache/deep/x"},
		"cache/deep/**":   {"cache/deep/x"},
		"*.{o,c}":         nil, // .gitignore has no braces
		`sp\[ec`:          {"sp[ec"},
		"?raw":            {"\xffraw"},
		"*":               all[1:],
		"/* !/a":          {"build", "cache", "cache/deep", "cache/deep/x", "sp[ec", "\xffraw"},
		"*.c !main.c":     nil,
		"!main.c *.c":     {"a/main.c"},
		"a/ !a/main.c":    {"a", "a/build", "a/build/x", "a/keep.o", "a/main.c"}, // a is not entered
		"!/a/build build": {"a/build", "a/build/x", "build"},
	} {
		t.Run(list, func(t *testing.T) {
			m := matcherFor(t, patterns(append([]string{"no such name"}, strings.Fields(list)...)...), dir)
			want := slices.DeleteFunc(slices.Clone(all), func(p string) bool { return slices.Contains(without, p) })
			wantWalk(t, []string{dir}, m, want...)
		})
	}
}

// Patterns with a slash are matched against the path below each root.
func TestPatternsAreRelativeToTheirRoot(t *testing.T) {
	dir := t.TempDir()
	makeFiles(t, dir, "one/tmp/x", "two/tmp/x", "two/sub/tmp/x")
	one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
	wantWalk(t, []string{one, two}, matcherFor(t, patterns("/tmp"), one, two), "one", "two", "two/sub", "two/sub/tmp", "two/sub/tmp/x")
	wantWalk(t, []string{one}, matcherFor(t, patterns("one"), one), ".", "tmp", "tmp/x")
}

// Absolute patterns, and what a person sees in a list or in the working folder, mean what
// they look like.
func TestPatternsMeanWhatTheyLookLike(t *testing.T) {
	top := t.TempDir()
	makeFiles(t, top, "src/secret/f", "src/f", "src/src/secret", "other/secret", "other/f")
	if err := os.Symlink("src", filepath.Join(top, "link")); err != nil {
		t.Fatal(err)
	}
	abs := func(rest string) string { return filepath.ToSlash(top) + rest }
	noSecret := []string{".", "f", "src", "src/secret"}
	for _, tc := range []struct {
		cwd, source, pattern string
		want                 []string
	}{
		{".", "src", abs("/src/secret"), noSecret},
		{".", "src", abs("/src/secret/"), noSecret},
		{".", "src", abs("//src/./secret"), noSecret},
		{".", "src", filepath.ToSlash(filepath.Dir(top)) + "/*/src/secret", noSecret},
		{".", "src", abs("/**/secret"), []string{".", "f", "src"}},
		{".", "src", "./secret", noSecret},
		{".", "src", "./src/secret", noSecret},
		{".", "src", "src/secret", []string{".", "f", "src"}}, // with its meaning in a .gitignore of src
		{".", "link", "link/secret/", noSecret},
		{".", "link", abs("/link/secret"), noSecret},
		{".", "link", abs("/src/secret"), noSecret},
		{"src", ".", "./secret", noSecret},
		{"src/src", "..", "./secret", []string{".", "f", "secret", "secret/f", "src"}},
		{"src/src", "..", "../secret", noSecret},
		{"other", "../src", "../src/secret", noSecret},
		{"other", "../src", "secret", []string{".", "f", "src"}},
		{".", "src", "/secret", noSecret},
		{".", "src", "/nowhere/of/this/name", []string{".", "f", "secret", "secret/f", "src", "src/secret"}},
	} {
		t.Run(tc.source+" without "+strings.ReplaceAll(tc.pattern, top, ""), func(t *testing.T) {
			t.Chdir(filepath.Join(top, tc.cwd))
			wantWalk(t, []string{tc.source}, matcherFor(t, patterns(tc.pattern), tc.source), tc.want...)
		})
	}
	t.Chdir(top)
	both := []string{"src", "other"}
	wantWalk(t, both, matcherFor(t, patterns("other/secret"), both...),
		"other", "other/f", "src", "src/f", "src/secret", "src/secret/f", "src/src", "src/src/secret")
	wantWalk(t, both, matcherFor(t, patterns(abs("/src"), "secret"), both...), "other", "other/f")
	wantWalk(t, both, matcherFor(t, patterns("o*"), both...), "src", "src/f", "src/secret", "src/secret/f", "src/src", "src/src/secret")
	wantWalk(t, both, matcherFor(t, patterns("o*", "!other", "src/"), both...), "other", "other/f", "other/secret")
}

func TestPatternsThatNeverMatchAreRefused(t *testing.T) {
	top := t.TempDir()
	makeFiles(t, top, "src/f", "other/f", "file")
	t.Chdir(top)
	for _, tc := range []struct {
		pattern string
		sources []string
		want    PatternFault
	}{
		{"", []string{"src"}, PatternSyntax},
		{"!", []string{"src"}, PatternSyntax},
		{"[", []string{"src"}, PatternSyntax},
		{"a/[b", []string{"src"}, PatternSyntax},
		{`x\`, []string{"src"}, PatternSyntax},
		{"/", []string{"src"}, PatternSource},
		{".", []string{"src"}, PatternSource},
		{"..", []string{"src"}, PatternSource},
		{"./src", []string{"src"}, PatternSource},
		{filepath.ToSlash(top) + "/src/", []string{"src"}, PatternSource},
		{filepath.ToSlash(top) + "/other/f", []string{"src"}, PatternOutside},
		{"../f", []string{"src"}, PatternOutside},
		{"../" + filepath.Base(top) + "/other/f", []string{"src"}, PatternOutside},
		{filepath.ToSlash(top), []string{"src"}, PatternOutside},
		{"a/b", []string{"file"}, PatternFiles},
		{"f*", []string{"file"}, PatternSource},
		{"*", []string{"src", "file"}, PatternSource},
	} {
		roots, err := NewRoots(tc.sources)
		if err != nil {
			t.Fatal(err)
		}
		rules := Rules{Patterns: []Rule{{Text: tc.pattern, File: "list", Line: 7}}}
		var fault *PatternError
		if _, err := NewMatcher(rules, roots); !errors.As(err, &fault) || fault.Why != tc.want || !strings.Contains(err.Error(), "line 7 of list") {
			t.Errorf("%q for %q: got %v, want %s", tc.pattern, tc.sources, err, tc.want)
		}
	}
}

func TestIgnoreFilesAreForTheirFolders(t *testing.T) {
	dir := t.TempDir()
	makeFiles(t, dir, "a/x.log", "a/keep.log", "a/b/x.log", "a/b/keep.log", "x.log", "a/tmp/x", "tmp/x", "a/b/z")
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(".backupignore", "\xef\xbb\xbf# no logs\r\n*.log\r\n\r\n")
	write("a/.backupignore", "!keep.log\n/tmp")
	write("a/b/.gitignore", "keep.log\n!x.log\nz\n")
	m := matcherFor(t, patterns("!/a/b/z"), dir)
	wantWalk(t, []string{dir}, m, ".", ".backupignore", "a", "a/.backupignore", "a/b", "a/b/.gitignore", "a/b/keep.log", "a/b/z", "a/keep.log", "tmp", "tmp/x")
	if n := m.LeftOut()[ByIgnoreFile]; n.Paths != 4 || n.Bytes != int64(len("a/x.log"+"a/b/x.log"+"x.log")) {
		t.Errorf("left out %+v", n)
	}
	rules := patterns("!/a/b/z")
	rules.IgnoreFiles = []string{".gitignore"}
	wantWalk(t, []string{dir}, matcherFor(t, rules, dir), ".", ".backupignore", "a", "a/.backupignore", "a/b", "a/b/.gitignore", "a/b/x.log", "a/b/z", "a/keep.log", "tmp", "tmp/x")
}

// An ignore file that cannot be read is told: what it would leave out is saved.
func TestUnreadableIgnoreFileIsTold(t *testing.T) {
	dir := t.TempDir()
	makeFiles(t, dir, "a/x", "a/.backupignore/", "b/x")
	if err := os.WriteFile(filepath.Join(dir, "b", IgnoreFile), []byte("\xff\xfex\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	var failed, visited []string
	walkAll(t, []string{dir}, matcherFor(t, Rules{}, dir), func(it Item) error {
		if it.Err != nil {
			failed = append(failed, it.Path)
		} else {
			visited = append(visited, it.Path)
		}
		return nil
	})
	if want := []string{"a/.backupignore", "b/.backupignore"}; !slices.Equal(failed, want) {
		t.Errorf("told of %q, want %q", failed, want)
	}
	if want := []string{".", "a", "a/.backupignore", "a/x", "b", "b/.backupignore", "b/x"}; !slices.Equal(visited, want) {
		t.Errorf("visited %q, want %q", visited, want)
	}
}

func TestCachesKeepTheirTag(t *testing.T) {
	dir := t.TempDir()
	makeFiles(t, dir, "cache/big/x", "cache/y", "fake/x", "fake/CACHEDIR.TAG")
	if err := os.WriteFile(filepath.Join(dir, "cache", cacheTag), []byte(cacheSignature+"\n# made by a test\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	m := matcherFor(t, Rules{Caches: true}, dir)
	wantWalk(t, []string{dir}, m, ".", "cache", "cache/CACHEDIR.TAG", "fake", "fake/CACHEDIR.TAG", "fake/x")
	if n := m.LeftOut()[CacheFolder].Paths; n != 1 {
		t.Errorf("%d cache folders were counted, want 1", n)
	}
	wantWalk(t, []string{dir}, matcherFor(t, Rules{}, dir), ".", "cache", "cache/CACHEDIR.TAG", "cache/big", "cache/big/x", "cache/y", "fake", "fake/CACHEDIR.TAG", "fake/x")
}

func TestLargeFilesAreLeftOut(t *testing.T) {
	dir := t.TempDir()
	makeFiles(t, dir, "1", "12", "123", "1234/x")
	m := matcherFor(t, Rules{LargerThan: 2}, dir)
	makeFiles(t, dir, "12")
	wantWalk(t, []string{dir}, m, ".", "1", "12", "1234")
	if n := m.LeftOut()[TooLarge]; n.Paths != 2 || n.Bytes != int64(len("123"+"1234/x")) {
		t.Errorf("left out %+v", n)
	}
}

// An excluded folder is left out however the walk reaches it, unless it is itself a root.
func TestExcludedFoldersAreLeftOut(t *testing.T) {
	dir := t.TempDir()
	makeFiles(t, dir, "a/store/x", "a/other/store/x", "a/file", "b/x")
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	m := matcherFor(t, Rules{Folders: []string{filepath.Join(a, "store"), filepath.Join(a, "file"), filepath.Join(dir, "gone"), b}}, a, b)
	wantWalk(t, []string{a, b}, m, "a", "a/file", "a/other", "a/other/store", "a/other/store/x", "b", "b/x")
}
