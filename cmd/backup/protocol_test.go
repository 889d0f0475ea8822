//go:build unix

package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/vmihailenco/msgpack/v5"
	"github.com/zeebo/blake3"
)

// These tests talk to the system as a program in another language would: with msgpack maps made
// by hand. They must not use the packages schemas and bus, because then a change of the wire
// format would change both sides and stay unnoticed.

// The seed's status codes.
const (
	wireSuccess     = 255
	wireCoordinator = 158
	wireStorage     = 906
)

// fields is one message.
type fields map[string]any

// wire is a connection that knows only msgpack and NATS.
type wire struct {
	*world
	nc *nats.Conn
}

func (w *world) dialWire(url string) *wire {
	w.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(nc.Close)
	return &wire{w, nc}
}

func (w *wire) encode(v any) []byte {
	w.Helper()
	b, err := msgpack.Marshal(v)
	if err != nil {
		w.Fatal(err)
	}
	return b
}

func (w *wire) decode(b []byte) fields {
	w.Helper()
	d := msgpack.NewDecoder(bytes.NewReader(b))
	m, err := d.DecodeMap()
	if err != nil {
		w.Fatalf("the message % x is no map: %v", b[:min(len(b), 64)], err)
	}
	return m
}

// ask sends a request and returns the answer with any status.
func (w *wire) ask(subject string, request any) fields {
	w.Helper()
	answer, _ := w.askBytes(subject, w.encode(request))
	return answer
}

func (w *wire) askBytes(subject string, request []byte) (fields, nats.Header) {
	w.Helper()
	m, err := w.nc.RequestWithContext(w.ctx, subject, request)
	if err != nil {
		w.Fatalf("%s: %v", subject, err)
	}
	return w.decode(m.Data), m.Header
}

// get returns the value of a field, which must have the type T.
func get[T any](w *wire, m fields, name string) T {
	w.Helper()
	v, ok := m[name].(T)
	if !ok {
		w.Fatalf("the field %q is %T %v", name, m[name], m[name])
	}
	return v
}

// number returns the value of an integer field; msgpack has ten types of integers.
func number(w *wire, m fields, name string) int64 {
	w.Helper()
	switch n := reflect.ValueOf(m[name]); {
	case n.CanInt():
		return n.Int()
	case n.CanUint():
		return int64(n.Uint())
	}
	w.Fatalf("the field %q is %T %v", name, m[name], m[name])
	return 0
}

// succeed asks and demands the status 255.
func (w *wire) succeed(subject string, request any) fields {
	w.Helper()
	answer := w.ask(subject, request)
	if number(w, answer, "status") != wireSuccess {
		w.Fatalf("%s: %v", subject, answer)
	}
	return answer
}

// refuse asks and demands a failure: its status, its code, a sentence, and the same in the
// headers of NATS micro services.
func (w *wire) refuse(subject string, request []byte, status int64, code string) (sentence string) {
	w.Helper()
	answer, header := w.askBytes(subject, request)
	if number(w, answer, "status") != status || answer["code"] != code {
		w.Fatalf("want %d %s: %v", status, code, answer)
	}
	sentence = get[string](w, answer, "message")
	if sentence == "" {
		w.Error("no sentence")
	}
	if got := header.Get("Nats-Service-Error-Code"); got != strconv.FormatInt(status, 10) {
		w.Errorf("Nats-Service-Error-Code: %q", got)
	}
	if got := header.Get("Nats-Service-Error"); !strings.HasPrefix(got, code+": ") {
		w.Errorf("Nats-Service-Error: %q", got)
	}
	return sentence
}

// sub runs a subtest.
func (w *wire) sub(name string, f func(*wire)) {
	w.Helper()
	w.Run(name, func(t *testing.T) {
		world := *w.world
		world.T = t
		f(&wire{&world, w.nc})
	})
}

func keysOf(m fields) []string { return slices.Sorted(maps.Keys(m)) }

// system starts a whole system and connects to it.
func (w *world) system() *wire {
	w.Helper()
	_, url := w.up(w.dir())
	return w.dialWire(url)
}

