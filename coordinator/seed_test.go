package coordinator

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"servidor-backup/bus"
	"servidor-backup/bus/bustest"
	"servidor-backup/schemas"
)

// The seed's three verbs, with messages as a client in any language would write them.
func TestSeedProtocol(t *testing.T) {
	w := newWorld(t, 2, Options{})
	biggest := bytes.Repeat([]byte{7}, schemas.MaxContent)
	for _, file := range []struct {
		name    string
		content any
		want    []byte
	}{
		{"binary", []byte{0, 255, 10}, []byte{0, 255, 10}},
		{"text", "olá", []byte("olá")},
		{"empty", []byte{}, []byte{}},
		{"the largest", biggest, biggest},
		{"ção v1.txt", []byte("x"), []byte("x")},
		{"text again", "olá", []byte("olá")}, // equal content under another name
	} {
		rep := w.ask("backup.transmit", map[string]any{"apelido": "ana", "nome_arquivo": file.name, "conteudo_arquivo": file.content})
		if fmt.Sprint(rep["status"]) != "255" || rep["id"] != file.name+"@1" {
			t.Fatalf("transmit %s: %v", file.name, rep)
		}
		for _, id := range []string{file.name, file.name + "@1"} {
			rep = w.ask("backup.download", map[string]any{"apelido": "ana", "id_arquivo": id})
			content, _ := rep["conteudo_arquivo"].([]byte)
			if fmt.Sprint(rep["status"]) != "255" || rep["nome_arquivo"] != file.name || content == nil || !bytes.Equal(content, file.want) {
				t.Errorf("download %s: status %v, name %v, %d bytes", id, rep["status"], rep["nome_arquivo"], len(content))
			}
		}
	}
	rep := w.ask("backup.list", map[string]any{"apelido": "ana", "a newer field": 1})
	// Names are sorted by their bytes.
	if got, want := fmt.Sprint(rep["list_nome_arquivo"]), "[binary empty text text again the largest ção v1.txt]"; fmt.Sprint(rep["status"]) != "255" || got != want {
		t.Errorf("list: status %v, %v, want %v", rep["status"], got, want)
	}
}

// Saving a name again makes the next version; the old one stays.
func TestSeedVersions(t *testing.T) {
	w := newWorld(t, 1, Options{})
	for i := 1; i <= 3; i++ {
		if id, want := w.transmit("ana", "f", fmt.Sprint("content ", i)), fmt.Sprint("f@", i); id != want {
			t.Fatalf("the id is %s, want %s", id, want)
		}
	}
	for id, want := range map[string]string{"f@1": "content 1", "f@2": "content 2", "f@3": "content 3", "f": "content 3"} {
		var rep schemas.DownloadReply
		if err := w.request(schemas.SubjectDownload, &schemas.DownloadRequest{Nickname: "ana", ID: id}, &rep); err != nil || string(*rep.Content) != want {
			t.Errorf("%s is %v, want %q (%v)", id, rep.Content, want, err)
		}
	}
	if got := w.versions("ana", "f"); !slices.Equal(got, []uint64{3, 2, 1}) {
		t.Errorf("the versions are %v", got)
	}
	if names := w.list("ana"); !slices.Equal(names, []string{"f"}) {
		t.Errorf("the names are %v", names)
	}
	w.transmit("bob", "g", "content 1") // nicknames do not see each other
	if names := w.list("bob"); !slices.Equal(names, []string{"g"}) {
		t.Errorf("bob's names are %v", names)
	}
}

