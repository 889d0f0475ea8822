package coordinator

import (
	"slices"
	"strings"
	"testing"

	"servidor-backup/bus"
	"servidor-backup/bus/bustest"
	"servidor-backup/schemas"
	"servidor-backup/storage/storagetest"
)

// copied waits until everything that should have copies has them.
func (w *world) copied() {
	w.t.Helper()
	bustest.Eventually(w.t, "everything has its copies", func() bool {
		m := w.c.members.nodeMap()
		var ids []schemas.ChunkID
		err := w.c.eachEntry(bustest.Patient(w.t), func(e *schemas.CatalogueEntry) error {
			chunk, err := copyOf(e)
			ids = append(ids, chunk.ID)
			return err
		})
		if err != nil || len(ids) == 0 {
			return false
		}
		held, err := bus.NewHolders(w.nc, m).Have(bustest.Patient(w.t), schemas.CatalogueVault(), ids)
		return err == nil && !slices.Contains(held, false)
	})
}

// A catalogue that was lost is made anew from the nodes, from any one of them if each
// has everything: what was listed is listed, what was forgotten is forgotten, what was
// collected does not come back, and all of it goes on.
func TestRebuild(t *testing.T) {
	w := newWorld(t, 0, Options{})
	nodes := []*runningNode{w.node(), w.node()}
	w.durability("ana", "1+1")
	tr := w.newTree(2, 2)
	w.save(opening("r"), tr)
	w.save(opening("r"), tr)
	for _, c := range []string{"one", "two", "three", "four"} {
		w.transmit(nickname, "f", c)
	}
	w.transmit("bob", "g", "five")
	w.forget("f@4", false)
	w.mustCollect()
	w.forget("f@1", false)
	w.c.look()
	w.copied()
	wantCode(t, w.request(schemas.SubjectRebuild, &schemas.RebuildRequest{}, &schemas.RebuildReply{}), schemas.NotNow)
	for _, n := range nodes {
		if err := n.Stop(); err != nil {
			t.Fatal(err)
		}
		n.nc.Close()
	}

	for round := range 2 { // and it is lost again
		w = &world{Maker: storagetest.NewMaker(byte(9 + round)), t: t, server: bustest.Server(t)}
		w.nc = bustest.Connect(t, w.server)
		w.c = w.coordinator(Options{})
		back := []*runningNode{w.nodeOn(nodes[0].store), w.nodeOn(nodes[1].store)}
		if c := w.collect(); c.Error == "" {
			t.Errorf("an empty catalogue is collected for: %+v", c)
		}
		var rep schemas.RebuildReply
		if err := w.request(schemas.SubjectRebuild, &schemas.RebuildRequest{}, &rep); err != nil {
			t.Fatal(err)
		}
		if want := int64(2 + 1 + 2 + 4 + 1 + round); rep.Keys != want { // vaults, a policy, versions of r, f and g
			t.Errorf("%d values were written, want %d", rep.Keys, want)
		}
		if names := w.list(nickname); !slices.Equal(names, []string{"f", "r"}) {
			t.Errorf("listed are %v", names)
		}
		if got := w.versions(nickname, "f"); !slices.Equal(got, []uint64{3, 2}) && round == 0 {
			t.Errorf("the versions of f are %v", got)
		}
		if got, err := w.content("f@1"); round == 0 && (err != nil || got != "one") { // it was only forgotten
			t.Errorf("f@1 is %q, %v", got, err)
		}
		_, err := w.content("f@4")
		wantCode(t, err, schemas.UnknownVersion)
		if got := w.versions("bob", "g"); !slices.Equal(got, []uint64{1}) {
			t.Errorf("the versions of bob's are %v", got)
		}
		bustest.Eventually(t, "the policy is there", func() bool {
			return len(w.c.members.nodeMap().Vaults) >= 2
		})
		if s := w.open(opening("r")); s.Parent == nil || s.Parent.Number != 2 || !s.Recheck {
			t.Errorf("the next session is %+v", s)
		}
		if id := w.transmit(nickname, "f", "six"); id != []string{"f@5", "f@6"}[round] {
			t.Errorf("the next version is %s", id)
		}
		w.endSessions()
		w.copied()
		w.mustCollect()
		w.wantHeld("the tree", back, tr.all, len(tr.all))
		w.c.look()
		w.copied()
		for _, n := range back {
			if err := n.Stop(); err != nil {
				t.Fatal(err)
			}
			n.nc.Close()
		}
	}
}

// lose begins anew with an empty catalogue, and with the nodes as they are.
func (w *world) lose(nodes ...*runningNode) (lost *world) {
	w.t.Helper()
	w.c.look()
	w.copied()
	lost = &world{Maker: w.Maker, t: w.t, server: bustest.Server(w.t)}
	lost.nc = bustest.Connect(w.t, lost.server)
	lost.c = lost.coordinator(Options{CollectEvery: -1})
	for i, n := range nodes {
		if err := n.Stop(); err != nil {
			w.t.Fatal(err)
		}
		n.nc.Close()
		nodes[i] = lost.nodeOn(n.store)
	}
	return lost
}

