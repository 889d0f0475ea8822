package scan

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"servidor-backup/client/internal/ignore"
)

// PatternError is the error of a pattern that can never match.
type PatternError struct {
	Rule
	Why PatternFault
}

// PatternFault says why a pattern can never match.
type PatternFault string

// The faults of patterns.
const (
	PatternSyntax  PatternFault = "syntax"  // it is empty, or has a bracket without its end
	PatternOutside PatternFault = "outside" // it is for a place outside of everything that is saved
	PatternSource  PatternFault = "source"  // it is for all that is to be saved, or for a folder above
	PatternFiles   PatternFault = "files"   // it has a slash, and only files are to be saved
)

func (e *PatternError) Error() string {
	text := map[PatternFault]string{
		PatternSyntax:  "it is empty, or a bracket is not closed (a \\ before a bracket makes it part of a name)",
		PatternOutside: "it is for a place outside of what is to be saved",
		PatternSource:  "it leaves out the very thing that is to be saved",
		PatternFiles:   "it is for something in a folder, and no folder is to be saved",
	}[e.Why]
	where := ""
	if e.File != "" {
		where = fmt.Sprintf(" in line %d of %s", e.Line, e.File)
	}
	return fmt.Sprintf("the pattern %q%s can never match: %s", e.Text, where, text)
}

// ReadRules returns the patterns in the text of a file, one a line as in .gitignore. name is
// for messages.
func ReadRules(name string, text []byte) ([]Rule, error) {
	if slices.Contains(text, 0) {
		return nil, fmt.Errorf("%s is no text in UTF-8: save it as UTF-8", name)
	}
	lines, numbers := ignore.Lines(text)
	rules := make([]Rule, len(lines))
	for i := range lines {
		rules[i] = Rule{Text: lines[i], File: name, Line: numbers[i]}
	}
	return rules, nil
}

// resolvePatterns sets the lists of patterns for the roots, and which roots are dropped.
func (m *Matcher) resolvePatterns(roots []Root) error {
	if len(m.rules.Patterns) == 0 {
		return nil
	}
	cwd, err := os.Getwd()
	if err != nil {
		cwd = "" // then nothing is taken to be relative to it
	}
	r := &resolver{m: m, roots: roots, cwd: components(cwd)}
	for _, rule := range m.rules.Patterns {
		if why := r.resolve(rule); why != "" {
			return &PatternError{Rule: rule, Why: why}
		}
	}
	if !slices.ContainsFunc(roots, func(r Root) bool { return !m.dropped[r.Path] }) {
		return &PatternError{Rule: m.rules.Patterns[len(m.rules.Patterns)-1], Why: PatternSource}
	}
	return nil
}

type resolver struct {
	m     *Matcher
	roots []Root
	cwd   []string // the components of the working folder
}

// resolve adds a pattern to the lists of the roots. Besides what it means in a .gitignore file
// of each root,
//
//   - an absolute path that leads into a root is for that place. One that leads elsewhere is
//     at fault if it has several components, and the first of them is at the top of this
//     machine, but not in a root; else it is anchored, as in .gitignore.
//   - ./PATH and ../PATH are relative to the working folder. If that is in no root, ./PATH is
//     anchored in each root.
//   - NAME/PATH is also for PATH in the root that has that name, as lists show it, or is at
//     that place in the working folder.
//   - of several roots, one that the pattern names is dropped. A lone root never is.
func (r *resolver) resolve(rule Rule) PatternFault {
	text, negated := strings.CutPrefix(rule.Text, "!")
	if runtime.GOOS == "windows" && filepath.IsAbs(text) {
		text = filepath.ToSlash(text)
	}
	whole := ignore.Parse(rule.Text)
	parts := components(text)
	switch {
	case text == "" || len(parts) > 0 && !whole.Valid():
		return PatternSyntax
	case len(parts) == 0, slices.Equal(parts, []string{".."}): // "/", ".", "./"
		return PatternSource
	case whole.NameOnly():
		return r.addName(whole, rule)
	}
	if !slices.ContainsFunc(r.roots, func(root Root) bool { return root.isDir || r.leadsTo(root, parts) }) {
		return PatternFiles
	}
	p := place{parts: parts, negated: negated, dirOnly: strings.HasSuffix(text, "/")}
	switch {
	case strings.HasPrefix(text, "/") || filepath.IsAbs(text):
		return r.addAbsolute(p, filepath.VolumeName(text) != "")
	case slices.Contains(parts, "..") || strings.HasPrefix(text, "./"):
		return r.addRelative(p)
	}
	return r.addListed(p)
}

// place is a pattern with slashes.
type place struct {
	parts            []string // without empty ones and "."
	negated, dirOnly bool
}

// below is the pattern for a place below a root.
func (p *place) below(parts []string) ignore.Pattern {
	text := "/" + strings.Join(parts, "/")
	if p.negated {
		text = "!" + text
	}
	if p.dirOnly {
		text += "/"
	}
	return ignore.Parse(text)
}

func (r *resolver) add(root *Root, p ignore.Pattern) {
	r.m.lists[root.Path] = append(r.m.lists[root.Path], p)
}

