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
	"schemas/placement":            {"schemas"},
	"schemas/erasure":              {"schemas"},
	"schemas/doctest":              {},
	"bus":                          {"schemas"},
	"bus/embedded":                 {},
	"bus/kv":                       {"schemas"},
	"bus/replica":                  {"schemas", "schemas/placement", "schemas/erasure", "bus"},
	"bus/bustest":                  {"bus", "bus/embedded", "schemas"},
	"storage":                      {"schemas", "storage/internal/index", "storage/internal/segment"},
	"storage/internal/index":       {"schemas", "storage/internal/segment"},
	"storage/internal/segment":     {"schemas"},
	"storage/storagetest":          {"storage", "schemas"},
	"storage/heal":                 {"schemas", "schemas/placement", "schemas/erasure", "bus", "bus/replica", "storage"},
	"storage/node":                 {"schemas", "bus", "bus/replica", "storage", "storage/heal"},
	"storage/nodetest":             {"schemas", "schemas/placement", "schemas/erasure", "bus", "bus/bustest", "bus/embedded", "bus/replica", "storage", "storage/node", "storage/storagetest"},
	"coordinator":                  {"schemas", "schemas/placement", "bus", "bus/kv", "bus/replica", "coordinator/catalog", "coordinator/members", "coordinator/gc", "coordinator/internal/lease", "coordinator/internal/session"},
	"coordinator/catalog":          {"schemas", "schemas/placement", "bus", "bus/kv", "bus/replica", "coordinator/internal/lease"},
	"coordinator/members":          {"schemas", "bus/kv", "bus/replica"},
	"coordinator/gc":               {"schemas", "schemas/placement", "bus", "bus/replica", "coordinator/catalog", "coordinator/internal/session"},
	"coordinator/internal/lease":   {"schemas", "bus/kv"},
	"coordinator/internal/session": {"schemas", "bus/kv", "coordinator/members"},
	"client":                       {"schemas", "schemas/placement", "schemas/erasure", "bus", "bus/replica"},
	"client/treetest":              {},
	"cmd/backup":                   {"schemas", "schemas/placement", "bus", "bus/embedded", "storage", "storage/node", "coordinator", "client"},
	"cmd/bench":                    {},
	"cmd/simulate":                 {"schemas", "schemas/placement"},
}

// forbidden are imports that a floor must not have although they are not ours:
// the ground knows no NATS, the engine knows no NATS, libraries know no flags.
var forbidden = map[string][]string{
	"schemas": {"github.com/nats-io/", "os", "flag", "log"},
	"storage": {"github.com/nats-io/", "github.com/cockroachdb/pebble/v2", "flag", "log", "crypto/aes"},

	"storage/internal/index":   {"github.com/nats-io/", "os", "flag", "log", "crypto/aes"},
	"storage/internal/segment": {"github.com/nats-io/", "github.com/cockroachdb/pebble/v2", "os", "flag", "log", "crypto/aes"},

	"bus":         {"flag", "log"},
	"coordinator": {"flag", "log", "crypto/aes", "github.com/klauspost/compress"},
	"client":      {"flag", "log"},
}

// only says which packages of ours may import something at all, tests apart.
var only = map[string][]string{
	"github.com/nats-io/nats-server/": {"bus/embedded"},
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
				if matches(i, bad) {
					t.Errorf("%s imports %s", name, i)
				}
			}
			for what, who := range only {
				if matches(i, what) && !contains(who, name) {
					t.Errorf("%s imports %s, which only %v may", name, i, who)
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

// matches reports whether an import is the one named, or below it if the name ends in a
// slash.
func matches(path, name string) bool {
	return path == name || strings.HasSuffix(name, "/") && strings.HasPrefix(path, name)
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
