package schemas

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vmihailenco/msgpack/v5"

	"servidor-backup/schemas/doctest"
)

// Other programs are written from docs/protocol.md, so its examples must be what this
// package encodes and decodes. Package doctest describes how the examples are marked.

var protocolDoc = filepath.Join("..", "docs", "protocol.md")

// docExample is a message that the document shows.
type docExample struct {
	encoded []byte
	message any                         // the result of decode
	decode  func(b []byte) (any, error) // of this package
}

// structExample is an example of a message that the msgpack library encodes.
func structExample[T any](t *testing.T, message *T) docExample {
	t.Helper()
	b, err := Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	return docExample{b, message, func(b []byte) (any, error) {
		m := new(T)
		return m, Unmarshal(b, m)
	}}
}

func bulkExample[T any](message *T, encoded []byte, decode func([]byte) (*T, error)) docExample {
	return docExample{encoded, message, func(b []byte) (any, error) { return decode(b) }}
}

// filled returns an id whose bytes are all v, so that a reader recognizes it.
func filled[T ~[16]byte | ~[32]byte](v byte) (id T) {
	for i := range len(id) {
		reflect.ValueOf(&id).Elem().Index(i).SetUint(uint64(v))
	}
	return id
}

func docExamples(t *testing.T) map[string]docExample {
	t.Helper()
	examples := map[string]docExample{}
	for _, group := range []map[string]docExample{seedExamples(t), sessionExamples(t), nodeExamples(t), bulkExamples()} {
		for name, e := range group {
			examples[name] = e
		}
	}
	return examples
}

const (
	docTime    = 1_700_000_000_000_000_000
	docSession = "S5Hh0E1v8qkW2nXbT7pLzA"
)

func docPlainVersion() *Version {
	vault := PlainVault("ana")
	return &Version{
		ID: "a.txt@1", Nickname: "ana", Record: "a.txt", Number: 1, Created: docTime, Vault: vault,
		Root: PlainChunkID(vault, []byte("oi")), RootKind: Plain, Files: 1, Bytes: 2, Stored: 2,
		Durability: Durability{K: 1}, Session: "nyHn8Xy0fuRWsD3XvYmpQe",
	}
}

func docSealedVersion() *Version {
	return &Version{
		ID: "photos@7", Nickname: "ana", Record: "photos", Number: 7, Created: docTime, Vault: SealedVault("ana"),
		Root: filled[ChunkID](0x33), RootKind: Tree, Files: 2, Bytes: 3_000_006, Stored: 727,
		Durability: Durability{K: 1}, Session: docSession, Source: filled[SourceID](0xa1), Sealed: []byte("sealed label"),
	}
}

func seedExamples(t *testing.T) map[string]docExample {
	content := []byte("oi")
	plain := docPlainVersion()
	return map[string]docExample{
		"transmit-request": structExample(t, &TransmitRequest{Nickname: "ana", Record: "a.txt", Content: &content}),
		"transmit-reply":   structExample(t, &TransmitReply{Reply: OK, ID: "a.txt@1"}),
		"failure-reply":    structExample(t, &TransmitReply{Reply: Fail(Errorf(BadName, "the nickname is empty"))}),
		"list-request":     structExample(t, &ListRequest{Nickname: "ana"}),
		"list-reply": structExample(t, &ListReply{Reply: OK, Names: []string{"a.txt"}, Records: []Record{{
			Name: "a.txt", Versions: 1, Latest: 1, Created: docTime, Files: 1, Bytes: 2,
		}}}),
		"list-versions-request": structExample(t, &ListRequest{Nickname: "ana", Record: "a.txt"}),
		"list-versions-reply":   structExample(t, &ListReply{Reply: OK, Names: []string{"a.txt"}, Versions: []Version{*plain}}),
		"download-request":      structExample(t, &DownloadRequest{Nickname: "ana", ID: "a.txt@1"}),
		"download-reply":        structExample(t, &DownloadReply{Reply: OK, Record: "a.txt", Content: &content, Version: plain}),
	}
}

func sessionExamples(t *testing.T) map[string]docExample {
	label := []byte("sealed label")
	return map[string]docExample{
		"open-request": structExample(t, &SessionRequest{
			Protocol: ProtocolVersion, Nickname: "ana", Record: "photos",
			Source: filled[SourceID](0xa1), Fingerprint: bytes.Repeat([]byte{0xf1}, 16),
		}),
		"open-reply": structExample(t, &SessionReply{
			Reply: OK, Session: docSession, TTL: 120_000_000_000, Durability: Durability{K: 1}, Map: docMap(),
		}),
		"renew-request": structExample(t, &RenewRequest{Session: docSession}),
		"commit-request": structExample(t, &CommitRequest{
			Session: docSession, Root: filled[ChunkID](0x33), Files: 2, Bytes: 3_000_006, Stored: 727, Sealed: label,
		}),
		"commit-reply": structExample(t, &CommitReply{Reply: OK, Version: docSealedVersion()}),
	}
}

