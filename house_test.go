// Package house holds no code: its tests hold the shape of the project, as
// docs/design.md draws it.
package house

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const module = "servidor-backup/"

// arrows says which of our packages a package may import. A package that is not here has
// no place in the house. Tests may import anything.
const arrows = `
schemas                   →
schemas/placement         → schemas
schemas/erasure           → schemas
schemas/doctest           →

bus                       → schemas
bus/embedded              →
bus/kv                    → schemas
bus/replica               → bus schemas schemas/placement schemas/erasure
bus/bustest               → bus bus/embedded schemas

storage                   → schemas storage/internal/segment storage/internal/index storage/internal/overlay storage/internal/filecache
storage/internal/segment  → schemas
storage/internal/index    → schemas storage/internal/segment
storage/internal/overlay  →
storage/internal/filecache →
storage/storagetest       → schemas storage
storage/heal              → bus bus/replica schemas schemas/placement schemas/erasure storage
storage/node              → bus bus/replica schemas storage storage/heal
storage/nodetest          → bus bus/bustest bus/embedded bus/replica schemas schemas/placement schemas/erasure storage storage/node storage/storagetest

coordinator               → bus bus/kv bus/replica schemas schemas/placement coordinator/members coordinator/catalog coordinator/gc coordinator/internal/lease coordinator/internal/session
coordinator/members       → bus/kv bus/replica schemas
coordinator/catalog       → bus bus/kv bus/replica schemas schemas/placement coordinator/internal/lease
coordinator/gc            → bus bus/replica schemas schemas/placement coordinator/catalog coordinator/internal/session
coordinator/internal/lease    → bus/kv schemas
coordinator/internal/session  → bus/kv schemas coordinator/members

client                    → bus bus/replica schemas client/internal/archive client/internal/chunk client/internal/download client/internal/restore client/internal/scan client/internal/seal client/internal/target client/internal/transfer client/internal/tree client/internal/upload
client/internal/seal      → schemas client/internal/osfs
client/internal/chunk     → schemas
client/internal/osfs      →
client/internal/tree      → schemas client/internal/seal
client/internal/ignore    →
client/internal/scan      → client/internal/ignore client/internal/osfs client/internal/tree schemas
client/internal/transfer  → bus schemas
client/internal/upload    → bus/replica schemas schemas/placement schemas/erasure client/internal/chunk client/internal/seal client/internal/transfer
client/internal/archive   → schemas client/internal/chunk client/internal/download client/internal/osfs client/internal/scan client/internal/seal client/internal/transfer client/internal/tree client/internal/upload
client/internal/download  → bus bus/replica schemas client/internal/chunk client/internal/seal client/internal/transfer client/internal/tree
client/internal/target    → client/internal/osfs client/internal/tree
client/internal/restore   → schemas client/internal/chunk client/internal/download client/internal/seal client/internal/target client/internal/transfer client/internal/tree
client/internal/clienttest →
client/treetest           →

cmd/backup                → bus bus/embedded client coordinator schemas schemas/placement storage storage/node
cmd/bench                 →
cmd/simulate              → schemas schemas/placement
`

// only says which packages may import something that is not ours. A name that ends in a
// slash stands for everything below it.
var only = map[string][]string{
	// A program that connects carries no server.
	"github.com/nats-io/nats-server/": {"bus/embedded"},
	// The ground and the engine know no network.
	"github.com/nats-io/nats.go": {
		"bus", "bus/embedded", "bus/kv", "bus/replica", "bus/bustest", "storage/heal", "storage/node", "storage/nodetest",
		"coordinator", "coordinator/members", "coordinator/catalog", "coordinator/gc", "client", "cmd/backup",
	},
	// The index is derived from the segments, and nobody else has a database.
	"github.com/cockroachdb/pebble/v2": {"storage/internal/index"},
	// One room has key material, so server code cannot open what clients have sealed.
	"crypto/aes":    {"client/internal/seal"},
	"crypto/cipher": {"client/internal/seal"},
	"crypto/":       {"bus/embedded", "client/internal/seal", "client/internal/target", "storage", "cmd/backup", "cmd/bench"}, // random names, salts, sums
	"github.com/zeebo/blake3": {
		"client/internal/seal", "schemas", "schemas/placement", "bus/kv", "storage", "storage/internal/segment",
	},
	"golang.org/x/crypto/":             {},
	"github.com/klauspost/compress/":   {"client/internal/seal"},
	"github.com/klauspost/reedsolomon": {"schemas/erasure"},
	// What comes back from a vault reaches the disk through one door.
	"golang.org/x/sys/unix":    {"client/internal/osfs", "client/internal/scan", "client/treetest", "storage/storagetest", "cmd/backup", "cmd/bench"},
	"golang.org/x/sys/windows": {"client/internal/osfs", "client/internal/scan", "cmd/backup", "cmd/bench"},
	"github.com/pkg/xattr":     {"client/internal/osfs", "client/treetest"},
	// Libraries have no flags, and log through the logger that they are given.
	"flag":                    {},
	"log":                     {},
	"github.com/spf13/cobra":  {"cmd/backup"},
	"gonum.org/v1/plot/":      {"cmd/bench", "cmd/simulate"},
	"github.com/pelletier/":   {"cmd/backup"},
	"github.com/nicksnyder/":  {"cmd/backup"},
	"github.com/vbauerster/":  {"cmd/backup"},
	"github.com/nats-io/nuid": {"bus", "bus/embedded", "bus/kv", "bus/replica", "coordinator", "coordinator/catalog", "coordinator/internal/lease", "storage/heal", "storage/node", "client", "cmd/backup"},
}