// addName adds a pattern for names, which is for all roots.
func (r *resolver) addName(p ignore.Pattern, rule Rule) PatternFault {
	for i := range r.roots {
		root := &r.roots[i]
		r.add(root, p)
		if !p.Match(root.name(), root.isDir) {
			continue
		}
		if len(r.roots) > 1 {
			r.m.dropped[root.Path] = !p.Negated
		} else if !root.isDir && !p.Negated {
			return PatternSource
		}
	}
	return ""
}

// addAbsolute adds a pattern that begins with a slash, or the name of a volume.
func (r *resolver) addAbsolute(p place, volume bool) PatternFault {
	if found, why := r.addInside(p, p.parts, true); found || why != "" {
		return why
	}
	if volume || r.looksAbsolute(p.parts) {
		return PatternOutside
	}
	r.addEverywhere(p)
	return ""
}

// looksAbsolute reports whether a pattern that begins with a slash and leads into no root
// stands for a place of this machine, and not for one in the roots.
func (r *resolver) looksAbsolute(parts []string) bool {
	top := parts[0]
	if len(parts) < 2 || strings.ContainsAny(top, `*?[\`) {
		return false
	}
	if slices.ContainsFunc(r.roots, func(root Root) bool { return root.isDir && exists(filepath.Join(root.Abs, top)) }) {
		return false
	}
	return exists(string(filepath.Separator) + top)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// addRelative adds a pattern with ./ at its start, or with .. in it.
func (r *resolver) addRelative(p place) PatternFault {
	parts := slices.Clone(r.cwd)
	for _, part := range p.parts {
		if part != ".." {
			parts = append(parts, part)
			continue
		}
		if len(parts) > 0 {
			parts = parts[:len(parts)-1]
		}
	}
	if found, why := r.addInside(p, parts, false); found || why != "" {
		return why
	}
	if slices.Contains(p.parts, "..") {
		return PatternOutside
	}
	r.addEverywhere(p)
	return ""
}

// addListed adds a pattern with a slash in it.
func (r *resolver) addListed(p place) PatternFault {
	r.addEverywhere(p)
	for i := range r.roots {
		root := &r.roots[i]
		here := slices.Concat(r.cwd, p.parts)
		for _, way := range [][]string{root.given(), components(root.Abs)} {
			if rest, ok := inside(way, here, false); ok && len(rest) > 0 {
				r.add(root, p.below(rest))
			}
		}
		if rest, ok := inside([]string{root.name()}, p.parts, false); ok && len(rest) > 0 {
			r.add(root, p.below(rest))
		}
	}
	return ""
}

// addEverywhere adds a pattern that is anchored in each root.
func (r *resolver) addEverywhere(p place) {
	for i := range r.roots {
		r.add(&r.roots[i], p.below(p.parts))
	}
}

// addInside adds a pattern to the roots that it leads into, and drops those that it leads to.
// globs says whether it can lead there with * and the like.
func (r *resolver) addInside(p place, parts []string, globs bool) (found bool, why PatternFault) {
	for i := range r.roots {
		root := &r.roots[i]
		if r.leadsTo(*root, parts) {
			if len(r.roots) == 1 && !p.negated {
				return false, PatternSource
			}
			r.m.dropped[root.Path], found = !p.negated, true
			continue
		}
		for _, way := range [][]string{components(root.Abs), root.given()} {
			if rest, ok := inside(way, parts, globs); ok && len(rest) > 0 {
				r.add(root, p.below(rest))
				found = true
				break
			}
		}
	}
	return found, ""
}

// leadsTo reports whether the parts of an absolute path lead to a root itself.
func (r *resolver) leadsTo(root Root, parts []string) bool {
	return slices.EqualFunc(components(root.Abs), parts, sameName) || slices.EqualFunc(root.given(), parts, sameName)
}

// inside returns what remains of a pattern's components below a root, whose components are
// way. ok is false if it leads elsewhere.
func inside(way, parts []string, globs bool) (rest []string, ok bool) {
	for i, name := range way {
		if i >= len(parts) {
			return nil, false
		}
		if globs && parts[i] == "**" {
			return parts[i:], true
		}
		if sameName(parts[i], name) {
			continue
		}
		p := ignore.Parse(parts[i])
		if !globs || strings.HasPrefix(parts[i], "!") || !p.Match(name, true) {
			return nil, false
		}
	}
	return parts[len(way):], true
}

// sameName compares components of paths as the system does.
func sameName(a, b string) bool {
	return a == b || runtime.GOOS == "windows" && strings.EqualFold(a, b)
}

// components splits a path, without empty ones and ".".
func components(path string) []string {
	return slices.DeleteFunc(strings.Split(filepath.ToSlash(path), "/"), func(part string) bool { return part == "" || part == "." })
}

// name is the root's name where it lies.
func (r *Root) name() string { return filepath.Base(cmp.Or(r.named, r.Abs)) }

// given are the components of the root's path before links are resolved.
func (r *Root) given() []string { return components(cmp.Or(r.named, r.Abs)) }
