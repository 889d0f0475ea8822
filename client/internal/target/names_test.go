package target

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"servidor-backup/client/internal/tree"
)

// unmap is the inverse of MapName.
func unmap(t *testing.T, name string) string {
	t.Helper()
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		if name[i] != '%' || !isHex(name[i+1:]) {
			b.WriteByte(name[i])
			continue
		}
		c, err := strconv.ParseUint(name[i+1:i+3], 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		b.WriteByte(byte(c))
		i += 2
	}
	return b.String()
}

func TestMapName(t *testing.T) {
	for _, c := range []struct{ name, want, clash string }{
		{"letter.txt", "letter.txt", "%6Cetter.txt"},
		{"100% sure", "100% sure", "100% %73ure"},
		{"ação", "ação", "%61ção"},
		{"ÉtÉ", "ÉtÉ", "%C3%89t%C3%89"},
		{".profile", ".profile", ".%70rofile"},
		{"README", "README", "%52%45%41%44%4D%45"},
		{"a:b", "a%3Ab", "%61%3Ab"},
		{"A:b", "A%3Ab", "%41%3Ab"},
		{"a%3ab", "a%253ab", "%61%253ab"},
		{"%:%", "%%3A%", "%%3A%"},
		{`back\slash`, "back%5Cslash", "%62ack%5Cslash"},
		{"<>|?*\"\x01", "%3C%3E%7C%3F%2A%22%01", "%3C%3E%7C%3F%2A%22%01"},
		{"dot.", "dot%2E", "%64ot%2E"},
		{"dots. .", "dots. %2E", "%64ots. %2E"},
		{"blank ", "blank%20", "%62lank%20"},
		{"...", "..%2E", "..%2E"},
		{"con", "%63on", "%63on"},
		{"Con", "%43on", "%43on"},
		{"nul.txt", "%6Eul.txt", "%6Eul.txt"},
		{"NUL .tar.gz", "%4E%55%4C .tar.gz", "%4E%55%4C .tar.gz"},
		{"com¹", "%63om¹", "%63om¹"},
		{"com10", "com10", "%63om10"},
		{"console", "console", "%63onsole"},
		{"latin\xe9", "latin%E9", "%6Catin%E9"},
		{"half\xed\xa0\x80", "half\xed\xa0\x80", "%68alf\xed\xa0\x80"},
	} {
		for _, clash := range []bool{false, true} {
			want := c.want
			if clash {
				want = c.clash
			}
			got := MapName(c.name, clash)
			if got != want {
				t.Errorf("MapName(%q, %v) = %q, want %q", c.name, clash, got, want)
			}
			if impossible(got) {
				t.Errorf("%q is mapped to %q, which is not possible", c.name, got)
			}
			if back := unmap(t, got); back != c.name {
				t.Errorf("%q is mapped to %q, which is mapped back to %q", c.name, got, back)
			}
		}
	}
}

// All names of up to 4 letters from a set that has everything in it that is special.
func TestMapNameIsInjective(t *testing.T) {
	letters := []string{"a", "A", "1", "4", "%", ":", ".", "\xc1", "é", "É", "k", "\u212a"}
	names := []string{""}
	for begin, n := 0, 0; n < 4; n++ {
		end := len(names)
		for _, name := range names[begin:end] {
			for _, l := range letters {
				names = append(names, name+l)
			}
		}
		begin = end
	}
	// As in a folder: the first of the names that differ only in case is mapped without clash.
	names = append(names[1:], "con", "CON", "Con", "cOn", "con.a", "con.A", "CON.a")
	first, got := map[string]string{}, map[string]string{}
	for _, name := range names {
		folded := foldName(MapName(name, false))
		_, clash := first[folded]
		if !clash {
			first[folded] = name
		}
		as := MapName(name, clash)
		if impossible(as) || unmap(t, as) != name {
			t.Fatalf("%q is mapped to %q, which is not possible or not mapped back", name, as)
		}
		if other, found := got[foldName(as)]; found && other != name {
			t.Fatalf("%q and %q are both mapped to %q", name, other, as)
		}
		got[foldName(as)] = name
	}
}

func TestPlainCaseIsOneForAllCases(t *testing.T) {
	for r := range rune(unicode.MaxRune) {
		plain := plainCase(r)
		if next := plainCase(unicode.SimpleFold(r)); next != plain || plainCase(plain) != plain {
			t.Fatalf("%U becomes %U, but its other case %U", r, plain, next)
		}
	}
}

// mapAll makes an empty file for each name, as MapNames does, and returns what the mapper said.
func mapAll(t *testing.T, dir string, names []string) (told []string) {
	t.Helper()
	to, err := Open(dir, Options{Warn: func(path string, err error) { t.Errorf("%q: %v", path, err) }})
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	m, err := to.Mapper()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		as, mapped := m.Enter(name)
		if mapped {
			told = append(told, name)
		}
		e := &tree.Entry{Path: as, Type: tree.TypeFile, Mode: 0o644, Size: int64(len(name)), Mtime: 1e18}
		if err := to.PutFile(e, []byte(name)); err != nil {
			t.Errorf("%q as %q: %v", name, as, err)
		}
	}
	return told
}

// awkward are names, sorted, of which some targets cannot have some.
var awkward = []string{"Aa", "a:b", "aA", "aa", `back\slash`, "con", "dot.", "nul.txt", "question?", "tab\t"}

// TestMapperOfThisSystem maps what the folder for temporary files cannot have, if anything.
func TestMapperOfThisSystem(t *testing.T) {
	dir := t.TempDir()
	told := mapAll(t, dir, awkward)
	if runtime.GOOS == "linux" && len(told) > 0 {
		t.Logf("%s cannot have %q", dir, told)
	}
	wantMapped(t, dir, awkward)
	if runtime.GOOS == "windows" && len(told) != len(awkward)-1 {
		t.Errorf("told of %q, want all but the first of %q", told, awkward)
	}
}

// wantMapped checks that dir has a file for each name, and nothing else.
func wantMapped(t *testing.T, dir string, names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != len(names) {
		t.Errorf("%s has %v, want files for %q", dir, entries, names)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if name := string(b); err != nil || e.Name() != name && unmap(t, e.Name()) != name {
			t.Errorf("%q has the content of %q (error %v)", e.Name(), name, err)
		}
	}
}

// A path goes through folders whose names are mapped, and clashes are those within one folder.
func TestMapperMapsPaths(t *testing.T) {
	m := NewMapper(true)
	var got []string
	for _, path := range []string{".", "A", "A/b", "a", "a/B", "a/b", "c:", "c:/B", "c:/b"} {
		as, mapped := m.Enter(path)
		got = append(got, fmt.Sprint(as, " ", mapped))
	}
	want := []string{". false", "A false", "A/b false", "%61 true", "%61/B false", "%61/%62 true",
		"c%3A true", "c%3A/B false", "c%3A/%62 true"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if as := m.Path("a/b"); as != "%61/%62" {
		t.Errorf("a/b is at %q", as)
	}
}
