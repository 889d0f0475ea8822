package ignore

import (
	"slices"
	"strings"
)

// glob is a pattern without its decoration, as a list of tokens. Matching takes at most
// the product of both lengths in steps.
type glob []token

type token struct {
	kind kind
	char byte     // of a literal
	set  *byteSet // of a set
}

type kind uint8

const (
	literal  kind = iota
	anyByte       // ?: every byte but a slash
	oneOf         // [a-z]
	star          // *: bytes that are no slashes
	anything      // ** at the end: all bytes
	folders       // **/: no folder, or any number of them
)

type byteSet [256]bool

// compile translates a pattern. It reports false for a pattern that can match nothing: a set
// without its end, an unknown class, a \ at the end.
func compile(p string) (g glob, ok bool) {
	for i := 0; i < len(p); i++ {
		switch p[i] {
		case '\\':
			if i++; i == len(p) {
				return nil, false
			}
			g = append(g, token{kind: literal, char: p[i]})
		case '?':
			g = append(g, token{kind: anyByte})
		case '[':
			set, end, ok := compileSet(p, i+1)
			if !ok {
				return nil, false
			}
			g = append(g, token{kind: oneOf, set: set})
			i = end
		case '*':
			var k kind
			k, i = compileStars(p, i)
			g = append(g, token{kind: k})
		default:
			g = append(g, token{kind: literal, char: p[i]})
		}
	}
	return g, true
}

// compileStars returns the kind of the stars at p[i:], and the position of the last byte that
// belongs to them. Two or more stars are ** if they are a whole component; else they are *.
func compileStars(p string, i int) (k kind, last int) {
	end := i
	for end < len(p) && p[end] == '*' {
		end++
	}
	rest := p[end:]
	switch {
	case end-i < 2 || i > 0 && p[i-1] != '/':
		return star, end - 1
	case strings.HasPrefix(rest, "/"):
		return folders, end
	case rest == "" || strings.HasPrefix(rest, `\/`):
		return anything, end - 1
	}
	return star, end - 1
}

// compileSet reads a set whose first byte after the bracket is p[i]. end is the position of
// its closing bracket.
func compileSet(p string, i int) (set *byteSet, end int, ok bool) {
	set = new(byteSet)
	negated := i < len(p) && (p[i] == '!' || p[i] == '^')
	if negated {
		i++
	}
	var before byte // the byte that a range can begin with; 0 if there is none
	for first := true; ; first = false {
		switch {
		case i >= len(p):
			return nil, 0, false
		case p[i] == ']' && !first:
			if negated {
				for c := range set {
					set[c] = !set[c]
				}
			}
			set['/'] = false
			return set, i, true
		case p[i] == '-' && before != 0 && i+1 < len(p) && p[i+1] != ']':
			if i++; p[i] == '\\' {
				i++
			}
			if i >= len(p) {
				return nil, 0, false
			}
			for c := int(before); c <= int(p[i]); c++ {
				set[c] = true
			}
			before = 0
		case strings.HasPrefix(p[i:], "[:"):
			class, next, found := classAt(p, i)
			switch {
			case found && class == nil:
				return nil, 0, false
			case found:
				for c := range set {
					set[c] = set[c] || class(byte(c))
				}
				i, before = next, 0
			case next < 0:
				return nil, 0, false
			default: // without :] it is a bracket like any other byte
				set['['], before = true, '['
			}
		default:
			if p[i] == '\\' {
				i++
			}
			if i >= len(p) {
				return nil, 0, false
			}
			set[p[i]], before = true, p[i]
		}
		i++
	}
}

// classAt reads a class such as [:digit:] at p[i:]. last is the position of its last byte, or
// negative if no bracket follows at all. A nil class is unknown.
func classAt(p string, i int) (class func(byte) bool, last int, found bool) {
	name, _, closed := strings.Cut(p[i+2:], "]")
	if !closed {
		return nil, -1, false
	}
	if !strings.HasSuffix(name, ":") {
		return nil, 0, false
	}
	return classes[strings.TrimSuffix(name, ":")], i + 2 + len(name), true
}

func within(low, high byte) func(byte) bool {
	return func(c byte) bool { return low <= c && c <= high }
}

func either(of ...func(byte) bool) func(byte) bool {
	return func(c byte) bool { return slices.ContainsFunc(of, func(f func(byte) bool) bool { return f(c) }) }
}

var (
	digit = within('0', '9')
	lower = within('a', 'z')
	upper = within('A', 'Z')
	alpha = either(lower, upper)
	alnum = either(alpha, digit)
	graph = within('!', '~')
)

// classes are those of POSIX, for ASCII alone.
var classes = map[string]func(byte) bool{
	"alnum": alnum, "alpha": alpha, "digit": digit, "graph": graph, "lower": lower, "upper": upper,
	"print":  within(' ', '~'),
	"xdigit": either(digit, within('a', 'f'), within('A', 'F')),
	"space":  either(within('\t', '\r'), within(' ', ' ')),
	"blank":  either(within(' ', ' '), within('\t', '\t')),
	"cntrl":  either(within(0, 0x1f), within(0x7f, 0x7f)),
	"punct":  func(c byte) bool { return graph(c) && !alnum(c) },
}

func (t *token) accepts(c byte) bool {
	switch t.kind {
	case literal:
		return c == t.char
	case anyByte:
		return c != '/'
	case oneOf:
		return t.set[c]
	}
	return false
}

// match reports whether g matches all of s.
//
// Only the last * and the last ** are ever moved on. That is enough: what stands between two
// of them is best matched as early as possible, because the later one can then still begin
// wherever it could otherwise.
func (g glob) match(s string) bool {
	t, i := 0, 0
	var starAt, starFrom, deepAt, deepFrom int // the token after a * or **, and where it begins
	for {
		if t < len(g) {
			switch g[t].kind {
			case star:
				t++
				starAt, starFrom = t, i
				continue
			case anything, folders:
				t++
				deepAt, deepFrom, starAt = t, i, 0
				continue
			}
			if i < len(s) && g[t].accepts(s[i]) {
				t++
				i++
				continue
			}
		} else if i == len(s) {
			return true
		}
		switch {
		case starAt > 0 && starFrom < len(s) && s[starFrom] != '/':
			starFrom++
			t, i = starAt, starFrom
			continue
		case deepAt == 0 || deepFrom >= len(s):
			return false
		case g[deepAt-1].kind == folders:
			slash := strings.IndexByte(s[deepFrom:], '/')
			if slash < 0 {
				return false
			}
			deepFrom += slash
		}
		deepFrom++
		starAt = 0
		t, i = deepAt, deepFrom
	}
}