// Every wrong message is answered with 158, a code and a sentence, and leaves nothing in the
// catalogue.
func TestSeedRefusals(t *testing.T) {
	w := newWorld(t, 1, Options{})
	w.transmit("ana", "f", "x")
	type message map[string]any
	put := func(change message) message {
		m := message{"apelido": "eva", "nome_arquivo": "n", "conteudo_arquivo": []byte("x")}
		for k, v := range change {
			if m[k] = v; v == nil {
				delete(m, k)
			}
		}
		return m
	}
	long := strings.Repeat("x", schemas.MaxName+1)
	for _, bad := range []struct {
		what, subject string
		message       message
		code          schemas.Code
	}{
		{"no nickname", "backup.transmit", put(message{"apelido": nil}), schemas.BadName},
		{"an empty nickname", "backup.transmit", put(message{"apelido": ""}), schemas.BadName},
		{"a nickname that is a number", "backup.transmit", put(message{"apelido": 5}), schemas.BadRequest},
		{"a nickname with a slash", "backup.transmit", put(message{"apelido": "a/b"}), schemas.BadName},
		{"no name", "backup.transmit", put(message{"nome_arquivo": nil}), schemas.BadName},
		{"an empty name", "backup.transmit", put(message{"nome_arquivo": ""}), schemas.BadName},
		{"a name of dots", "backup.transmit", put(message{"nome_arquivo": ".."}), schemas.BadName},
		{"a name with a slash", "backup.transmit", put(message{"nome_arquivo": "../../etc/passwd"}), schemas.BadName},
		{"a name with NUL", "backup.transmit", put(message{"nome_arquivo": "a\x00b"}), schemas.BadName},
		{"a name with a line feed", "backup.transmit", put(message{"nome_arquivo": "a\nb"}), schemas.BadName},
		{"a name of more than 1 KiB", "backup.transmit", put(message{"nome_arquivo": long}), schemas.BadName},
		{"a name that is not UTF-8", "backup.transmit", put(message{"nome_arquivo": "\xff"}), schemas.BadName},
		{"a name like a version", "backup.transmit", put(message{"nome_arquivo": "f@3"}), schemas.BadName},
		{"a name that is a list", "backup.transmit", put(message{"nome_arquivo": []int{1}}), schemas.BadRequest},
		{"no content", "backup.transmit", put(message{"conteudo_arquivo": nil}), schemas.BadRequest},
		{"content that is a number", "backup.transmit", put(message{"conteudo_arquivo": 12}), schemas.BadRequest},
		{"content that is a map", "backup.transmit", put(message{"conteudo_arquivo": message{}}), schemas.BadRequest},
		{"content that is too large", "backup.transmit", put(message{"conteudo_arquivo": make([]byte, schemas.MaxContent+1)}), schemas.TooLarge},
		{"nothing at all", "backup.transmit", message{}, schemas.BadName},

		{"an unknown nickname", "backup.list", message{"apelido": "eva"}, schemas.UnknownNickname},
		{"no nickname", "backup.list", message{}, schemas.BadName},
		{"a nickname that is a list", "backup.list", message{"apelido": []int{}}, schemas.BadRequest},
		{"an unknown record", "backup.list", message{"apelido": "ana", "nome_arquivo": "g"}, schemas.UnknownRecord},
		{"a wrong place to go on", "backup.list", message{"apelido": "ana", "nome_arquivo": "f", "after": "f@0"}, schemas.BadName},

		{"an unknown nickname", "backup.download", message{"apelido": "eva", "id_arquivo": "f@1"}, schemas.UnknownNickname},
		{"an unknown record", "backup.download", message{"apelido": "ana", "id_arquivo": "g@1"}, schemas.UnknownRecord},
		{"an unknown version", "backup.download", message{"apelido": "ana", "id_arquivo": "f@2"}, schemas.UnknownVersion},
		{"version zero", "backup.download", message{"apelido": "ana", "id_arquivo": "f@0"}, schemas.BadName},
		{"no id", "backup.download", message{"apelido": "ana"}, schemas.BadName},
		{"an id that is a path", "backup.download", message{"apelido": "ana", "id_arquivo": "../f@1"}, schemas.BadName},
		{"an id that is a number", "backup.download", message{"apelido": "ana", "id_arquivo": 1}, schemas.BadRequest},
	} {
		t.Run(bad.subject+" with "+bad.what, func(t *testing.T) {
			rep := w.ask(bad.subject, bad.message)
			if fmt.Sprint(rep["status"]) != "158" || rep["code"] != string(bad.code) || rep["message"] == "" {
				t.Errorf("the answer is %v, want 158 and %s", rep, bad.code)
			}
		})
	}
	if names := w.list("ana"); !slices.Equal(names, []string{"f"}) {
		t.Errorf("refused messages have left %v", names)
	}
	wantCode(t, w.request(schemas.SubjectList, &schemas.ListRequest{Nickname: "eva"}, &schemas.ListReply{}), schemas.UnknownNickname)
}