// process are names of the standard library by which a package reads its environment,
// prints, or exits. Only commands may.
var process = []string{
	"os.Getenv", "os.LookupEnv", "os.Environ", "os.Exit", "os.Stdin", "os.Stdout", "os.Stderr", "os.Args",
	"fmt.Print", "fmt.Printf", "fmt.Println",
}

// writes are names of the standard library that change the disk, and writers the packages
// of the client that may use them: the door of a restore, and the room of the key file.
var (
	writes = []string{
		"os.Create", "os.CreateTemp", "os.OpenFile", "os.Mkdir", "os.MkdirAll", "os.MkdirTemp", "os.WriteFile",
		"os.Rename", "os.Remove", "os.RemoveAll", "os.Chmod", "os.Chown", "os.Lchown", "os.Chtimes", "os.Symlink",
		"os.Link", "os.Truncate",
	}
	writers = []string{"client/internal/osfs", "client/internal/target", "client/internal/seal"}
)

// buckets are the packages that read and write key-value buckets. Others go through them.
var buckets = []string{
	"coordinator", "coordinator/members", "coordinator/catalog", "coordinator/internal/lease", "coordinator/internal/session",
}

type goPackage struct {
	Dir, ImportPath, Name, Doc string
	GoFiles, IgnoredGoFiles    []string
	Imports                    []string
}

// name is the package's path within the module.
func (p *goPackage) name() string { return strings.TrimPrefix(p.ImportPath, module) }

// isCommand reports whether it is a program, which may do what libraries may not.
func (p *goPackage) isCommand() bool { return p.Name == "main" }

// isForTests reports whether only tests import it.
func (p *goPackage) isForTests() bool { return strings.HasSuffix(p.Name, "test") }

// parse reads the package's files, for every system, tests apart.
func (p *goPackage) parse(t *testing.T) (files map[string]*ast.File, fset *token.FileSet) {
	t.Helper()
	files, fset = map[string]*ast.File{}, token.NewFileSet()
	for _, name := range slices.Concat(p.GoFiles, p.IgnoredGoFiles) {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = f
	}
	return files, fset
}

