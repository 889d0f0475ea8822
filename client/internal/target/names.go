package target

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// MapName returns a name that Windows, and file systems that come from there, can have: name
// itself, if that is possible. Otherwise each byte that is not possible is written as % and two hex
// digits: control characters, \ : < > " | ? *, bytes that are not UTF-8, a dot or space at the end,
// and the first letter, and those in upper case, of a name that is a device there, such as con or
// nul.txt. So that names can be mapped back, a % before two hex digits is written so too, as %25.
//
// clash says that another name in the folder differs from name only in case. Then all letters that
// are not in lower case are written so too or, if there are none, the first letter. So no two of
// such names get names that differ only in case, if at most one of them is mapped without clash.
func MapName(name string, clash bool) string {
	device := isDevice(name)
	clash = clash || device
	if !clash && !impossible(name) && !hasEscape(name) {
		return name
	}
	var b strings.Builder
	escaped := device // a letter, as its case or its name demands
	tail := len(strings.TrimRight(name, ". "))
	for i := 0; i < len(name); {
		r, n, valid := decode(name[i:])
		isCase := clash && r != plainCase(r)
		switch {
		case isCase, i == 0 && device, !valid, isForbidden(r), r == '%' && isHex(name[i+1:]), i+n == len(name) && i >= tail:
			escape(&b, name[i:i+n])
		default:
			b.WriteString(name[i : i+n])
		}
		escaped = escaped || isCase
		i += n
	}
	if clash && !escaped {
		return escapeLetter(b.String())
	}
	return b.String()
}

// decode is [utf8.DecodeRuneInString], for names of Windows, too: those can have halves of
// characters (surrogates), which Go writes as three bytes.
func decode(s string) (r rune, n int, valid bool) {
	r, n = utf8.DecodeRuneInString(s)
	if r != utf8.RuneError || n != 1 {
		return r, n, true
	}
	if len(s) >= 3 && s[0] == 0xED && s[1] >= 0xA0 && s[1] < 0xC0 && s[2]&0xC0 == 0x80 {
		return r, 3, true
	}
	return r, 1, false
}

// escapeLetter escapes the first letter that has several cases, outside of escapes.
func escapeLetter(name string) string {
	for i := 0; i < len(name); {
		if name[i] == '%' && isHex(name[i+1:]) {
			i += 3
			continue
		}
		r, n := utf8.DecodeRuneInString(name[i:])
		if unicode.SimpleFold(r) != r {
			var b strings.Builder
			b.WriteString(name[:i])
			escape(&b, name[i:i+n])
			b.WriteString(name[i+n:])
			return b.String()
		}
		i += n
	}
	return name
}

func escape(b *strings.Builder, s string) {
	const digits = "0123456789ABCDEF"
	for i := range len(s) {
		b.WriteByte('%')
		b.WriteByte(digits[s[i]>>4])
		b.WriteByte(digits[s[i]&15])
	}
}

// foldName returns the same for all names that differ only in case, and for no others.
func foldName(name string) string { return strings.Map(plainCase, name) }

// plainCase returns the one of all cases of a letter that stands for them, which is one in lower
// case. A letter of which there is one case, and anything else, stands for itself.
func plainCase(r rune) rune {
	if r < utf8.RuneSelf {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}
	least := r
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		least = min(least, f)
	}
	if unicode.SimpleFold(r) == r {
		return r
	}
	return unicode.ToLower(least)
}

// impossible reports whether Windows cannot have the name, or makes another one of it.
func impossible(name string) bool {
	if name != strings.TrimRight(name, ". ") || isDevice(name) {
		return true
	}
	for i := 0; i < len(name); {
		r, n, valid := decode(name[i:])
		if !valid || isForbidden(r) {
			return true
		}
		i += n
	}
	return false
}

func isForbidden(r rune) bool { return r < ' ' || strings.ContainsRune(`\/:*?"<>|`, r) }

// isDevice reports whether Windows takes the name, with any extension, for a device.
func isDevice(name string) bool {
	base, _, _ := strings.Cut(name, ".")
	base = strings.ToLower(strings.TrimRight(base, " "))
	switch base {
	case "con", "prn", "aux", "nul", "conin$", "conout$":
		return true
	}
	number, port := strings.CutPrefix(base, "com")
	if !port {
		number, port = strings.CutPrefix(base, "lpt")
	}
	return port && utf8.RuneCountInString(number) == 1 && strings.Contains("0123456789¹²³", number)
}

// hasEscape reports whether name contains what MapName writes for a byte.
func hasEscape(name string) bool {
	for i := strings.IndexByte(name, '%'); i >= 0 && i < len(name); i++ {
		if name[i] == '%' && isHex(name[i+1:]) {
			return true
		}
	}
	return false
}

// isHex reports whether s begins with two hex digits.
func isHex(s string) bool { return len(s) >= 2 && isHexDigit(s[0]) && isHexDigit(s[1]) }

func isHexDigit(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f'
}
