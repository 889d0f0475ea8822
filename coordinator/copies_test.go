package coordinator

import (
	"fmt"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"servidor-backup/bus/bustest"
	"servidor-backup/schemas"
	"servidor-backup/storage"
	"servidor-backup/storage/storagetest"
)

// wantRefused checks that every request of a client that depends on the catalogue is refused.
func (w *world) wantRefused(code schemas.Code) {
	w.t.Helper()
	content := []byte("x")
	for subject, req := range map[string]any{
		schemas.SubjectTransmit:    &schemas.TransmitRequest{Nickname: nickname, Record: "f", Content: &content},
		schemas.SubjectList:        &schemas.ListRequest{Nickname: nickname},
		schemas.SubjectDownload:    &schemas.DownloadRequest{Nickname: nickname, ID: "f"},
		schemas.SubjectSessionOpen: opening("r"),
		schemas.SubjectForget:      &schemas.ForgetRequest{Nickname: nickname, ID: "f@1"},
		schemas.SubjectStatus:      &schemas.StatusRequest{},
		schemas.SubjectPolicy:      &schemas.PolicyRequest{},
	} {
		if err := w.request(subject, req, &schemas.SessionReply{}); schemas.CodeOf(err) != code {
			w.t.Errorf("%s: the error is %v of the code %q, want %q", subject, err, schemas.CodeOf(err), code)
		}
	}
}

// system is the id of the system, as clients get it.
func (w *world) system() string {
	w.t.Helper()
	var rep schemas.NodesReply
	if err := w.request(schemas.SubjectNodes, &schemas.NodesRequest{}, &rep); err != nil {
		w.t.Fatal(err)
	}
	return rep.Map.System
}

// An empty catalogue beside nodes with copies of one is a lost one, whenever the nodes come. All
// coordinators say so, until one of them has rebuilt it; then it is the same catalogue again, with
// its policies.
func TestEmptyCatalogueBesideCopiesIsLost(t *testing.T) {
	w := newWorld(t, 0, Options{CollectEvery: -1})
	nodes := []*runningNode{w.node(), w.node()}
	w.durability("", "1+0")
	w.durability(nickname, "1+1")
	w.transmit(nickname, "f", "one")
	id := w.system()
	if id == "" {
		t.Error("the system has no id")
	}
	w = w.loseWith(Options{CollectEvery: -1}, nodes...)
	other := w.coordinator(Options{CollectEvery: -1})
	w.wantRefused(schemas.CatalogueLost)
	if got := w.system(); got != "" {
		t.Errorf("a lost catalogue has the id %q", got)
	}
	rep := w.ask(schemas.SubjectList, map[string]any{"apelido": nickname})
	if fmt.Sprint(rep["status"]) != fmt.Sprint(schemas.CoordinatorError) {
		t.Errorf("the seed's list is answered with %v", rep)
	}
	w.rebuild()
	for _, c := range []*Coordinator{w.c, other} {
		if _, err := c.list(bustest.Context(t), &schemas.ListRequest{Nickname: nickname}); err != nil {
			t.Errorf("after the rebuild: %v", err)
		}
	}
	if got := w.system(); got != id {
		t.Errorf("the rebuilt catalogue has the id %q, it was %q", got, id)
	}
	var policy schemas.PolicyReply
	err := w.request(schemas.SubjectPolicy, &schemas.PolicyRequest{}, &policy)
	if err != nil || policy.Effective != (schemas.Durability{K: 1}) || len(policy.Nicknames) != 1 {
		t.Errorf("the policies are %+v, %v", policy, err)
	}
	w.wantAll("one")
}

// A catalogue in which one bucket or one value is missing that the nodes know is lost, too. It is
// noticed when a coordinator starts, and when the node comes that knows.
func TestOlderCatalogueIsLost(t *testing.T) {
	for name, lose := range map[string]func(*world){
		"a version": func(w *world) {
			if err := w.c.buckets.catalogue.Delete(bustest.Context(w.t), versionKey(nickname, "f", 2)); err != nil {
				w.t.Fatal(err)
			}
		},
		"the bucket of versions": func(w *world) { w.deleteStream("KV_backup-catalogue") },
		"the bucket of policies": func(w *world) { w.deleteStream("KV_backup-nodes") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 0, Options{CollectEvery: -1})
			store := storagetest.Open(t, t.TempDir(), storage.Options{})
			n := w.nodeOn(store)
			w.durability(nickname, "1+0")
			w.transmit(nickname, "f", "one")
			w.transmit(nickname, "f", "two")
			w.c.catalog.ScanBackup()
			w.backedUp()
			if err := n.Stop(); err != nil {
				t.Fatal(err)
			}
			if err := w.c.Stop(); err != nil {
				t.Fatal(err)
			}
			lose(w)
			w.c = w.coordinator(Options{CollectEvery: -1})
			w.node() // one without copies
			w.nodeOn(store)
			w.wantRefused(schemas.CatalogueLost)
			w.rebuild()
			w.wantAll("one", "two")
		})
	}
}

func (w *world) deleteStream(name string) {
	w.t.Helper()
	js, err := jetstream.New(w.nc)
	if err == nil {
		err = js.DeleteStream(bustest.Context(w.t), name)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// Somebody who says to begin anew gets an empty catalogue. It stays so for coordinators that start
// later, and for nodes that come later; what it gets itself is missed nevertheless.
func TestBeginAnew(t *testing.T) {
	w := newWorld(t, 0, Options{CollectEvery: -1})
	nodes := []*runningNode{w.node()}
	w.transmit(nickname, "f", "one")
	w = w.loseWith(Options{CollectEvery: -1, BeginAnew: true}, nodes...)
	if id := w.transmit(nickname, "f", "new"); id != "f@1" {
		t.Errorf("the first version is %s", id)
	}
	w.c.catalog.ScanBackup()
	w.backedUp()
	if err := w.c.Stop(); err != nil {
		t.Fatal(err)
	}
	w.c = w.coordinator(Options{CollectEvery: -1})
	w.wantAll("new")
	if err := w.c.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := w.c.buckets.catalogue.Delete(bustest.Context(t), versionKey(nickname, "f", 1)); err != nil {
		t.Fatal(err)
	}
	w.c = w.coordinator(Options{CollectEvery: -1})
	w.wantRefused(schemas.CatalogueLost)
}

// An empty catalogue says nothing as long as no node has said that it has no copies.
func TestEmptyCatalogueWithoutNodesIsNotKnown(t *testing.T) {
	w := newWorld(t, 0, Options{})
	wantCode(t, w.request(schemas.SubjectList, &schemas.ListRequest{Nickname: nickname}, &schemas.ListReply{}), schemas.NoNode)
	w.node()
	wantCode(t, w.request(schemas.SubjectList, &schemas.ListRequest{Nickname: nickname}, &schemas.ListReply{}), schemas.UnknownNickname)
	if w.system() == "" {
		t.Error("the catalogue has no id")
	}
}