func TestSeedProtocol(t *testing.T) {
	w := newWorld(t, time.Minute).system()
	for i, content := range []any{"text as str", []byte("bytes as bin"), []byte{}, "", []byte{0xff, 0, 0x80}, bytes.Repeat([]byte("x"), 1_000_000)} {
		name := fmt.Sprintf("relatório %d.txt", i)
		answer := w.succeed("backup.transmit", fields{"apelido": "ana", "nome_arquivo": name, "conteudo_arquivo": content})
		if got := keysOf(answer); !slices.Equal(got, []string{"id", "status"}) {
			t.Errorf("the answer to transmit has the fields %q", got)
		}
		want := fmt.Appendf(nil, "%s", content)
		for _, id := range []string{get[string](w, answer, "id"), name} {
			back := w.succeed("backup.download", fields{"apelido": "ana", "id_arquivo": id})
			if back["nome_arquivo"] != name {
				t.Errorf("nome_arquivo is %v", back["nome_arquivo"])
			}
			if got := get[[]byte](w, back, "conteudo_arquivo"); !bytes.Equal(got, want) {
				t.Errorf("%s: %d of %d bytes were restored", id, len(got), len(want))
			}
		}
	}
	list := w.succeed("backup.list", fields{"apelido": "ana"})
	names := get[[]any](w, list, "list_nome_arquivo")
	if len(names) != 6 || names[0] != "relatório 0.txt" || names[5] != "relatório 5.txt" {
		t.Errorf("list_nome_arquivo is %v", names)
	}
	if records := get[[]any](w, list, "records"); len(records) != len(names) {
		t.Errorf("there are %d records", len(records))
	}
}

func TestSeedVersions(t *testing.T) {
	w := newWorld(t, time.Minute).system()
	var ids []string
	for _, content := range []string{"first", "second"} {
		answer := w.succeed("backup.transmit", fields{"apelido": "ana", "nome_arquivo": "doc", "conteudo_arquivo": content})
		ids = append(ids, get[string](w, answer, "id"))
	}
	if ids[0] == ids[1] {
		t.Fatalf("both versions have the id %q", ids[0])
	}
	for id, want := range map[string]string{ids[0]: "first", ids[1]: "second", "doc": "second"} {
		back := w.succeed("backup.download", fields{"apelido": "ana", "id_arquivo": id})
		if got := string(get[[]byte](w, back, "conteudo_arquivo")); got != want {
			t.Errorf("%s is %q", id, got)
		}
	}
	list := w.succeed("backup.list", fields{"apelido": "ana"})
	if names := get[[]any](w, list, "list_nome_arquivo"); len(names) != 1 {
		t.Errorf("a record is listed as %v", names)
	}
	// Each nickname has its own records.
	w.succeed("backup.transmit", fields{"apelido": "rui", "nome_arquivo": "doc", "conteudo_arquivo": "his"})
	back := w.succeed("backup.download", fields{"apelido": "ana", "id_arquivo": "doc"})
	if got := string(get[[]byte](w, back, "conteudo_arquivo")); got != "second" {
		t.Errorf("ana's doc is %q", got)
	}
}

// A record that was saved with the seed's message is a record like any other to the commands.
func TestClientRestoresSeedFile(t *testing.T) {
	w := newWorld(t, time.Minute).system()
	w.succeed("backup.transmit", fields{"apelido": "ana", "nome_arquivo": "doc", "conteudo_arquivo": "hello"})
	if got := w.ok("download", "doc", "--to", "-").out; got != "hello" {
		t.Errorf("%q", got)
	}
	w.expect(exitDone, []string{"doc"}, "list")
	w.expect(exitFailed, []string{"unsealed", "--name"}, "transmit", "--name", "doc", w.home)
}

func TestBadRequestsAreRefused(t *testing.T) {
	w := newWorld(t, time.Minute).system()
	w.succeed("backup.transmit", fields{"apelido": "ana", "nome_arquivo": "doc", "conteudo_arquivo": "x"})
	good := map[string]fields{
		"backup.transmit":  {"apelido": "ana", "nome_arquivo": "doc", "conteudo_arquivo": "x"},
		"backup.list":      {"apelido": "ana"},
		"backup.download":  {"apelido": "ana", "id_arquivo": "doc"},
		"storage.register": {"protocol": 1, "node": fields{"id": "abc", "name": "n", "weight": 1, "state": "up"}},
	}
	for subject, base := range good {
		for name, payload := range notMessages(w) {
			w.sub(subject+" "+name, func(w *wire) { w.refuse(subject, payload, wireCoordinator, "bad-request") })
		}
		for field := range base {
			for name, value := range map[string]any{"fraction": 1.5, "list": []any{1, "a"}, "true": true} {
				w.sub(fmt.Sprintf("%s with %s a %s", subject, field, name), func(w *wire) {
					w.refuse(subject, w.encode(with(base, field, value)), wireCoordinator, "bad-request")
				})
			}
		}
	}
	for name, bad := range badNames {
		w.sub(name, func(w *wire) {
			for subject, base := range good {
				for _, field := range []string{"apelido", "nome_arquivo", "id_arquivo"} {
					if _, has := base[field]; has {
						w.refuse(subject, w.encode(with(base, field, bad)), wireCoordinator, "bad-name")
					}
				}
			}
		})
	}
}