func docMap() *NodeMap {
	n := docNode()
	n.Registered = docTime
	return &NodeMap{Epoch: 5, Nodes: []Node{n}, Durability: Durability{K: 1}}
}

func docNode() Node {
	return Node{
		ID: "abcdefgh23456723", Name: "cellar", Zone: "house", Weight: 251, State: Up, Version: "v1.0.0",
		Capacity: 270_553_174_016, Free: 70_644_908_032, Chunks: 8, Bytes: 3_000_503,
	}
}

func nodeExamples(t *testing.T) map[string]docExample {
	return map[string]docExample{
		"nodes-request":    structExample(t, &NodesRequest{}),
		"nodes-reply":      structExample(t, &NodesReply{Reply: OK, Map: docMap()}),
		"register-request": structExample(t, &RegisterRequest{Protocol: ProtocolVersion, Node: docNode()}),
		"register-reply":   structExample(t, &RegisterReply{Reply: OK, Epoch: 5, Heartbeat: 2_000_000_000}),
		"event": structExample(t, &Event{
			Kind: EventVersionCommitted, Time: docTime, Subject: "a.txt@1", Text: "ana sent a.txt@1: 2 bytes", Owner: "ana",
		}),
		"put-reply":   structExample(t, &PutReply{Reply: OK, Node: "abcdefgh23456723", Window: 33_554_432}),
		"put-refused": structExample(t, &PutReply{Reply: Fail(Errorf(DiskFull, "the disk is full")), Node: "abcdefgh23456723", Window: 33_554_432}),
		"have-reply":  structExample(t, &HaveReply{Reply: OK, Have: []byte{0x01}}),
	}
}

func bulkExamples() map[string]docExample {
	data := Chunk{ID: filled[ChunkID](0x11), Kind: Data, Content: []byte("sealed")}
	tree := Chunk{ID: filled[ChunkID](0x33), Kind: Tree, Trees: []ChunkID{filled[ChunkID](0x22)}, Data: []ChunkID{data.ID}, Content: []byte("sealed")}
	data.Sum, tree.Sum = data.Checksum(), tree.Checksum()
	edges := tree
	edges.Content = nil
	vault := SealedVault("ana")

	put := NewPut(nil, docSession, vault)
	put.Add(&data)
	get, bare := NewChunks(nil), NewChunks(nil)
	get.Add(&tree)
	bare.Add(&edges)
	failed := []Failed{{ID: data.ID, Code: NotHeld, Message: "not here"}}
	ids := &IDsRequest{Vault: vault, IDs: []ChunkID{tree.ID, data.ID}}
	edges.Content = []byte{}
	return map[string]docExample{
		"put-request": bulkExample(&PutRequest{Session: docSession, Vault: vault, Chunks: []Chunk{data}}, put.Put(), DecodePut),
		"ids-request": bulkExample(ids, ids.Encode(), DecodeIDs),
		"get-reply":   bulkExample(&ChunksReply{Reply: OK, Chunks: []Chunk{tree}, Failed: failed}, get.Reply(failed), DecodeChunks),
		"edges-reply": bulkExample(&ChunksReply{Reply: OK, Chunks: []Chunk{edges}}, bare.Reply(nil), DecodeChunks),
	}
}

func TestProtocolDocExamples(t *testing.T) {
	_, blocks := doctest.Read(t, protocolDoc)
	examples := docExamples(t)
	for key := range blocks {
		kind, name, _ := strings.Cut(key, " ")
		if _, known := examples[name]; !known && kind != "vectors" {
			t.Errorf("this test knows no message for the document's block %q", key)
		}
	}
	for name, want := range examples {
		t.Run(name, func(t *testing.T) { checkDocExample(t, blocks["hex "+name], blocks["json "+name], want) })
	}
}

func checkDocExample(t *testing.T, hexBlock, jsonBlock string, want docExample) {
	shown, err := uncommentedHex(hexBlock)
	if err != nil || !bytes.Equal(shown, want.encoded) {
		t.Fatalf("the hex block is wrong (%v), it should be\n%s", err, annotate(want.encoded))
	}
	got, err := want.decode(shown)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.message, got); diff != "" {
		t.Errorf("the bytes decode to something else (-document +bytes):\n%s", diff)
	}
	// Without our structs, the library decodes the bytes as any other client does.
	var generic map[string]any
	if err := msgpack.Unmarshal(shown, &generic); err != nil {
		t.Fatal(err)
	}
	var said any
	d := json.NewDecoder(strings.NewReader(jsonBlock))
	d.UseNumber()
	if err := d.Decode(&said); err != nil || !cmp.Equal(said, asJSON(generic)) {
		pretty, _ := json.MarshalIndent(asJSON(generic), "", "  ")
		t.Errorf("the json block is wrong (%v), it should say\n%s\n%s", err, pretty, cmp.Diff(said, asJSON(generic)))
	}
}

func uncommentedHex(block string) ([]byte, error) {
	var digits strings.Builder
	for line := range strings.Lines(block) {
		code, _, _ := strings.Cut(line, ";")
		digits.WriteString(strings.Join(strings.Fields(code), ""))
	}
	return hex.DecodeString(digits.String())
}

