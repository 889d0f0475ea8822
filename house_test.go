// Package house holds no code: its tests hold the shape of the project, as
// docs/design.md draws it.
package house

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "servidor-backup/"

// allowed says which of our packages a package may import. What is not named
// here may import none of ours; tests are free.
var allowed = map[string][]string{
	"schemas":                      {},
	"bus":                          {"schemas"},
	"bus/bustest":                  {"bus", "schemas"},
	"storage":                      {"schemas"},
	"storage/storagetest":          {"storage", "schemas"},
	"storage/node":                 {"schemas", "bus", "storage"},
	"coordinator":                  {"schemas", "bus", "coordinator/catalog", "coordinator/members", "coordinator/gc", "coordinator/internal/lease", "coordinator/internal/session"},
	"coordinator/catalog":          {"schemas", "bus", "coordinator/internal/lease"},
	"coordinator/members":          {"schemas", "bus"},
	"coordinator/gc":               {"schemas", "bus", "coordinator/catalog", "coordinator/internal/session"},
	"coordinator/internal/lease":   {"schemas", "bus"},
	"coordinator/internal/session": {"schemas", "bus", "coordinator/members"},
	"client":                       {"schemas", "bus"},
	"client/treetest":              {},
	"cmd/backup":                   {"schemas", "bus", "storage", "storage/node", "coordinator", "client"},
	"cmd/bench":                    {},
	"cmd/scale":                    {"schemas"},
}

// forbidden are imports that a floor must not have although they are not ours:
// the ground knows no NATS, the engine knows no NATS, libraries know no flags.
var forbidden = map[string][]string{
	"schemas":     {"github.com/nats-io/", "os", "flag", "log"},
	"storage":     {"github.com/nats-io/", "flag", "log"},
	"bus":         {"flag", "log"},
	"coordinator": {"flag", "log", "crypto/aes", "github.com/klauspost/compress"},
	"client":      {"flag", "log"},
}

type goPackage struct {
	ImportPath string
	Name       string
	Doc        string
	Imports    []string
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Name,Doc,Imports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []goPackage
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func TestArrowsPointDownwards(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range packages(t) {
		name, ours := strings.CutPrefix(p.ImportPath, module)
		if !ours {
			continue // the module's own folder: this test
		}
		seen[name] = true
		may, known := allowed[name]
		if !known {
			t.Errorf("the package %s has no place in the house: give it one here and in docs/design.md", name)
		}
		for _, i := range p.Imports {
			if own, ours := strings.CutPrefix(i, module); ours && !contains(may, own) {
				t.Errorf("%s imports %s", name, own)
			}
			for _, bad := range forbidden[name] {
				if i == bad || strings.HasSuffix(bad, "/") && strings.HasPrefix(i, bad) {
					t.Errorf("%s imports %s", name, i)
				}
			}
		}
	}
	for name := range allowed {
		if !seen[name] {
			t.Errorf("the package %s is gone: take it out here and in docs/design.md", name)
		}
	}
}

func TestEveryPackageTellsItsStory(t *testing.T) {
	for _, p := range packages(t) {
		if p.Doc == "" && p.ImportPath != strings.TrimSuffix(module, "/") {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

func contains(all []string, s string) bool {
	for _, a := range all {
		if a == s {
			return true
		}
	}
	return false
}