// Without a node there is a clear answer in time, both before a node has ever registered and after
// all have left.
func TestNoNode(t *testing.T) {
	w := newWorld(t, 0, Options{})
	content := []byte("x")
	send := func() error {
		return w.request(schemas.SubjectTransmit, &schemas.TransmitRequest{Nickname: "ana", Record: "f", Content: &content}, &schemas.TransmitReply{})
	}
	err := send()
	wantCode(t, err, schemas.NoNode)
	if err != nil && !strings.Contains(err.Error(), "registered yet") {
		t.Errorf("%q does not say that none has registered", err)
	}
	wantCode(t, w.request(schemas.SubjectSessionOpen, opening("r"), &schemas.SessionReply{}), schemas.NoNode)
	wantCode(t, w.request(schemas.SubjectList, &schemas.ListRequest{Nickname: "ana"}, &schemas.ListReply{}), schemas.NoNode)
	n := w.node()
	wantCode(t, w.request(schemas.SubjectList, &schemas.ListRequest{Nickname: "ana"}, &schemas.ListReply{}), schemas.UnknownNickname)
	if err := send(); err != nil {
		t.Fatal(err)
	}
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	bustest.Eventually(t, "the node is down", func() bool { return len(w.c.members.Map().Writable()) == 0 })
	err = send()
	wantCode(t, err, schemas.NoNode)
	if err != nil && !strings.Contains(err.Error(), ": down") {
		t.Errorf("%q does not say that the node is down", err)
	}
	err = w.request(schemas.SubjectDownload, &schemas.DownloadRequest{Nickname: "ana", ID: "f"}, &schemas.DownloadReply{})
	wantCode(t, err, schemas.NoNode)
	if names := w.list("ana"); !slices.Equal(names, []string{"f"}) {
		t.Errorf("without a node the names are %v", names)
	}
}