// packages asks go list. It reads the folders itself as well, so that a cached result of
// these tests is not taken when a file has come or gone.
func packages(t *testing.T) (all []*goPackage) {
	t.Helper()
	if err := filepath.WalkDir(".", func(string, fs.DirEntry, error) error { return nil }); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("go", "list", "-json=Dir,ImportPath,Name,Doc,GoFiles,IgnoredGoFiles,Imports", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		p := new(goPackage)
		err := d.Decode(p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(p.ImportPath, module) { // not this folder
			all = append(all, p)
		}
	}
	if len(all) == 0 {
		t.Fatal("go list names no package: this test is blind")
	}
	return all
}

// allowed reads arrows.
func allowed(t *testing.T) map[string][]string {
	t.Helper()
	may := map[string][]string{}
	for line := range strings.Lines(arrows) {
		name, targets, isRow := strings.Cut(line, "→")
		if name = strings.TrimSpace(name); !isRow {
			continue
		}
		if _, twice := may[name]; twice {
			t.Errorf("arrows names %s twice", name)
		}
		may[name] = strings.Fields(targets)
	}
	return may
}

// matches reports whether an import is the one named, or below it if the name ends in a
// slash.
func matches(path, name string) bool {
	return path == name || strings.HasSuffix(name, "/") && strings.HasPrefix(path, name)
}

func TestArrowsPointDownwards(t *testing.T) {
	may, drawn := allowed(t), map[string]bool{}
	for _, p := range packages(t) {
		targets, known := may[p.name()]
		if !known {
			t.Errorf("the package %s has no place in the house: give it one here and in docs/design.md", p.name())
		}
		for _, i := range p.Imports {
			if own, isOurs := strings.CutPrefix(i, module); isOurs {
				drawn[p.name()+" → "+own] = true
				if !slices.Contains(targets, own) {
					t.Errorf("%s imports %s", p.name(), own)
				}
			}
		}
		delete(may, p.name())
		for _, target := range targets {
			if !drawn[p.name()+" → "+target] {
				t.Errorf("%s does not import %s any more: take the arrow out", p.name(), target)
			}
		}
	}
	for name := range may {
		t.Errorf("the package %s is gone: take it out here and in docs/design.md", name)
	}
}

// An import of go list is what this system builds; files of other systems are read too.
func TestImportsStayInTheirRooms(t *testing.T) {
	for _, p := range packages(t) {
		files, _ := p.parse(t)
		for name, f := range files {
			for _, i := range f.Imports {
				imported := strings.Trim(i.Path.Value, `"`)
				for what, rooms := range only {
					if matches(imported, what) && !slices.Contains(rooms, p.name()) {
						t.Errorf("%s imports %s, which only %v may", path.Join(p.name(), name), imported, rooms)
					}
				}
				if imported == module+"bus/kv" && !slices.Contains(buckets, p.name()) && !p.isForTests() {
					t.Errorf("%s uses buckets, which only %v may", path.Join(p.name(), name), buckets)
				}
				if imported == module+"bus/embedded" && p.name() != "cmd/backup" && !p.isForTests() {
					t.Errorf("%s carries a NATS server, which only cmd/backup and tests may", path.Join(p.name(), name))
				}
			}
		}
	}
}

func TestLibrariesLeaveTheProcessAlone(t *testing.T) {
	for _, p := range packages(t) {
		if p.isCommand() || p.isForTests() {
			continue
		}
		bad := process
		if strings.HasPrefix(p.name()+"/", "client/") && !slices.Contains(writers, p.name()) {
			bad = slices.Concat(process, writes)
		}
		files, fset := p.parse(t)
		for _, f := range files {
			ast.Inspect(f, func(n ast.Node) bool {
				s, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				if x, ok := s.X.(*ast.Ident); ok && slices.Contains(bad, x.Name+"."+s.Sel.Name) {
					t.Errorf("%v: a library must not use %s.%s here", fset.Position(s.Pos()), x.Name, s.Sel.Name)
				}
				return true
			})
		}
	}
}

// goFile is a file name in a package comment.
var goFile = regexp.MustCompile(`\b[a-z][a-z0-9_]*\.go\b`)

// A package comment tells the package's story. It has no map of the files, which nobody
// would keep true.
func TestEveryPackageTellsItsStory(t *testing.T) {
	for _, p := range packages(t) {
		if p.Doc == "" {
			t.Errorf("%s has no package comment", p.name())
		}
		comments := 0
		files, _ := p.parse(t)
		for name, f := range files {
			if f.Doc == nil {
				continue
			}
			comments++
			for _, named := range goFile.FindAllString(f.Doc.Text(), -1) {
				if named != "nats.go" { // a module
					t.Errorf("the package comment in %s names the file %s", path.Join(p.name(), name), named)
				}
			}
		}
		if comments > 1 {
			t.Errorf("%s has %d package comments", p.name(), comments)
		}
	}
}

const (
	mostLines = 4000 // of a package, without tests
	mostFiles = 6    // in which a type has methods
)

// A package that grows past reading, or a type that is everywhere, wants a wall.
func TestPackagesCanBeRead(t *testing.T) {
	for _, p := range packages(t) {
		lines, methods := 0, map[string]map[string]bool{}
		files, _ := p.parse(t)
		for name, f := range files {
			b, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			lines += strings.Count(string(b), "\n")
			for _, d := range f.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv != nil {
					receiver := typeName(fn.Recv.List[0].Type)
					if methods[receiver] == nil {
						methods[receiver] = map[string]bool{}
					}
					methods[receiver][name] = true
				}
			}
		}
		if lines > mostLines && p.name() != "cmd/backup" && p.name() != "cmd/bench" {
			t.Errorf("%s has %d lines, want %d at most", p.name(), lines, mostLines)
		}
		for receiver, in := range methods {
			if len(in) > mostFiles {
				t.Errorf("%s.%s has methods in %d files, want %d at most", p.name(), receiver, len(in), mostFiles)
			}
		}
	}
}

// typeName is the name of a receiver's type.
func typeName(e ast.Expr) string {
	switch x := e.(type) {
	case *ast.StarExpr:
		return typeName(x.X)
	case *ast.IndexExpr:
		return typeName(x.X)
	case *ast.IndexListExpr:
		return typeName(x.X)
	case *ast.Ident:
		return x.Name
	}
	return "?"
}