// badNames are invalid as nicknames and as names of records.
var badNames = map[string]string{
	"empty name": "", "long name": strings.Repeat("n", 1025), "name with NUL": "a\x00b", "name with slash": "a/b",
	"name that is dots": "..", "name that is a dot": ".", "name with newline": "a\nb", "name that is no UTF-8": "a\xffb",
}

// notMessages are payloads that are not a msgpack map.
func notMessages(w *wire) map[string][]byte {
	message := w.encode(fields{"apelido": "ana", "nome_arquivo": "doc", "conteudo_arquivo": "x", "id_arquivo": "doc"})
	nested := append(bytes.Repeat([]byte{0x81, 0xa1, 'a'}, 100_000), 0xc0)
	return map[string][]byte{
		"empty": {}, "text": []byte("hello"), "json": []byte(`{"apelido":"ana"}`), "list": w.encode([]string{"ana"}),
		"number": {7}, "cut short": message[:len(message)-1], "with trailing bytes": append(slices.Clone(message), 0xc0),
		"of 4 G elements": {0xdf, 0xff, 0xff, 0xff, 0xff}, "nested deep": nested,
		"with 4 GB of text": {0x81, 0xa7, 'a', 'p', 'e', 'l', 'i', 'd', 'o', 0xdb, 0xff, 0xff, 0xff, 0xff},
	}
}

// with returns base with one field set.
func with(base fields, field string, value any) fields {
	m := maps.Clone(base)
	m[field] = value
	return m
}

func TestMissingAndUnknownAreToldApart(t *testing.T) {
	w := newWorld(t, time.Minute).system()
	w.succeed("backup.transmit", fields{"apelido": "ana", "nome_arquivo": "doc", "conteudo_arquivo": "x"})
	for _, c := range []struct {
		subject string
		request fields
		code    string
	}{
		{"backup.transmit", fields{"nome_arquivo": "doc", "conteudo_arquivo": "x"}, "bad-name"},
		{"backup.transmit", fields{"apelido": "ana", "conteudo_arquivo": "x"}, "bad-name"},
		{"backup.transmit", fields{"apelido": "ana", "nome_arquivo": "doc"}, "bad-request"},
		{"backup.transmit", fields{"apelido": "ana", "nome_arquivo": "doc", "conteudo_arquivo": nil}, "bad-request"},
		{"backup.transmit", fields{"apelido": "ana", "nome_arquivo": "doc@3", "conteudo_arquivo": "x"}, "bad-name"},
		{"backup.list", fields{}, "bad-name"},
		{"backup.list", fields{"apelido": "nobody"}, "unknown-nickname"},
		{"backup.download", fields{"apelido": "ana"}, "bad-name"},
		{"backup.download", fields{"id_arquivo": "doc"}, "bad-name"},
		{"backup.download", fields{"apelido": "nobody", "id_arquivo": "doc"}, "unknown-nickname"},
		{"backup.download", fields{"apelido": "ana", "id_arquivo": "other"}, "unknown-record"},
		{"backup.download", fields{"apelido": "ana", "id_arquivo": "other@1"}, "unknown-record"},
		{"backup.download", fields{"apelido": "ana", "id_arquivo": "doc@2"}, "unknown-version"},
		{"backup.download", fields{"apelido": "ana", "id_arquivo": "doc@0"}, "bad-name"},
		{"storage.register", fields{}, "bad-request"},
		{"storage.register", fields{"protocol": 1, "node": fields{"id": "UPPER", "name": "n", "weight": 1}}, "bad-request"},
		{"storage.register", fields{"protocol": 1, "node": fields{"id": "a.b", "name": "n", "weight": 1}}, "bad-request"},
		{"storage.register", fields{"protocol": 1, "node": fields{"id": "abc", "name": "n"}}, "bad-request"},
		{"storage.register", fields{"protocol": 1, "node": fields{"id": "abc", "name": "a/b", "weight": 1}}, "bad-name"},
		{"storage.register", fields{"protocol": 99, "node": fields{"id": "abc", "name": "n", "weight": 1}}, "too-new"},
	} {
		w.sub(fmt.Sprint(c.subject, c.request), func(w *wire) {
			w.refuse(c.subject, w.encode(c.request), wireCoordinator, c.code)
		})
	}
}