// A list that does not fit into one message comes in pages, each within NATS's limit. Every name
// comes once and in order.
func TestListPages(t *testing.T) {
	w := newWorld(t, 0, Options{})
	if err := w.c.catalog.EnterVault(bustest.Context(t), nickname, nil); err != nil {
		t.Fatal(err)
	}
	const n = 1100
	name := func(i int) string { return fmt.Sprintf("%04d", i) + strings.Repeat("é", 500) }
	var all sync.WaitGroup
	for g := range 20 {
		all.Go(func() {
			for i := g; i < n; i += 20 {
				h := &schemas.Record{Name: name(i), Latest: 1, Versions: 1}
				if _, err := w.c.buckets.catalogue.Create(bustest.Context(t), recordKey(nickname, h.Name), h); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	pages, next := 0, 0
	for after := ""; pages == 0 || after != ""; pages++ {
		var rep schemas.ListReply
		if err := w.request(schemas.SubjectList, &schemas.ListRequest{Nickname: nickname, After: after}, &rep); err != nil {
			t.Fatal(err)
		}
		for i, got := range rep.Names {
			if got != name(next) || rep.Records[i].Name != got {
				t.Fatalf("name %d is %.10s", next, got)
			}
			next++
		}
		after = rep.Next
	}
	if next != n || pages < 3 {
		t.Errorf("%d names came in %d pages", next, pages)
	}
}

// A list of versions comes in pages, too, newest first.
func TestVersionPages(t *testing.T) {
	w := newWorld(t, 0, Options{})
	ctx := bustest.Context(t)
	if err := w.c.catalog.EnterVault(ctx, nickname, nil); err != nil {
		t.Fatal(err)
	}
	const n = 9
	for i := range uint64(n) {
		v := &schemas.Version{Nickname: nickname, Record: "r", RootKind: schemas.Tree, Session: fmt.Sprint(i), Sealed: make([]byte, maxSealed)}
		if _, err := w.c.catalog.Commit(ctx, v, i, false); err != nil {
			t.Fatal(err)
		}
	}
	var got []uint64
	pages := 0
	for after := ""; pages == 0 || after != ""; pages++ {
		var rep schemas.ListReply
		if err := w.request(schemas.SubjectList, &schemas.ListRequest{Nickname: nickname, Record: "r", After: after}, &rep); err != nil {
			t.Fatal(err)
		}
		for _, v := range rep.Versions {
			got = append(got, v.Number)
		}
		after = rep.Next
	}
	if !slices.Equal(got, []uint64{9, 8, 7, 6, 5, 4, 3, 2, 1}) || pages < 3 {
		t.Errorf("the versions are %v in %d pages", got, pages)
	}
}

// Damaged content is never returned: the answer is 906 with the reason.
func TestDownloadChecksContent(t *testing.T) {
	w := newWorld(t, 1, Options{})
	// A node holds something else under the id that the catalogue names.
	vault := schemas.PlainVault(nickname)
	chunk := w.Data(40)
	chunk.ID, chunk.Kind = schemas.PlainChunkID(vault, []byte("right")), schemas.Plain
	chunk.Sum = chunk.Checksum()
	b := schemas.NewPut(nil, "test", vault)
	b.Add(&chunk)
	n := w.c.members.Map().Writable()[0]
	if _, err := bus.RequestRaw(bustest.Context(t), w.nc, schemas.PutSubject([]schemas.NodeID{n}), b.Put()); err != nil {
		t.Fatal(err)
	}
	if err := w.c.catalog.EnterVault(bustest.Context(t), nickname, nil); err != nil {
		t.Fatal(err)
	}
	v := &schemas.Version{Nickname: nickname, Record: "f", Vault: vault, Root: chunk.ID, RootKind: schemas.Plain, Session: "s"}
	if _, err := w.c.catalog.Commit(bustest.Context(t), v, 0, false); err != nil {
		t.Fatal(err)
	}
	rep := w.ask("backup.download", map[string]any{"apelido": nickname, "id_arquivo": "f"})
	if fmt.Sprint(rep["status"]) != "906" || rep["code"] != string(schemas.Corrupt) || rep["conteudo_arquivo"] != nil {
		t.Errorf("the answer is %v", rep)
	}
	// Whoever sends the content again replaces it.
	w.transmit(nickname, "g", "right")
	rep = w.ask("backup.download", map[string]any{"apelido": nickname, "id_arquivo": "f"})
	if fmt.Sprint(rep["status"]) != "255" {
		t.Errorf("after the content was sent again, the answer is %v", rep)
	}
}

// After a transmit is answered its content is held, even if a collection ran between the put and
// the creation of the version.
func TestCollectionWhileSending(t *testing.T) {
	w := newWorld(t, 2, Options{CollectEvery: -1})
	var c schemas.Collection
	late := w.interposed("PUB $KV.backup-catalogue.version.", func() {
		c = w.steps(func(*collecting, string) {})
	})
	content := []byte("x")
	_, err := late.transmit(bustest.Context(t), &schemas.TransmitRequest{Nickname: nickname, Record: "f", Content: &content})
	if err != nil || c.Error+c.Skipped != "" || c.Chunks < 2 { // it was swept at both
		t.Fatalf("%v; the collection: %+v", err, c)
	}
	if got, err := w.content("f@1"); err != nil || got != "x" {
		t.Errorf("f@1 is %q, %v", got, err)
	}
}
