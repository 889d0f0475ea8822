package scan

import (
	"fmt"
	"os"
	"servidor-backup/client/internal/tree"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// Matcher decides what a backup leaves out. The zero matcher, and nil, leave
// out nothing.
type Matcher struct {
	patterns []pattern
	folders  []os.FileInfo // left out whatever they are called
}

type pattern struct {
	glob    string
	base    bool // of the last component; else of the path below the root
	dirOnly bool
}

// NewMatcher reads the patterns of --exclude, which follow .gitignore: one
// without a slash is about names at any depth; one with a slash is about paths
// below the folder that is saved; a slash at the end is for folders only and
// does not count as one. * and ? stay in one component, ** does not.
func NewMatcher(globs []string) (*Matcher, error) {
	m := &Matcher{}
	for _, glob := range globs {
		p := pattern{glob: glob}
		p.glob, p.dirOnly = strings.CutSuffix(p.glob, "/")
		p.base = !strings.Contains(p.glob, "/")
		p.glob = strings.TrimPrefix(p.glob, "/")
		if p.glob == "" || !doublestar.ValidatePattern(p.glob) {
			return nil, fmt.Errorf("the pattern %q cannot be understood: look for an empty pattern or a bracket that is not closed, and put \\ before a bracket that is part of a name", glob)
		}
		m.patterns = append(m.patterns, p)
	}
	return m, nil
}

// Without adds folders that are left out, if they are there.
func (m *Matcher) Without(paths []string) {
	for _, path := range paths {
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			m.folders = append(m.folders, info)
		}
	}
}

// isLeftOut reports whether the item is one of the folders that are left out.
func (m *Matcher) isLeftOut(it *Item) bool {
	return m != nil && it.Entry.Type == tree.TypeDir && slices.ContainsFunc(m.folders, it.is.Matches)
}

// match reports whether the path, relative to the root, is left out.
func (m *Matcher) match(rel string, isDir bool) bool {
	if m == nil {
		return false
	}
	name := rel[strings.LastIndexByte(rel, '/')+1:]
	for _, p := range m.patterns {
		if p.dirOnly && !isDir {
			continue
		}
		subject := rel
		if p.base {
			subject = name
		}
		if doublestar.MatchUnvalidated(p.glob, subject) {
			return true
		}
	}
	return false
}