func TestTooLargeSaysHowToSend(t *testing.T) {
	w := newWorld(t, time.Minute).system()
	request := fields{"apelido": "ana", "nome_arquivo": "big", "conteudo_arquivo": make([]byte, 1_000_001)}
	sentence := w.refuse("backup.transmit", w.encode(request), wireCoordinator, "too-large")
	for _, way := range []string{"backup transmit", "backup.session.open"} {
		if !strings.Contains(sentence, way) {
			t.Errorf("%q is not in %q", way, sentence)
		}
	}
	w.refuse("backup.list", w.encode(fields{"apelido": "ana"}), wireCoordinator, "unknown-nickname")
}

// Messages between coordinator and node use the seed's field names.
func TestRelayToNode(t *testing.T) {
	w := newWorld(t, time.Minute).system()
	puts, gets := w.spy("storage.put.>"), w.spy("storage.get.>")
	answer := w.succeed("backup.transmit", fields{"apelido": "ana", "nome_arquivo": "doc", "conteudo_arquivo": "hello"})
	put := w.next(puts)
	catalogue := make([]byte, 16)
	blake3.DeriveKey("servidor-backup 2026 vault id catalogue", nil, catalogue)
	for bytes.Equal(get[[]byte](w, put, "vault"), catalogue) {
		put = w.next(puts) // the catalogue backup uses the same subject, at any time
	}
	chunk := get[[]any](w, put, "chunks")[0].(map[string]any)
	if id := get[[]byte](w, chunk, "id"); len(id) != 32 {
		t.Errorf("the id has %d bytes", len(id))
	}
	if got := string(get[[]byte](w, chunk, "conteudo_arquivo")); got != "hello" {
		t.Errorf("conteudo_arquivo is %q", got)
	}
	w.succeed("backup.download", fields{"apelido": "ana", "id_arquivo": answer["id"]})
	if asked := get[[]byte](w, w.next(gets), "id_arquivo"); !bytes.Equal(asked, chunk["id"].([]byte)) {
		t.Errorf("id_arquivo is %x", asked)
	}
}

// spy subscribes to the messages of others.
func (w *wire) spy(subject string) *nats.Subscription {
	w.Helper()
	sub, err := w.nc.SubscribeSync(subject)
	if err == nil {
		err = w.nc.FlushWithContext(w.ctx)
	}
	if err != nil {
		w.Fatal(err)
	}
	return sub
}

func (w *wire) next(sub *nats.Subscription) fields {
	w.Helper()
	m, err := sub.NextMsgWithContext(w.ctx)
	if err != nil {
		w.Fatal(err)
	}
	return w.decode(m.Data)
}

// dataChunk is a chunk that a node accepts as sealed.
func dataChunk(id byte, content string) fields {
	const data = 1
	name := bytes.Repeat([]byte{id}, 32)
	summed := append(slices.Clone(name), data)
	summed = binary.LittleEndian.AppendUint32(summed, 0) // tree edges
	summed = binary.LittleEndian.AppendUint32(summed, 0) // data edges
	sum := blake3.Sum256(append(summed, content...))
	return fields{
		"id": name, "kind": data, "trees": []byte{}, "data": []byte{},
		"sum": sum[:], "conteudo_arquivo": []byte(content),
	}
}

