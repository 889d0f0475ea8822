package ignore

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Git itself says what is right: for random patterns and paths, one by one.
func TestMatchesAsGitDoes(t *testing.T) {
	git, err := exec.LookPath("git")
	if err != nil {
		t.Skip("git is not installed")
	}
	dir := t.TempDir()
	run := func(in string, args ...string) string {
		cmd := exec.Command(git, args...)
		cmd.Dir, cmd.Stdin = dir, strings.NewReader(in)
		cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "HOME="+dir)
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		err := cmd.Run()
		var exit *exec.ExitError
		if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 1) { // 1: nothing is ignored
			t.Fatalf("git %s: %v: %s", args, err, errs.String())
		}
		return out.String()
	}
	run("", "init", "-q")
	rnd := rand.New(rand.NewPCG(1, 2))
	for round := range 120 {
		var file strings.Builder
		for range 1 + rnd.IntN(4) {
			file.WriteString(randomPattern(rnd) + []string{"\n", "\r\n", " \n", "\\ \n"}[rnd.IntN(4)*rnd.IntN(2)])
		}
		if err := os.WriteFile(filepath.Join(dir, ".gitignore"), []byte(file.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		list := ParseFile([]byte(file.String()))
		var paths []string
		for range 60 {
			paths = append(paths, randomPath(rnd))
		}
		answer := strings.Split(run(strings.Join(paths, "\x00")+"\x00", "check-ignore", "--no-index", "-v", "-n", "-z", "--stdin"), "\x00")
		for i, path := range paths {
			f := answer[4*i : 4*i+4] // source, line, pattern, path
			if f[3] != path {
				t.Fatalf("round %d: git answers about %q, want %q", round, f[3], path)
			}
			ignored := f[0] != "" && !strings.HasPrefix(f[2], "!")
			if got := ignoredBelow(list, path); got != ignored {
				t.Errorf("%q about %q: got %v, git says %v (%s)", file.String(), path, got, ignored, f[2])
			}
		}
		if t.Failed() && round > 20 {
			t.FailNow()
		}
	}
}

// ignoredBelow is what a walk does: it does not enter a folder that is ignored.
func ignoredBelow(l List, path string) bool {
	for i := range path {
		if path[i] == '/' {
			if _, out := l.Match(path[:i], true); out {
				return true
			}
		}
	}
	_, out := l.Match(path, false)
	return out
}

var pieces = []string{
	"a", "b", "ab", "-", "]", "/", "/", "**", "*", "?", "[ab]", "[!a]", "[^b]", "[a-c]", "[]a]", "[a-]", "[[:digit:]]",
	"[[:alpha:][:punct:]]", "[[:x]", `\*`, `\a`, `\\`, "{a,b}", "1", " ", "#", "!", ".", "a**", "**/", "/**", "[a", "[[:no:]]", "[!/]", "é",
}

func randomPattern(rnd *rand.Rand) string {
	var s strings.Builder
	if rnd.IntN(4) == 0 {
		s.WriteByte('!')
	}
	for range 1 + rnd.IntN(5) {
		s.WriteString(pieces[rnd.IntN(len(pieces))])
	}
	return s.String()
}

var letters = []string{"a", "b", "ab", "c", "1", "-", "]", "*", "a\\", "é", "ba", "{a,b}", "a ", "[", "#", "!"}

// randomPath is the path of a file. Git also matches the folders above it.
func randomPath(rnd *rand.Rand) string {
	var parts []string
	for range 1 + rnd.IntN(4) {
		parts = append(parts, letters[rnd.IntN(len(letters))]+strings.Repeat(letters[rnd.IntN(len(letters))], rnd.IntN(2)))
	}
	return strings.Join(parts, "/")
}

func TestMatchingTakesLittleTime(t *testing.T) {
	p := Parse(strings.Repeat("*a", 40) + "/" + strings.Repeat("**/a*", 40) + "b")
	if p.Match(strings.Repeat("a", 200)+"/"+strings.Repeat("a/", 200)+"a", false) {
		t.Error("matched")
	}
}

func FuzzPattern(f *testing.F) {
	f.Add("a/**/[!b-d]*", "a/x/c")
	f.Fuzz(func(t *testing.T, pattern, path string) {
		p := Parse(pattern)
		p.Match(path, true)
		if valid := p.Valid(); !valid && p.Match(path, false) {
			t.Error("an invalid pattern matches")
		}
		_ = fmt.Sprint(Lines([]byte(pattern)))
	})
}