// asJSON converts a decoded msgpack value to the form that a JSON decoder returns. bin
// becomes "bin:" and hex.
func asJSON(v any) any {
	switch v := v.(type) {
	case []byte:
		return "bin:" + hex.EncodeToString(v)
	case map[string]any:
		m := map[string]any{}
		for k, e := range v {
			m[k] = asJSON(e)
		}
		return m
	case []any:
		a := make([]any, len(v))
		for i := range v {
			a[i] = asJSON(v[i])
		}
		return a
	case string, bool, nil:
		return v
	}
	return json.Number(fmt.Sprint(v))
}

// annotate formats a message like the document's hex blocks: one line for each
// field or element, with comments behind semicolons.
func annotate(message []byte) string {
	a := annotator{rest: message}
	a.value("", "", "")
	return a.out.String()
}

type annotator struct {
	rest []byte
	out  strings.Builder
}

// value writes the lines of the next value. code and note start its first line.
func (a *annotator) value(indent, code, note string) {
	h, after, err := readHead(a.rest)
	if err != nil {
		panic(err) // impossible: this package encoded the message
	}
	if h.class == classMap || h.class == classArray {
		what := map[byte]string{classMap: "map of %d", classArray: "list of %d"}[h.class]
		a.line(indent+code+hex.EncodeToString(a.rest[:len(a.rest)-len(after)]), note+fmt.Sprintf(what, h.n))
		a.rest = after
		for range h.n {
			key, name := "", ""
			if h.class == classMap {
				key, name = a.scalar()
				key, name = key+"  ", name+": "
			}
			a.value(indent+"  ", key, name)
		}
		return
	}
	digits, text := a.scalar()
	a.line(indent+code+digits, note+text)
}

// scalar reads a value that contains no other values, and returns it as hex and as text.
func (a *annotator) scalar() (digits, text string) {
	h, after, err := readHead(a.rest)
	if err != nil {
		panic(err)
	}
	head, body := a.rest[:len(a.rest)-len(after)], after[:0]
	switch h.class {
	case classStr:
		body = after[:h.n]
		text = strconv.Quote(string(body))
	case classBin:
		body = after[:h.n]
		text = fmt.Sprintf("bin of %d", h.n)
	case classUint:
		text = fmt.Sprint(h.n)
	default:
		text = map[byte]string{0xc2: "false", 0xc3: "true"}[head[0]]
	}
	a.rest = after[len(body):]
	return strings.TrimSpace(hex.EncodeToString(head) + " " + hex.EncodeToString(body)), text
}

func (a *annotator) line(code, note string) { fmt.Fprintf(&a.out, "%s ; %s\n", code, note) }

// The document names every subject, code, state and field of this package.
func TestProtocolDocIsComplete(t *testing.T) {
	text, _ := doctest.Read(t, protocolDoc)
	spans := codeSpans(text)
	for _, c := range []struct {
		file  string
		words func(ast.Node) []string
	}{
		{"subject.go", constants},
		{"status.go", constants},
		{"nodemap.go", constants},
		{"message.go", fieldNames},
		{"bulk.go", fieldNames},
		{"nodemap.go", fieldNames},
		{"admin.go", fieldNames},
		{"maintenance.go", fieldNames},
		{"admin.go", constants},
	} {
		file, err := parser.ParseFile(token.NewFileSet(), c.file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		words := c.words(file)
		if len(words) == 0 {
			t.Errorf("%s has no words to look for, so this test checks nothing", c.file)
		}
		for _, w := range words {
			// The document shows a prefix of subjects with its last token.
			shown := func(span string) bool { return span == w || c.file == "subject.go" && strings.HasPrefix(span, w) }
			if !slices.ContainsFunc(spans, shown) {
				t.Errorf("%s: the document does not mention `%s`", c.file, w)
			}
		}
	}
}

// codeSpans returns the texts between backticks, outside of fenced blocks' fences.
func codeSpans(text string) (spans []string) {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "```") {
			continue
		}
		for i, part := range strings.Split(line, "`") {
			if i%2 == 1 {
				spans = append(spans, part)
			}
		}
	}
	return spans
}

// constants returns the values of a file's string constants.
func constants(file ast.Node) (values []string) {
	ast.Inspect(file, func(n ast.Node) bool {
		d, ok := n.(*ast.GenDecl)
		if !ok || d.Tok != token.CONST {
			return true
		}
		ast.Inspect(d, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if v, err := strconv.Unquote(lit.Value); err == nil {
					values = append(values, v)
				}
			}
			return true
		})
		return false
	})
	return values
}

// fieldNames returns the names of fields on the wire, from a file's struct tags.
func fieldNames(file ast.Node) (names []string) {
	ast.Inspect(file, func(n ast.Node) bool {
		field, ok := n.(*ast.Field)
		if !ok || field.Tag == nil {
			return true
		}
		if tag, err := strconv.Unquote(field.Tag.Value); err == nil {
			name, _, _ := strings.Cut(reflect.StructTag(tag).Get("msgpack"), ",")
			names = append(names, name)
		}
		return true
	})
	return names
}
