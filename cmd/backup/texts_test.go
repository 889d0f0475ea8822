package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"

	"servidor-backup/schemas"
)

// locale reads a locale file: key → plural form → text. A text without forms
// has the form "other".
func locale(t *testing.T, lang string) map[string]map[string]string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("locales", "active."+lang+".toml"))
	if err != nil {
		t.Fatal(err)
	}
	var tables map[string]map[string]any
	if err := toml.Unmarshal(data, &tables); err != nil {
		t.Fatal(err)
	}
	texts := map[string]map[string]string{}
	for table, entries := range tables {
		for key, value := range entries {
			switch value := value.(type) {
			case string:
				texts[table+"."+key] = map[string]string{"other": value}
			case map[string]any:
				forms := map[string]string{}
				for form, text := range value {
					forms[form] = text.(string)
				}
				texts[table+"."+key] = forms
			}
		}
	}
	return texts
}

var placeholder = regexp.MustCompile(`\{\{\.(\w+)\}\}`)

func placeholders(text string) []string {
	var names []string
	for _, m := range placeholder.FindAllStringSubmatch(text, -1) {
		names = append(names, m[1])
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func TestLocalesSayTheSame(t *testing.T) {
	en, pt := locale(t, "en"), locale(t, "pt")
	if diff := cmp.Diff(slices.Sorted(maps.Keys(en)), slices.Sorted(maps.Keys(pt))); diff != "" {
		t.Fatalf("keys (-en +pt):\n%s", diff)
	}
	for key := range en {
		if diff := cmp.Diff(slices.Sorted(maps.Keys(en[key])), slices.Sorted(maps.Keys(pt[key]))); diff != "" {
			t.Errorf("forms of %s (-en +pt):\n%s", key, diff)
		}
		for form := range en[key] {
			if diff := cmp.Diff(placeholders(en[key][form]), placeholders(pt[key][form])); diff != "" {
				t.Errorf("placeholders of %s (-en +pt):\n%s", key, diff)
			}
			if strings.Count(en[key][form], "`") != strings.Count(pt[key][form], "`") {
				t.Errorf("%s names a flag's value in one language only", key)
			}
		}
	}
}

// use is a call that needs a text.
type use struct {
	key    string
	names  []string // of the placeholders that it fills
	plural bool
	where  token.Position
}

// textCalls are the functions that take a key, and at which argument.
var textCalls = map[string]int{"t": 0, "n": 0, "usage": 0, "partial": 0, "fail": 2, "failHint": 3}

// uses finds all such calls with a literal key in the program.
func uses(t *testing.T) []use {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var all []use
	set := token.NewFileSet()
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		tree, err := parser.ParseFile(set, file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if u, ok := textUse(call); ok {
					u.where = set.Position(call.Pos())
					all = append(all, u)
				}
			}
			return true
		})
	}
	return all
}

func textUse(call *ast.CallExpr) (u use, ok bool) {
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return u, false
	}
	at, ok := textCalls[method.Sel.Name]
	if !ok || at >= len(call.Args) {
		return u, false
	}
	if u.key, ok = literal(call.Args[at]); !ok {
		return u, false
	}
	next := at + 1
	switch name := method.Sel.Name; name {
	case "n", "partial":
		u.plural, u.names = true, []string{"Count"}
		next++
	case "fail", "failHint":
		if cause, isName := call.Args[1].(*ast.Ident); !isName || cause.Name != "nil" {
			u.names = []string{"Detail"}
		}
	}
	for ; next+1 < len(call.Args); next += 2 {
		name, _ := literal(call.Args[next])
		u.names = append(u.names, name)
	}
	slices.Sort(u.names)
	return u, true
}

func literal(e ast.Expr) (string, bool) {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(l.Value)
	return s, err == nil
}