// wantClosed fails the test unless nothing can be saved or collected.
func (w *world) wantClosed(session string, root schemas.ChunkID) {
	w.t.Helper()
	ctx, content := bustest.Patient(w.t), []byte("new")
	_, err := w.c.transmit(ctx, &schemas.TransmitRequest{Nickname: nickname, Record: "f", Content: &content})
	wantCode(w.t, err, schemas.NotNow)
	_, err = w.c.openSession(ctx, opening("r"))
	wantCode(w.t, err, schemas.NotNow)
	_, err = w.c.commitSession(ctx, commitOf(session, root))
	wantCode(w.t, err, schemas.NotNow)
	_, err = w.c.newCollection(ctx, 0)
	wantCode(w.t, err, schemas.NotNow)
}

// Nobody saves while the copies are being read, or an old version would give way to a
// new one of its number.
func TestNobodySavesWhileTheCatalogueIsMadeAnew(t *testing.T) {
	w := newWorld(t, 0, Options{})
	node := w.node()
	w.transmit(nickname, "f", "old")
	tr := w.newTree(1, 1)
	w.save(opening("r"), tr)
	w = w.lose(node)
	s := w.open(opening("r"))
	w.put(tr.all...)
	late := w.interposed("PUB storage.chunks.", func() { w.wantClosed(s.Session, tr.root) })
	if _, err := late.rebuild(bustest.Patient(t), &schemas.RebuildRequest{}); err != nil {
		t.Fatal(err)
	}
	if got, err := w.content("f@1"); err != nil || got != "old" {
		t.Errorf("f@1 is %q, %v", got, err)
	}
	if id := w.transmit(nickname, "f", "new"); id != "f@2" {
		t.Errorf("the next version is %s", id)
	}
	if v, err := w.commit(s.Session, tr.root); err != nil || v.Number != 2 {
		t.Errorf("the session became %+v, %v", v, err)
	}
}

// A commit that was let in just before is seen before anything is written; then, and if
// a node fails, everybody can save again.
func TestRebuildGivesUp(t *testing.T) {
	w := newWorld(t, 0, Options{})
	nodes := []*runningNode{w.node()}
	w.transmit(nickname, "f", "old")
	w = w.lose(nodes...)
	nodes = append(nodes, w.node())
	nodes[1].nc.Close()
	ctx := bustest.Patient(t)
	if _, err := w.c.rebuild(ctx, &schemas.RebuildRequest{}); err == nil {
		t.Error("it is made anew without a node that is up")
	}
	if err := w.c.isWhole(ctx); err != nil {
		t.Error(err)
	}
	w.becomes(nodes[1].store.NodeID(), schemas.Down)
	late := w.interposed("PUB storage.chunks.", func() {
		if _, err := w.c.records.commit(ctx, &schemas.Version{Nickname: nickname, Record: "f", Session: "new"}, 0, false); err != nil {
			t.Error(err)
		}
	})
	_, err := late.rebuild(ctx, &schemas.RebuildRequest{})
	wantCode(t, err, schemas.NotNow)
	if err := w.c.isWhole(ctx); err != nil {
		t.Error(err)
	}
}

// One that was broken off goes on when it is asked for again, and until then nobody
// saves. A version that stands in the place of an old one is told of.
func TestRebuildGoesOn(t *testing.T) {
	w := newWorld(t, 0, Options{CollectEvery: -1})
	node := w.node()
	for _, c := range []string{"one", "two", "three"} {
		w.transmit(nickname, "f", c)
	}
	w.forget("f@3", false)
	w.endSessions()
	if c := w.collectAfter(0); c.Versions != 1 {
		t.Fatalf("the collection: %+v", c)
	}
	w = w.lose(node)
	ctx := bustest.Patient(t)
	tr := w.newTree(1, 1)
	session := w.open(opening("r")).Session
	w.put(tr.all...)
	if err := w.c.state.goOn(ctx, 1); err != nil {
		t.Fatal(err)
	}
	for number, session := range map[uint64]string{1: "other", 3: ""} {
		// The third is what is there before it is deleted.
		if _, err := w.c.records.kv.Create(ctx, versionKey(nickname, "f", number), &schemas.Version{Session: session}); err != nil {
			t.Fatal(err)
		}
	}
	w.wantClosed(session, tr.root)
	err := w.request(schemas.SubjectRebuild, &schemas.RebuildRequest{}, &schemas.RebuildReply{})
	if err == nil || !strings.Contains(err.Error(), "in part only") {
		t.Errorf("with another f@1 the error is %v", err)
	}
	if err := w.c.copyKey(ctx, versionKey(nickname, "f", 1)); err != nil { // which makes it no better
		t.Error(err)
	}
	if err := w.request(schemas.SubjectRebuild, &schemas.RebuildRequest{}, &schemas.RebuildReply{}); err == nil {
		t.Error("the other f@1 was taken for the old one")
	}
	w.wantClosed(session, tr.root)
	if err := w.c.records.kv.Delete(ctx, versionKey(nickname, "f", 1)); err != nil {
		t.Fatal(err)
	}
	if err := w.request(schemas.SubjectRebuild, &schemas.RebuildRequest{}, &schemas.RebuildReply{}); err != nil {
		t.Fatal(err)
	}
	if got := w.versions(nickname, "f"); !slices.Equal(got, []uint64{2, 1}) {
		t.Errorf("the versions are %v", got)
	}
	if got, err := w.content("f@1"); err != nil || got != "one" {
		t.Errorf("f@1 is %q, %v", got, err)
	}
	if id := w.transmit(nickname, "f", "four"); id != "f@4" {
		t.Errorf("the next version is %s", id)
	}
	w.endSessions()
	w.mustCollect()
}