func TestBulkMessages(t *testing.T) {
	w := newWorld(t, time.Minute).system()
	nodes := get[[]any](w, get[map[string]any](w, w.succeed("backup.nodes", fields{}), "map"), "nodes")
	if len(nodes) != 1 {
		t.Fatalf("the nodes are %v", nodes)
	}
	node := get[string](w, nodes[0].(map[string]any), "id")
	vault := bytes.Repeat([]byte{9}, 16)
	a, b, bad := dataChunk(1, "one"), dataChunk(2, "two"), dataChunk(4, "four")
	ids := slices.Concat(a["id"].([]byte), b["id"].([]byte), bytes.Repeat([]byte{3}, 32))

	put := w.succeed("storage.put."+node, fields{"session": "s", "vault": vault, "chunks": []any{a, b}})
	if put["node"] != node || number(w, put, "window") < 1<<20-4096 {
		t.Errorf("the put was answered with %v", put)
	}
	have := w.succeed("storage.have."+node, fields{"vault": vault, "id_arquivo": ids})
	if got := get[[]byte](w, have, "have"); !bytes.Equal(got, []byte{0b011}) {
		t.Errorf("have is %08b", got)
	}
	back := w.succeed("storage.get."+node, fields{"vault": vault, "id_arquivo": ids})
	chunks, failed := get[[]any](w, back, "chunks"), get[[]any](w, back, "failed")
	if len(chunks) != 2 || len(failed) != 1 {
		t.Fatalf("%v", back)
	}
	for i, want := range []string{"one", "two"} {
		c := fields(chunks[i].(map[string]any))
		if got := string(get[[]byte](w, c, "conteudo_arquivo")); got != want || !bytes.Equal(get[[]byte](w, c, "id_arquivo"), ids[32*i:32*i+32]) {
			t.Errorf("chunk %d is %v", i, c)
		}
	}
	if f := fields(failed[0].(map[string]any)); f["code"] != "not-held" {
		t.Errorf("the third chunk failed with %v", f)
	}
	other := w.succeed("storage.have."+node, fields{"vault": bytes.Repeat([]byte{8}, 16), "id_arquivo": ids})
	if got := get[[]byte](w, other, "have"); !bytes.Equal(got, []byte{0}) {
		t.Errorf("another vault has %08b", got)
	}

	for field, value := range map[string]any{"conteudo_arquivo": []byte("f0ur"), "id": a["id"], "kind": 7, "data": a["id"]} {
		request := fields{"session": "s", "vault": vault, "chunks": []any{with(bad, field, value)}}
		w.refuse("storage.put."+node, w.encode(request), wireStorage, "bad-chunk")
	}
	w.refuse("storage.put."+node, w.encode(fields{"session": "s", "vault": vault, "chunks": []any{}}), wireCoordinator, "bad-request")
	w.refuse("storage.put."+node, w.encode(fields{"session": "s", "vault": []byte{1}, "chunks": []any{a}}), wireCoordinator, "bad-request")
	w.refuse("storage.put."+node, []byte("no map"), wireCoordinator, "bad-request")
	w.refuse("storage.get."+node, w.encode(fields{"vault": vault, "id_arquivo": ids[:31]}), wireCoordinator, "bad-request")
	w.refuse("storage.have."+node, w.encode(fields{"vault": vault}), wireCoordinator, "bad-request")
}

// A storage node written from the protocol alone is a node like any other, and its failures
// reach the client.
func TestForeignNode(t *testing.T) {
	world := newNATSWorld(t, 2*time.Minute)
	_, url := world.natsServer()
	world.start("coordinator", "--server", url).serves()
	w := world.dialWire(url)
	node := &foreignNode{wire: w, stored: map[string]any{}}
	node.serve()

	transmit := fields{"apelido": "ana", "nome_arquivo": "doc", "conteudo_arquivo": "hello"}
	w.refuse("backup.transmit", w.encode(transmit), wireCoordinator, "no-node")
	reply := w.succeed("storage.register", fields{"protocol": 1, "node": fields{"id": "foreign1", "name": "foreign", "weight": 1, "state": "up"}})
	if number(w, reply, "heartbeat") <= 0 || number(w, reply, "epoch") <= 0 {
		t.Errorf("the registration was answered with %v", reply)
	}
	w.succeed("backup.transmit", transmit)
	back := w.succeed("backup.download", fields{"apelido": "ana", "id_arquivo": "doc"})
	if got := string(get[[]byte](w, back, "conteudo_arquivo")); got != "hello" {
		t.Errorf("%q was restored", got)
	}

	node.full.Store(true)
	sentence := w.refuse("backup.transmit", w.encode(with(transmit, "conteudo_arquivo", "more")), wireStorage, "disk-full")
	if !strings.Contains(sentence, "foreign1") || !strings.Contains(sentence, "no room here") {
		t.Errorf("the sentence is %q", sentence)
	}
	w.succeed("backup.download", fields{"apelido": "ana", "id_arquivo": "doc@1"})
	w.refuse("backup.download", w.encode(fields{"apelido": "ana", "id_arquivo": "doc@2"}), wireCoordinator, "unknown-version")
}
