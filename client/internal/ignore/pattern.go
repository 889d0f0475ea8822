package ignore

import (
	"bytes"
	"strings"
)

// Pattern is one pattern. The zero Pattern matches nothing.
type Pattern struct {
	// Negated says that what the pattern matches is not ignored. (Text: "!".)
	Negated bool

	dirOnly  bool   // it matches only folders
	nameOnly bool   // it is matched against the last component, else against the whole path
	prefix   string // what the path begins with; "" if nameOnly
	rest     glob   // what follows the prefix
	exact    bool   // nothing follows
	valid    bool
}

// Parse parses a pattern, as a command line has it: a # at its start and blanks at its end
// have no meaning of their own.
func Parse(text string) Pattern {
	var p Pattern
	text, p.Negated = strings.CutPrefix(text, "!")
	text, p.dirOnly = strings.CutSuffix(text, "/")
	p.nameOnly = !strings.Contains(text, "/")
	if p.nameOnly {
		p.rest, p.valid = compile(text)
		p.valid = p.valid && text != ""
		return p
	}
	text = strings.TrimPrefix(text, "/")
	// Git compares what precedes the first special byte apart, so ** right after it counts
	// as the start of a component.
	n := strings.IndexAny(text, `*?[\`)
	if n < 0 {
		p.prefix, p.exact, p.valid = text, true, text != ""
		return p
	}
	p.prefix = text[:n]
	p.rest, p.valid = compile(text[n:])
	return p
}

// Valid reports whether the pattern can match anything: not if it is empty, or has a set
// without an end.
func (p *Pattern) Valid() bool { return p.valid }

// NameOnly reports whether the pattern has no slash but one at its end, so that it is for
// names in any folder.
func (p *Pattern) NameOnly() bool { return p.nameOnly }

// Match reports whether the pattern matches a path.
func (p *Pattern) Match(path string, isDir bool) bool {
	if !p.valid || p.dirOnly && !isDir {
		return false
	}
	if p.nameOnly {
		return p.rest.match(path[strings.LastIndexByte(path, '/')+1:])
	}
	rest, ok := strings.CutPrefix(path, p.prefix)
	if p.exact || !ok {
		return ok && rest == ""
	}
	return p.rest.match(rest)
}

// List is a list of patterns of which later ones outweigh earlier ones.
type List []Pattern

// Match reports whether a pattern decides about a path, and then whether it is ignored.
func (l List) Match(path string, isDir bool) (decided, ignored bool) {
	for i := len(l) - 1; i >= 0; i-- {
		if l[i].Match(path, isDir) {
			return true, !l[i].Negated
		}
	}
	return false, false
}

// Lines returns the patterns in the text of a file with their line numbers, from 1: no empty
// lines, no comments, no byte order mark, no carriage returns and blanks at the ends of
// lines.
func Lines(text []byte) (patterns []string, numbers []int) {
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	n := 0
	for line := range bytes.Lines(text) {
		n++
		line, ended := bytes.CutSuffix(line, []byte("\n"))
		if ended {
			line = bytes.TrimSuffix(line, []byte("\r"))
		}
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		if p := trimBlanks(string(line)); p != "" {
			patterns, numbers = append(patterns, p), append(numbers, n)
		}
	}
	return patterns, numbers
}

// trimBlanks removes the blanks at the end of s. One after a \ stays.
func trimBlanks(s string) string {
	end := 0 // of what stays
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case ' ':
			continue
		case '\\':
			i++
		}
		end = min(i+1, len(s))
	}
	return s[:end]
}

// ParseFile returns the patterns of a file's text.
func ParseFile(text []byte) List {
	lines, _ := Lines(text)
	list := make(List, len(lines))
	for i, line := range lines {
		list[i] = Parse(line)
	}
	return list
}
