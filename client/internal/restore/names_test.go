package restore

import (
	"path/filepath"
	"slices"
	"testing"

	"servidor-backup/client/internal/target"
	"servidor-backup/client/internal/tree"
	"servidor-backup/client/treetest"
)

// Entries appear under mapped names, and so do what is in folders with mapped names, the other
// names of a file, and the names at the top. Each mapped name is told of once.
func TestNamesAreMapped(t *testing.T) {
	s := newShelf(t)
	content := treetest.Noise(1, 9000)
	file := func(path, first string) *tree.Entry {
		e := partOf(path, s.data(content), 0, int64(len(content)))
		e.Mtime, e.HardLink = 1e18, first
		return e
	}
	v := s.version([]*tree.Entry{
		dirEntry("."), file("README", ""), dirEntry("a:"), file("a:/con", ""), file("a:/plain", ""),
		file("link", "a:/con"), file("readme", ""), file("readme.", "readme"),
	})
	for _, c := range []struct {
		part       Part
		told, tops []string
	}{
		{Part{From: "."}, []string{"a:", "a:/con", "readme", "readme."}, []string{"README", "a%3A", "link", "%72eadme", "readme%2E"}},
		{Part{From: ".", To: "nul"}, []string{"nul", "nul/a:", "nul/a:/con", "nul/readme", "nul/readme."}, []string{"%6Eul"}},
	} {
		to := t.TempDir()
		var told []string
		how := Options{Names: target.NewMapper(true), Mapped: func(path, _ string) { told = append(told, path) }}
		done, warnings := s.restoreNamed(to, v, target.Options{}, how, c.part)
		if len(warnings) > 0 || done.Files != 6 || done.Failed != 0 {
			t.Errorf("%d files were restored, with the warnings %q", done.Files, warnings)
		}
		if !slices.Equal(told, c.told) || !slices.Equal(done.Tops, c.tops) {
			t.Errorf("told of %q, with %q at the top; want %q and %q", told, done.Tops, c.told, c.tops)
		}
		if c.part.To != "" {
			to = filepath.Join(to, "%6Eul")
		}
		wantContent(t, filepath.Join(to, "README"), content)
		wantContent(t, filepath.Join(to, "a%3A", "plain"), content)
		wantOneFile(t, filepath.Join(to, "a%3A", "%63on"), filepath.Join(to, "link"))
		wantOneFile(t, filepath.Join(to, "%72eadme"), filepath.Join(to, "readme%2E"))
	}
}
