package scan

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"servidor-backup/client/internal/tree"
)

// Matcher decides what a backup leaves out. The zero Matcher, and nil, leave out nothing.
type Matcher struct {
	patterns []pattern
	folders  []os.FileInfo // left out whatever their names are
}

type pattern struct {
	glob     string
	nameOnly bool // it is matched against the last component, else against the path below the root
	dirOnly  bool
}

// NewMatcher parses patterns, whose rules are those of .gitignore. A pattern without a slash
// is for names at any depth; one with a slash is for paths below the root that is saved. A
// slash at the end restricts the pattern to folders, and does not count as a slash
// otherwise. * and ? match within one component, ** matches across components.
func NewMatcher(globs []string) (*Matcher, error) {
	m := &Matcher{}
	for _, glob := range globs {
		p := pattern{glob: glob}
		p.glob, p.dirOnly = strings.CutSuffix(p.glob, "/")
		p.nameOnly = !strings.Contains(p.glob, "/")
		p.glob = strings.TrimPrefix(p.glob, "/")
		if p.glob == "" || !doublestar.ValidatePattern(p.glob) {
			return nil, fmt.Errorf("the pattern %q cannot be understood: look for an empty pattern or a bracket that is not closed, and put \\ before a bracket that is part of a name", glob)
		}
		m.patterns = append(m.patterns, p)
	}
	return m, nil
}

// ExcludeFolders also leaves out the folders at these paths, however the walk reaches them.
// Paths that are not folders, or do not exist, are ignored.
func (m *Matcher) ExcludeFolders(paths []string) {
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			m.folders = append(m.folders, info)
		}
	}
}

// matchFolder reports whether the item is a folder of [Matcher.ExcludeFolders].
func (m *Matcher) matchFolder(it *Item) bool {
	return m != nil && it.Entry.Type == tree.TypeDir && slices.ContainsFunc(m.folders, it.identity.Matches)
}

// matchPath reports whether a pattern matches a path, which is relative to the root.
func (m *Matcher) matchPath(rel string, isDir bool) bool {
	if m == nil {
		return false
	}
	name := rel[strings.LastIndexByte(rel, '/')+1:]
	for _, p := range m.patterns {
		if p.dirOnly && !isDir {
			continue
		}
		subject := rel
		if p.nameOnly {
			subject = name
		}
		if doublestar.MatchUnvalidated(p.glob, subject) {
			return true
		}
	}
	return false
}
