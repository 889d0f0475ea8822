package coordinator

import (
	"slices"
	"testing"
	"time"

	"servidor-backup/bus/bustest"
	"servidor-backup/coordinator/catalog"
	"servidor-backup/schemas"
)

func (w *world) forget(id string, undo bool) []string {
	w.t.Helper()
	var rep schemas.ForgetReply
	if err := w.request(schemas.SubjectForget, &schemas.ForgetRequest{Nickname: nickname, ID: id, Undo: undo}, &rep); err != nil {
		w.t.Fatalf("forget %s: %v", id, err)
	}
	return rep.Versions
}

func (w *world) content(id string) (string, error) {
	w.t.Helper()
	var rep schemas.DownloadReply
	if err := w.request(schemas.SubjectDownload, &schemas.DownloadRequest{Nickname: nickname, ID: id}, &rep); err != nil {
		return "", err
	}
	return string(*rep.Content), nil
}

// A forgotten version is not listed unless a request asks for it, and does not count as the
// newest. It can be read by its id and taken back until it is collected.
func TestForget(t *testing.T) {
	w := newWorld(t, 1, Options{})
	for _, c := range []string{"one", "two", "three"} {
		w.transmit(nickname, "f", c)
	}
	forgotten := w.events(schemas.EventVersionForgotten)
	if got := w.forget("f@3", false); !slices.Equal(got, []string{"f@3"}) {
		t.Errorf("the forgotten versions are %v", got)
	}
	if e := bustest.Receive(t, "the event", forgotten); e.Subject != "f@3" || e.Owner != nickname {
		t.Errorf("the event is %+v", e)
	}
	if got := w.forget("f@3", false); len(got) != 0 {
		t.Errorf("the versions forgotten again are %v", got)
	}
	if got := w.versions(nickname, "f"); !slices.Equal(got, []uint64{2, 1}) {
		t.Errorf("the list is %v", got)
	}
	for id, want := range map[string]string{"f": "two", "f@3": "three"} {
		if got, err := w.content(id); err != nil || got != want {
			t.Errorf("%s is %q, %v", id, got, err)
		}
	}
	var all schemas.ListReply
	if err := w.request(schemas.SubjectList, &schemas.ListRequest{Nickname: nickname, Record: "f", Forgotten: true}, &all); err != nil {
		t.Fatal(err)
	}
	if len(all.Versions) != 3 || all.Versions[0].Forgotten == 0 || all.Versions[1].Forgotten != 0 {
		t.Errorf("with what was forgotten the versions are %+v", all.Versions)
	}
	h, err := w.c.catalog.Head(bustest.Context(t), nickname, "f")
	if err != nil || h.Latest != 2 || h.Versions != 2 || h.Highest != 3 {
		t.Errorf("the head is %+v, %v", h, err)
	}

	if got := w.forget("f", false); len(got) != 2 {
		t.Errorf("the forgotten versions are %v", got)
	}
	if names := w.list(nickname); len(names) != 0 {
		t.Errorf("the list is %v", names)
	}
	if err := w.request(schemas.SubjectList, &schemas.ListRequest{Nickname: nickname, Forgotten: true}, &all); err != nil || len(all.Names) != 1 {
		t.Errorf("with what was forgotten the names are %v, %v", all.Names, err)
	}
	_, err = w.content("f")
	wantCode(t, err, schemas.UnknownRecord)
	if got := w.transmit(nickname, "f", "four"); got != "f@4" {
		t.Errorf("the next version is %s", got)
	}
	if got := w.versions(nickname, "f"); !slices.Equal(got, []uint64{4}) {
		t.Errorf("the list is %v", got)
	}
	if got := w.forget("f", true); len(got) != 3 {
		t.Errorf("the versions taken back are %v", got)
	}
	if got := w.versions(nickname, "f"); !slices.Equal(got, []uint64{4, 3, 2, 1}) {
		t.Errorf("the list is %v", got)
	}
	for id, code := range map[string]schemas.Code{"f@9": schemas.UnknownVersion, "g": schemas.UnknownRecord, "f@0": schemas.BadName} {
		err := w.request(schemas.SubjectForget, &schemas.ForgetRequest{Nickname: nickname, ID: id}, &schemas.ForgetReply{})
		wantCode(t, err, code)
	}
}

