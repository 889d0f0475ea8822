package restore

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"servidor-backup/bus/bustest"
	"servidor-backup/client/internal/target"
	"servidor-backup/client/internal/transfer"
	"servidor-backup/client/internal/tree"
	"servidor-backup/client/treetest"
)

// manyNames returns a version with a file that has the names a, d/x, d/y and z, and another file b. A
// bare version is as earlier programs made it.
func (s *shelf) manyNames(bare bool) (v *Source, content []byte) {
	content = treetest.Noise(1, 9000)
	a := partOf("a", s.data(content), 0, int64(len(content)))
	a.Mtime = 1e18
	entries := []*tree.Entry{dirEntry("."), dirEntry("d"), a, partOf("b", s.data(content[1:]), 0, 5)}
	for _, path := range []string{"d/x", "d/y", "z"} {
		e := *a
		e.Path, e.HardLink = path, "a"
		if bare {
			e.Content = tree.Content{}
		}
		entries = append(entries, &e)
	}
	return s.version(entries), content
}

func (s *shelf) restoreParts(to string, src *Source, opt target.Options, parts ...Part) (done Result, warnings []string) {
	s.t.Helper()
	return s.restoreNamed(to, src, opt, Options{}, parts...)
}

func (s *shelf) restoreNamed(to string, src *Source, opt target.Options, how Options, parts ...Part) (done Result, warnings []string) {
	s.t.Helper()
	var mu sync.Mutex
	warn := func(path string, err error) {
		mu.Lock()
		defer mu.Unlock()
		warnings = append(warnings, fmt.Sprintf("%s: %v", path, err))
	}
	opt.Owner, opt.Warn = os.Geteuid() == 0, warn
	into, err := target.Open(to, opt)
	if err != nil {
		s.t.Fatal(err)
	}
	how.Progress, how.Failed, how.Incomplete = &transfer.Progress{}, warn, warn
	done, err = Run(bustest.Context(s.t), *src, into, parts, how)
	if err != nil {
		s.t.Fatal(err)
	}
	return done, warnings
}

func wantOneFile(t *testing.T, paths ...string) {
	t.Helper()
	first, err := os.Stat(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths[1:] {
		if info, err := os.Stat(path); err != nil || !os.SameFile(first, info) {
			t.Errorf("%s and %s are not one file (%v)", paths[0], path, err)
		}
	}
}

// Parts of a restore keep the links between them, in whatever order they are named.
func TestPartsKeepLinksBetweenThem(t *testing.T) {
	s := newShelf(t)
	for _, bare := range []bool{false, true} {
		v, content := s.manyNames(bare)
		for _, parts := range [][]Part{
			{{From: "a", To: "a"}, {From: "d", To: "d"}, {From: "z", To: "z"}},
			{{From: "z", To: "z"}, {From: "d", To: "d"}, {From: "a", To: "a"}},
			{{From: "z", To: "z"}, {From: "d", To: "d"}},
		} {
			to := t.TempDir()
			done, warnings := s.restoreParts(to, v, target.Options{}, parts...)
			if len(warnings) > 0 || done.Files != int64(len(parts)+1) {
				t.Errorf("%d files were restored, with the warnings %q", done.Files, warnings)
			}
			wantContent(t, filepath.Join(to, "z"), content)
			paths := []string{filepath.Join(to, "z"), filepath.Join(to, "d", "x"), filepath.Join(to, "d", "y")}
			if len(parts) == 3 {
				paths = append(paths, filepath.Join(to, "a"))
			}
			wantOneFile(t, paths...)
		}
	}
}

// When the first name cannot be restored, the next one takes its place.
func TestNamesOutliveTheFirst(t *testing.T) {
	s := newShelf(t)
	for _, bare := range []bool{false, true} {
		v, content := s.manyNames(bare)
		to := t.TempDir()
		// Something has the first name, and may not be replaced.
		if err := os.WriteFile(filepath.Join(to, "a"), content, 0o600); err != nil {
			t.Fatal(err)
		}
		done, warnings := s.restoreParts(to, v, target.Options{}, Part{From: "."})
		if len(warnings) != 1 || !strings.HasPrefix(warnings[0], "a: ") || done.Failed != 1 {
			t.Errorf("%d paths failed, with the warnings %q, want one about a", done.Failed, warnings)
		}
		wantContent(t, filepath.Join(to, "z"), content)
		wantOneFile(t, filepath.Join(to, "z"), filepath.Join(to, "d", "x"), filepath.Join(to, "d", "y"))
	}
}

// Where no hard link can be made, as between file systems, a name becomes a file of its own, and
// that is said once.
func TestTargetWithoutHardLinks(t *testing.T) {
	s := newShelf(t)
	v, content := s.manyNames(false)
	to := t.TempDir()
	if err := os.Mkdir(filepath.Join(to, "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	treetest.MountAt(t, filepath.Join(to, "d"), "tmpfs")
	done, warnings := s.restoreParts(to, v, target.Options{Overwrite: true}, Part{From: "."})
	for _, name := range []string{"a", "d/x", "d/y", "z"} {
		wantContent(t, filepath.Join(to, name), content)
	}
	wantOneFile(t, filepath.Join(to, "a"), filepath.Join(to, "z"))
	wantOneFile(t, filepath.Join(to, "d", "x"), filepath.Join(to, "d", "y"))
	if done.Files != 5 || done.Failed > 0 {
		t.Errorf("%d files were restored and %d failed, want 5 and none", done.Files, done.Failed)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], "hard link") {
		t.Errorf("the warnings are %q, want one about links", warnings)
	}
}