// TestTextsAreUsedAsTheyAreWritten: every key in the program exists with
// exactly the placeholders that the program fills, and no other key exists.
func TestTextsAreUsedAsTheyAreWritten(t *testing.T) {
	en := locale(t, "en")
	unused := maps.Clone(en)
	for _, u := range uses(t) {
		forms, ok := en[u.key]
		if !ok {
			t.Errorf("%s: there is no text %q", u.where, u.key)
			continue
		}
		delete(unused, u.key)
		if _, plural := forms["one"]; plural != u.plural {
			t.Errorf("%s: %q has plural forms: %t, is used so: %t", u.where, u.key, plural, u.plural)
		}
		for form, text := range forms {
			if diff := cmp.Diff(placeholders(text), u.names); diff != "" {
				t.Errorf("%s: placeholders of %q, %s (-text +use):\n%s", u.where, u.key, form, diff)
			}
		}
	}
	for key := range unused {
		// explain makes these keys from the code of an error.
		code, isCode := strings.CutPrefix(key, "code.")
		if hint, isHint := strings.CutPrefix(key, "hint."); isHint {
			code, isCode = hint, true
		}
		if !isCode || !slices.Contains(codes, schemas.Code(code)) {
			t.Errorf("the text %q is never used", key)
		}
	}
	for _, code := range codes {
		if diff := cmp.Diff([]string{"Detail"}, placeholders(en["code."+string(code)]["other"])); diff != "" {
			t.Errorf("code.%s: %s", code, diff)
		}
	}
}

// codes are all that package schemas knows.
var codes = []schemas.Code{
	schemas.BadRequest, schemas.BadName, schemas.TooLarge, schemas.NoNode, schemas.UnknownNickname,
	schemas.UnknownRecord, schemas.UnknownVersion, schemas.UnknownSession, schemas.NameTaken,
	schemas.OtherKey, schemas.Incomplete, schemas.Unavailable, schemas.TooNew, schemas.Internal,
	schemas.BadChunk, schemas.DiskFull, schemas.DiskFailed, schemas.Corrupt, schemas.NotHeld,
	schemas.NodeClosed, schemas.UnknownNode, schemas.NotNow, schemas.OtherEpoch, schemas.TooEarly,
}

func TestPlurals(t *testing.T) {
	for lang, want := range map[string][]string{
		"en": {"0 entries", "1 entry", "2 entries", "1,000,000 entries"},
		"pt": {"0 item", "1 item", "2 itens", "1.000.000 itens"},
	} {
		x := newTexts(lang)
		for i, count := range []int64{0, 1, 2, 1_000_000} {
			if got := x.n("progress.files", count); got != want[i] {
				t.Errorf("%s: %q, want %q", lang, got, want[i])
			}
		}
	}
}

func TestLanguageIsChosen(t *testing.T) {
	for _, test := range []struct {
		want string
		file string
		vars map[string]string
		args []string
	}{
		{"en", "", nil, nil},
		{"pt", "", map[string]string{"LANG": "pt_BR.UTF-8"}, nil},
		{"pt", "", map[string]string{"LANG": "en_US", "LC_MESSAGES": "pt_PT"}, nil},
		{"en", "", map[string]string{"LANG": "pt_BR.UTF-8", "LC_ALL": "C"}, nil},
		{"en", "", map[string]string{"LANG": "de_DE.UTF-8"}, nil},
		{"pt", "lang = 'pt'", map[string]string{"LANG": "en_US"}, nil},
		{"en", "lang = 'pt'", map[string]string{"BACKUP_LANG": "en"}, nil},
		{"pt", "", map[string]string{"BACKUP_LANG": "en"}, []string{"--lang", "pt-BR"}},
		{"pt", "", nil, []string{"list", "--bogus", "--lang=pt"}},
		{"en", "", nil, []string{"list", "--", "--lang=pt"}},
	} {
		c := newCLI(t)
		c.vars = test.vars
		if test.file != "" {
			c.writeConfig(t, test.file)
		}
		a := newApp(test.args, streams{nil, &c.out, &c.err}, c.environment())
		if a.lang != test.want {
			t.Errorf("%+v: %s", test, a.lang)
		}
	}
}