// A session builds on a forgotten version if there is no other, and the name still stands for its
// source.
func TestForgottenParent(t *testing.T) {
	w := newWorld(t, 1, Options{})
	tr := w.newTree(2, 2)
	w.save(opening("r"), tr)
	w.save(opening("r"), w.newTree(1, 1))
	w.forget("r@2", false)
	if s := w.open(opening("r")); s.Parent == nil || s.Parent.Number != 1 {
		t.Errorf("the session builds on %+v", s.Parent)
	}
	w.forget("r", false)
	other := opening("r")
	other.Source = sourceOf(2)
	wantCode(t, w.request(schemas.SubjectSessionOpen, other, &schemas.SessionReply{}), schemas.NameTaken)
	if v := w.save(opening("r"), tr); v.Number != 3 {
		t.Errorf("the next version is %d", v.Number)
	}
	if got := w.versions(nickname, "r"); !slices.Equal(got, []uint64{3}) {
		t.Errorf("the list is %v", got)
	}
}

// ago makes a forgotten version look as if it had been forgotten earlier by that time.
func (w *world) ago(record string, number uint64, ago time.Duration) {
	w.t.Helper()
	var v schemas.Version
	_, err := w.c.buckets.catalogue.Edit(bustest.Context(w.t), versionKey(nickname, record, number), &v, func() { v = schemas.Version{} }, func() (bool, error) {
		v.Forgotten -= int64(ago)
		return true, nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// collectAfter runs a whole collection, which deletes versions that were forgotten at least grace
// ago.
func (w *world) collectAfter(grace time.Duration) schemas.Collection {
	w.t.Helper()
	if err := w.c.startCollection(grace, func(*catalog.Collection) bool { return true }); err != nil {
		w.t.Fatal(err)
	}
	var rep schemas.CollectReply
	bustest.Eventually(w.t, "the collection ends", func() bool {
		return w.request(schemas.SubjectCollect, &schemas.CollectRequest{}, &rep) == nil && rep.Collection.Ended > 0
	})
	if rep.Collection.Error+rep.Collection.Skipped != "" {
		w.t.Fatalf("the collection: %+v", rep.Collection)
	}
	return rep.Collection
}

// A forgotten version can be taken back, with all chunks that it needs, until the first collection
// after the grace period. That collection removes it, and nothing else.
func TestForgetGrace(t *testing.T) {
	const grace = 2 * time.Hour
	w := newWorld(t, 0, Options{CollectEvery: -1})
	nodes := []*runningNode{w.node(), w.node()}
	var trees []tree
	for range 4 {
		trees = append(trees, w.newTree(2, 2))
		w.save(opening("r"), trees[len(trees)-1])
	}
	w.endSessions()
	for _, id := range []string{"r@1", "r@2", "r@3"} {
		w.forget(id, false)
	}
	w.ago("r", 1, grace+time.Minute)
	w.ago("r", 2, grace-time.Hour)
	w.ago("r", 3, grace+time.Minute)
	if got := w.forget("r@3", true); !slices.Equal(got, []string{"r@3"}) { // in time
		t.Errorf("the versions taken back are %v", got)
	}
	if c := w.collectAfter(grace); c.Versions != 1 {
		t.Errorf("the collection: %+v", c)
	}
	for i, want := range []int{0, 1, 1, 1} {
		all := trees[i].all
		w.wantHeld("version "+string(rune('1'+i)), nodes, all, want*len(all))
	}
	err := w.request(schemas.SubjectForget, &schemas.ForgetRequest{Nickname: nickname, ID: "r@1", Undo: true}, &schemas.ForgetReply{})
	wantCode(t, err, schemas.UnknownVersion)
	if got := w.forget("r@2", true); !slices.Equal(got, []string{"r@2"}) {
		t.Errorf("the versions taken back are %v", got)
	}
	if c := w.collectAfter(grace); c.Versions != 0 {
		t.Errorf("the collection: %+v", c)
	}
	w.wantHeld("version 2", nodes, trees[1].all, len(trees[1].all))
	if got := w.versions(nickname, "r"); !slices.Equal(got, []uint64{4, 3, 2}) {
		t.Errorf("the list is %v", got)
	}
}

func TestNicknames(t *testing.T) {
	w := newWorld(t, 1, Options{})
	for _, name := range []string{"rui", "ana", "eva"} {
		w.transmit(name, "r", "content of "+name)
	}
	for after, want := range map[string][]string{"": {"ana", "eva", "rui"}, "ana": {"eva", "rui"}, "rui": {}} {
		var rep schemas.NicknamesReply
		if err := w.request(schemas.SubjectNicknames, &schemas.NicknamesRequest{After: after}, &rep); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(rep.Nicknames, want) || rep.Next != "" {
			t.Errorf("after %q come %q and %q, want %q", after, rep.Nicknames, rep.Next, want)
		}
	}
}
