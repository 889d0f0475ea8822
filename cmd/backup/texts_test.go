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
	"github.com/spf13/cobra"

	"servidor-backup/schemas"
)

// locale reads a locale file: key → plural form → text. A text without plural forms has the
// form "other".
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
				t.Errorf("%s names the value of a flag in one language only", key)
			}
		}
	}
}

// use is a call that uses a text.
type use struct {
	key    string
	names  []string // of the placeholders that it fills
	plural bool
	where  token.Position
}

// textCalls maps each method that takes a key to the position of the key in its arguments.
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

// Every key that the program uses exists with exactly the placeholders that the program
// fills, and no other key exists.
func TestTextsAreUsedAsTheyAreWritten(t *testing.T) {
	en := locale(t, "en")
	unused := maps.Clone(en)
	for _, u := range uses(t) {
		forms, ok := en[u.key]
		if !ok {
			t.Errorf("%s: no text %q exists", u.where, u.key)
			continue
		}
		delete(unused, u.key)
		if _, plural := forms["one"]; plural != u.plural {
			t.Errorf("%s: %q has plural forms: %t; is used with a count: %t", u.where, u.key, plural, u.plural)
		}
		for form, text := range forms {
			if diff := cmp.Diff(placeholders(text), u.names); diff != "" {
				t.Errorf("%s: placeholders of %q, %s (-text +use):\n%s", u.where, u.key, form, diff)
			}
		}
	}
	for key := range unused {
		// explain builds these keys from the code of an error.
		code, isCode := strings.CutPrefix(key, "code.")
		if hint, isHint := strings.CutPrefix(key, "hint."); isHint {
			code, isCode = hint, true
		}
		if table, _, _ := strings.Cut(key, "."); table == "reason" {
			continue // see TestEverySentenceHasATextInEachLanguage
		}
		if word, isWord := strings.CutPrefix(key, "word."); isWord && slices.Contains(words, word) {
			continue
		}
		if slices.ContainsFunc(systemErrors, func(s systemError) bool { return s.key == key }) {
			continue
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

// words are what a value of a sentence may be: states of nodes, and why a node takes no data.
var words = []string{
	string(schemas.Up), string(schemas.Draining), string(schemas.Down), string(schemas.Gone), string(schemas.Removed),
	string(schemas.DiskFull), string(schemas.DiskFailed), "silent",
}

// codes are all error codes of package schemas.
var codes = []schemas.Code{
	schemas.BadRequest, schemas.BadName, schemas.TooLarge, schemas.NoNode, schemas.UnknownNickname,
	schemas.UnknownRecord, schemas.UnknownVersion, schemas.UnknownSession, schemas.NameTaken,
	schemas.OtherKey, schemas.OtherSystem, schemas.Incomplete, schemas.Unavailable, schemas.TooNew, schemas.Internal, schemas.CatalogueLost,
	schemas.BadChunk, schemas.DiskFull, schemas.DiskFailed, schemas.Corrupt, schemas.NotHeld,
	schemas.NodeClosed, schemas.UnknownNode, schemas.NotNow, schemas.OtherEpoch, schemas.TooEarly,
}

// Texts name a command as the user types it in the text's language. The first alias of a
// command is its Portuguese name.
func TestTextsNameCommandsInTheirLanguage(t *testing.T) {
	c := newCLI(t)
	root := newRoot(newApp(nil, streams{nil, &c.out, &c.err}, c.environment()))
	root.InitDefaultHelpCmd()
	for lang, known := range map[string]map[string]bool{"en": {}, "pt": {}} {
		other := map[string]string{} // a name in another language → the right name
		for _, cmd := range allCommands(root) {
			right := cmd.Name()
			if lang == "pt" && len(cmd.Aliases) > 0 {
				right = cmd.Aliases[0]
			}
			for _, name := range append([]string{cmd.Name()}, cmd.Aliases...) {
				if name != right {
					other[name] = right
				}
			}
			known[right] = true
		}
		for key, forms := range locale(t, lang) {
			for _, text := range forms {
				for _, m := range commandLine.FindAllStringSubmatch(text, -1) {
					for _, name := range strings.Fields(m[1]) {
						if right, wrong := other[name]; wrong && !known[name] {
							t.Errorf("%s, %s says %q: in this language the command is %q", lang, key, m[0], right)
						}
					}
					if first := strings.Fields(m[1])[0]; !known[first] {
						t.Errorf("%s, %s says %q: no command is called %q", lang, key, m[0], first)
					}
				}
			}
		}
	}
}

// commandLine finds "backup" and the words after it in a hint, or in an example, which
// begins its line.
var commandLine = regexp.MustCompile(`(?:["(|]|\n  )\s*backup(?: --data \S+)?((?: \p{Ll}[\p{Ll}-]*)+)`)

func allCommands(root *cobra.Command) []*cobra.Command {
	var all []*cobra.Command
	for _, cmd := range root.Commands() {
		all = append(append(all, cmd), allCommands(cmd)...)
	}
	return all
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
