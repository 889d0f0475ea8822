//go:build unix

package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"servidor-backup/schemas"
	"servidor-backup/schemas/doctest"
)

// allSentences finds all sentences in the code of the project: the names of their values by reason.
func allSentences(t *testing.T) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	err := filepath.WalkDir(filepath.Join("..", ".."), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && d.Name() != ".." {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			name := ""
			switch f := call.Fun.(type) {
			case *ast.Ident:
				name = f.Name
			case *ast.SelectorExpr:
				name = f.Sel.Name
			}
			at, isSentence := map[string]int{"Explain": 1, "Say": 0, "waitSentence": 0}[name]
			if !isSentence || len(call.Args) < at+2 {
				return true
			}
			reason, ok := literal(call.Args[at])
			if !ok {
				return true // within these functions themselves
			}
			names := []string{}
			if name == "waitSentence" {
				names = []string{"server", "since", "until"}
			} else {
				for i := at + 2; i < len(call.Args); i += 2 {
					value, _ := literal(call.Args[i])
					names = append(names, value)
				}
			}
			slices.Sort(names)
			if before, twice := all[reason]; twice && !slices.Equal(before, names) {
				t.Errorf("%s: the reason %q has other values elsewhere: %q, %q", path, reason, before, names)
			}
			all[reason] = names
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Each sentence of a library can be said in every language and is in the description of the
// protocol, with no values but those that it has.
func TestEverySentenceHasATextInEachLanguage(t *testing.T) {
	all := allSentences(t)
	if len(all) < 50 {
		t.Fatalf("only %d sentences were found", len(all))
	}
	for _, lang := range languages {
		texts := locale(t, lang)
		for reason, names := range all {
			text, ok := texts["reason."+reason]["other"]
			if !ok {
				t.Errorf("%s: there is no text for the reason %q", lang, reason)
			}
			var known []string
			for _, name := range names {
				known = append(known, placeholderName(name))
			}
			for _, name := range placeholders(text) {
				if !slices.Contains(known, name) {
					t.Errorf("%s: the text of %q has {{.%s}}; its values are %q", lang, reason, name, names)
				}
			}
		}
		for key := range texts {
			if reason, ok := strings.CutPrefix(key, "reason."); ok && all[reason] == nil {
				t.Errorf("%s: no sentence has the reason %q", lang, reason)
			}
		}
	}
	doc, _ := doctest.Read(t, filepath.Join("..", "..", "docs", "protocol.md"))
	for reason, names := range all {
		row := "| `" + reason + "` |"
		for i, name := range names {
			row += map[bool]string{true: " ", false: ", "}[i == 0] + "`" + name + "`"
		}
		if !strings.Contains(doc, "\n"+row+" |\n") {
			t.Errorf("docs/protocol.md has no row\n%s |", row)
		}
	}
}

func TestSentencesAreSaidInTheLanguage(t *testing.T) {
	few := schemas.Explain(schemas.NoNode, "too-few-nodes",
		"the durability {durability} needs {needed} storage nodes, {ready} take data now{others}: start more",
		"durability", "1+1", "needed", 2, "ready", 1, "others", schemas.SayOthers([]string{"b: down", "c: disk-full"}))
	full := schemas.Explain(schemas.DiskFull, "disk-full", "{node} {free-bytes} {reserved-bytes}",
		"node", "b", "free-bytes", 48988160, "reserved-bytes", 67108864)
	newer := schemas.Explain(schemas.NoNode, "of-a-newer-server", "as it came")
	changed := schemas.Explain(schemas.NoNode, "too-few-nodes", "without the values that are needed")
	given := schemas.Explain("", "server-given-up", "", "server", "nats://h", "time", 15*time.Minute)
	unread := schemas.Explain("", "not-saved", "save {path}", "path", "Docs").Because(syscall.EACCES)
	for _, test := range []struct {
		err    error
		en, pt string
	}{
		{few, "the durability 1+1 needs 2 storage nodes, 1 take data now (b: down, c: disk full): start more, or let the policy accept less",
			"a durabilidade 1+1 precisa de 2 nós de armazenamento, e 1 aceitam dados agora (b: fora do ar, c: disco cheio): inicie mais, ou permita menos na política"},
		{fmt.Errorf("storage node b: %w", full), "storage node b: the disk of node b is full: 49.0 MB are free, of which 67.1 MB are reserved for the index; make room or add a node",
			"o disco do nó b está cheio: há 49,0 MB livres, dos quais 67,1 MB são reservados para o índice; libere espaço ou acrescente um nó"},
		{newer, "as it came", "faltam nós de armazenamento no ar (as it came)"},
		{changed, "without the values that are needed", "faltam nós de armazenamento no ar (without the values that are needed)"},
		{given, "no server answered at nats://h for 15:00: try again; what was stored is not sent twice",
			"nenhum servidor respondeu em nats://h durante 15:00: tente de novo; o que já está guardado não é enviado outra vez"},
		{unread, "cannot save Docs: permission denied", "não é possível salvar Docs: permissão negada"},
		{errors.Join(unread, unread), "cannot save Docs: permission denied\ncannot save Docs: permission denied",
			"não é possível salvar Docs: permissão negada\nnão é possível salvar Docs: permissão negada"},
		{&fs.PathError{Op: "open", Path: "/x", Err: syscall.ENOSPC}, "open /x: no space left on the disk", "/x: não há espaço no disco"},
	} {
		// As it arrives from another process: only codes have answers.
		arrived := test.err
		if schemas.CodeOf(test.err) != "" {
			r := schemas.Fail(test.err)
			b, err := schemas.Marshal(&r)
			if err != nil {
				t.Fatal(err)
			}
			var got schemas.Reply
			if err := schemas.Unmarshal(b, &got); err != nil {
				t.Fatal(err)
			}
			arrived = got.Err()
		}
		if got := newTexts("en").explain(test.err).text; got != test.en {
			t.Errorf("en: %q, want %q", got, test.en)
		}
		if got := newTexts("pt").explain(arrived).text; got != test.pt {
			t.Errorf("pt: %q, want %q", got, test.pt)
		}
	}
}

// englishWords are words that no Portuguese sentence has.
var englishWords = regexp.MustCompile(`(?i)\b(the|of|is|are|was|were|not|with|and|for|file|folder|cannot|does|answers?|start|again|it|has|have|this|that|from|open|under|already|exists|nothing|such|connection|refused)\b`)

// The failures that people meet most are told in Portuguese from beginning to end.
func TestUsualFailuresArePortuguese(t *testing.T) {
	w := newWorld(t, time.Minute).with("BACKUP_LANG=pt")
	disk := w.dir()
	local := w.local(disk)
	w.write(filepath.Join(w.home, "notas", "carta"), []byte("oi"))
	w.write(filepath.Join(w.home, "outra", "notas", "carta"), []byte("oi"))
	local.expect(exitDone, nil, "transmit", "notas", "--new")
	local.expect(exitDone, nil, "download", "notas", "--to", "volta")
	w.write(filepath.Join(w.home, "vazio", "x"), nil)
	other := local.with("BACKUP_KEY_FILE=" + filepath.Join(w.home, "chave"))
	if err := os.WriteFile(filepath.Join(w.home, "fechado"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		w    *world
		args []string
	}{
		{local, []string{"transmit", "Nada"}},
		{local, []string{"transmit", "outra/notas"}},
		{local, []string{"list", "Nada"}},
		{local, []string{"download", "notas@7"}},
		{local, []string{"download", "notas", "sem-ele", "--to", "ali"}},
		{local, []string{"download", "notas", "--to", "volta"}},
		{local, []string{"download", "notas", "--to", "-"}},
		{local, []string{"node", "drain", "Nada"}},
		{local, []string{"policy", "durability", "9"}},
		{local, []string{"list", "--nickname", "a/b"}},
		{other, []string{"download", "notas", "--to", "ali"}},
		{w, []string{"list", "--server", "nats://127.0.0.1:1"}},
		{w.local(filepath.Join(w.home, "vazio")), []string{"list"}},
		{w, []string{"list"}},
		{local, []string{"lisst"}},
	} {
		o := test.w.run(test.args...)
		if o.code == exitDone {
			t.Errorf("%v did not fail: %v", test.args, o)
		}
		// Commands and flags are the same in both languages.
		said := regexp.MustCompile(`"backup[^"]*"|--[a-z-]+|/\S+`).ReplaceAllString(o.err, "")
		if found := englishWords.FindAllString(said, -1); len(found) > 0 {
			t.Errorf("%v says %q: %s", test.args, found, o.err)
		}
	}
}
