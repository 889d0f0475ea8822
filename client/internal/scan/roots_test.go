package scan

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRootsHaveTheirNames(t *testing.T) {
	dir := t.TempDir()
	makeFiles(t, dir, "docs/x", "docs/y/z", "file", "other/docs/x", "a/")
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := os.Symlink("docs", at("current")); err != nil {
		t.Fatal(err)
	}
	wantWalk(t, []string{at("docs")}, nil, ".", "x", "y", "y/z")
	wantWalk(t, []string{at("docs") + "/"}, nil, ".", "x", "y", "y/z")
	wantWalk(t, []string{at("file")}, nil, "file")
	wantWalk(t, []string{at("file"), at("docs"), at("a")}, nil, "a", "docs", "docs/x", "docs/y", "docs/y/z", "file")
	wantWalk(t, []string{at("current")}, nil, ".", "x", "y", "y/z")
	wantWalk(t, []string{at("current"), at("file")}, nil, "current", "current/x", "current/y", "current/y/z", "file")

	t.Chdir(at("docs"))
	wantWalk(t, []string{"."}, nil, ".", "x", "y", "y/z")
	wantWalk(t, []string{".", "../file"}, nil, "docs", "docs/x", "docs/y", "docs/y/z", "file")
}

func TestImpossibleRootsAreRefused(t *testing.T) {
	dir := t.TempDir()
	makeFiles(t, dir, "docs/x", "other/docs/x")
	for name, tc := range map[string]struct {
		paths []string
		want  string
	}{
		"none":      {nil, "no path"},
		"missing":   {[]string{filepath.Join(dir, "nothing")}, "nothing"},
		"same name": {[]string{filepath.Join(dir, "docs"), filepath.Join(dir, "other/docs")}, "two records"},
		"nameless":  {[]string{filepath.Join(dir, "docs"), "/"}, "save it alone"},
	} {
		if _, err := NewRoots(tc.paths); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want an error with %q", name, err, tc.want)
		}
	}
}
