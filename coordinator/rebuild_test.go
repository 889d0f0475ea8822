package coordinator

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"servidor-backup/bus/bustest"
	"servidor-backup/bus/replica"
	"servidor-backup/coordinator/catalog"
	"servidor-backup/schemas"
	"servidor-backup/storage/storagetest"
)

// backedUp waits until all values are backed up that should be.
func (w *world) backedUp() {
	w.t.Helper()
	bustest.Eventually(w.t, "everything is backed up", func() bool {
		m := w.c.members.Map()
		var ids []schemas.ChunkID
		err := w.c.catalog.Entries(bustest.Context(w.t), func(e *schemas.CatalogueEntry) error {
			chunk, err := catalog.BackupChunk(e)
			ids = append(ids, chunk.ID)
			return err
		})
		if err != nil || len(ids) == 0 {
			return false
		}
		held, err := replica.NewReader(w.nc, m).Have(bustest.Context(w.t), schemas.CatalogueVault(), ids)
		return err == nil && !slices.Contains(held, false)
	})
}

// A lost catalogue is rebuilt from the nodes, and from any one of them if each has the whole
// backup. Versions are listed or forgotten as before, collected ones do not come back, and
// records continue with the next numbers.
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
	w.c.catalog.ScanBackup()
	w.backedUp()
	if rep := w.rebuild(); rep.Keys != 0 || len(rep.Moved) > 0 {
		t.Errorf("a rebuild of a complete catalogue writes %+v", rep)
	}
	for _, n := range nodes {
		if err := n.Stop(); err != nil {
			t.Fatal(err)
		}
		n.nc.Close()
	}

	for round := range 2 { // and the catalogue is lost again
		w = &world{Maker: storagetest.NewMaker(byte(9 + round)), t: t, server: bustest.Server(t)}
		w.nc = bustest.Connect(t, w.server)
		w.c = w.coordinator(Options{})
		back := []*runningNode{w.nodeOn(nodes[0].store), w.nodeOn(nodes[1].store)}
		if c := w.collect(); c.Error == "" {
			t.Errorf("a collection runs for an empty catalogue: %+v", c)
		}
		rep := w.rebuild()
		if want := int64(1 + 2 + 1 + 2 + 4 + 1 + round); rep.Keys != want { // the id, vaults, a policy, versions of r, f and g
			t.Errorf("%d values were written, want %d", rep.Keys, want)
		}
		if names := w.list(nickname); !slices.Equal(names, []string{"f", "r"}) {
			t.Errorf("the list is %v", names)
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
			return len(w.c.members.Map().Vaults) >= 2
		})
		if s := w.open(opening("r")); s.Parent == nil || s.Parent.Number != 2 || !s.Recheck {
			t.Errorf("the next session is %+v", s)
		}
		if id := w.transmit(nickname, "f", "six"); id != []string{"f@5", "f@6"}[round] {
			t.Errorf("the next version is %s", id)
		}
		w.endSessions()
		w.backedUp()
		w.mustCollect()
		w.wantHeld("the tree", back, tr.all, len(tr.all))
		w.c.catalog.ScanBackup()
		w.backedUp()
		for _, n := range back {
			if err := n.Stop(); err != nil {
				t.Fatal(err)
			}
			n.nc.Close()
		}
	}
}

// lose starts a new server with an empty catalogue, which begins anew, and the nodes with the
// stores they have.
func (w *world) lose(nodes ...*runningNode) (lost *world) {
	w.t.Helper()
	return w.loseWith(Options{CollectEvery: -1, BeginAnew: true}, nodes...)
}

// loseWith is lose with a coordinator of these options.
func (w *world) loseWith(opt Options, nodes ...*runningNode) (lost *world) {
	w.t.Helper()
	w.c.catalog.ScanBackup()
	w.backedUp()
	lost = &world{Maker: w.Maker, t: w.t, server: bustest.Server(w.t)}
	lost.nc = bustest.Connect(w.t, lost.server)
	lost.c = lost.coordinator(opt)
	for i, n := range nodes {
		if err := n.Stop(); err != nil {
			w.t.Fatal(err)
		}
		n.nc.Close()
		nodes[i] = lost.nodeOn(n.store)
	}
	return lost
}

func (w *world) rebuild() (rep schemas.RebuildReply) {
	w.t.Helper()
	if err := w.request(schemas.SubjectRebuild, &schemas.RebuildRequest{}, &rep); err != nil {
		w.t.Fatal(err)
	}
	return rep
}

// wantContents compares the contents of the versions of f; "" stands for one that does not exist.
func (w *world) wantContents(when string, want ...string) {
	w.t.Helper()
	for i, content := range want {
		id := schemas.VersionID("f", uint64(i+1))
		got, err := w.content(id)
		if content == "" {
			wantCode(w.t, err, schemas.UnknownVersion)
		} else if err != nil || got != content {
			w.t.Errorf("%s %s is %q, %v, want %q", when, id, got, err, content)
		}
	}
	if got, err := w.content("f"); err != nil || got != want[len(want)-1] {
		w.t.Errorf("%s the newest is %q, %v, want %q", when, got, err, want[len(want)-1])
	}
}

// Versions that were saved after the catalogue was lost stay, and follow on the lost ones after a
// rebuild. That holds, too, if the catalogue is lost again, with and without a rebuild in between.
func TestRebuildMerges(t *testing.T) {
	w := newWorld(t, 0, Options{CollectEvery: -1})
	nodes := []*runningNode{w.node(), w.node()}
	w.durability(nickname, "1+1")
	for _, c := range []string{"one", "two", "three"} {
		w.transmit(nickname, "f", c)
	}
	w.forget("f@2", false)
	w.endSessions()
	if c := w.collectAfter(0); c.Versions != 1 {
		t.Fatalf("the collection: %+v", c)
	}
	w.forget("f@1", false)

	w = w.lose(nodes...)
	w.transmit(nickname, "f", "four")
	w.transmit(nickname, "f", "five")
	w.transmit("bob", "f", "bob's")
	w = w.lose(nodes...) // before anybody rebuilds
	w.transmit(nickname, "f", "six")
	w.transmit(nickname, "f", "no more")
	w.forget("f@2", false)
	w.endSessions()
	if c := w.collect(); c.Versions != 1 || !strings.Contains(c.Error, "rebuild the catalogue") {
		t.Errorf("the collection: %+v", c)
	}
	for round := range 2 {
		rep := w.rebuild()
		want := []schemas.Moved{
			{Nickname: nickname, From: "f@1", To: "f@4"}, {Nickname: nickname, From: "f@1", To: "f@6"}, {Nickname: nickname, From: "f@2", To: "f@5"},
		}
		if round > 0 {
			want = nil // they were moved before
		}
		if !slices.Equal(rep.Moved, want) {
			t.Errorf("in round %d %v were moved, want %v", round, rep.Moved, want)
		}
		if again := w.rebuild(); again.Keys != 0 || len(again.Moved) > 0 {
			t.Errorf("a second rebuild writes %+v", again)
		}
		if got := w.versions(nickname, "f"); !slices.Equal(got, []uint64{6, 5, 4, 3}) { // 1 is forgotten
			t.Errorf("the versions are %v", got)
		}
		w.wantContents("with those that are forgotten", "one", "", "three", "four", "five", "six")
		if got := w.versions("bob", "f"); !slices.Equal(got, []uint64{1}) {
			t.Errorf("bob's versions are %v", got)
		}
		w.c.catalog.ScanBackup()
		w.backedUp()
		if c := w.collectAfter(time.Hour); c.Error != "" {
			t.Errorf("the collection: %+v", c)
		}
		w.wantContents("after a collection", "one", "", "three", "four", "five", "six")
		w = w.lose(nodes...)
	}
	w.rebuild()
	if id := w.transmit(nickname, "f", "eight"); id != "f@8" { // 7 was collected
		t.Errorf("the next version is %s", id)
	}
}

// JetStream may lose writes that it has acknowledged: a version, that a version was forgotten or
// collected, or a record. Nothing is collected then, and a rebuild brings all of them back.
func TestRebuildOfALostPart(t *testing.T) {
	w := newWorld(t, 1, Options{CollectEvery: -1})
	for _, c := range []string{"one", "two", "three", "four"} {
		w.transmit(nickname, "f", c)
	}
	w.forget("f@3", false)
	w.endSessions()
	if c := w.collectAfter(0); c.Versions != 1 {
		t.Fatalf("the collection: %+v", c)
	}
	ctx, bucket := bustest.Context(t), w.c.buckets.catalogue
	var unforgotten schemas.Version
	if _, err := bucket.Get(ctx, versionKey(nickname, "f", 2), &unforgotten); err != nil {
		t.Fatal(err)
	}
	w.forget("f@2", false)
	w.c.catalog.ScanBackup()
	w.backedUp()
	// Only newer revisions can undo the writes.
	for key, v := range map[string]*schemas.Version{versionKey(nickname, "f", 1): nil, recordKey(nickname, "f"): nil, versionKey(nickname, "f", 2): &unforgotten} {
		err := bucket.Delete(ctx, key)
		if err == nil && v != nil {
			_, err = bucket.Create(ctx, key, v)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if c := w.collect(); !strings.Contains(c.Error, "rebuild the catalogue") {
		t.Errorf("the collection: %+v", c)
	}
	if rep := w.rebuild(); rep.Keys != 1 || len(rep.Moved) > 0 {
		t.Errorf("the rebuild: %+v", rep)
	}
	if got := w.versions(nickname, "f"); !slices.Equal(got, []uint64{4, 2, 1}) {
		t.Errorf("the versions are %v", got)
	}
	w.wantContents("of the rest", "one", "two", "", "four")
	w.c.catalog.ScanBackup()
	w.backedUp()
	w.mustCollect()
}

// wantAll compares the contents of all versions of f, oldest first.
func (w *world) wantAll(want ...string) {
	w.t.Helper()
	numbers := w.versions(nickname, "f")
	slices.Reverse(numbers)
	var got []string
	for _, n := range numbers {
		content, err := w.content(schemas.VersionID("f", n))
		if err != nil {
			w.t.Error(err)
		}
		got = append(got, content)
	}
	newest, err := w.content("f")
	if !slices.Equal(got, want) || err != nil || newest != want[len(want)-1] {
		w.t.Errorf("the versions %v are %q, want %q; the newest is %q, %v", numbers, got, want, newest, err)
	}
}

// A version that is saved during a rebuild replaces no other version, and is the newest. No
// collection begins during a rebuild.
func TestSavingDuringARebuild(t *testing.T) {
	for name, at := range map[string]string{"before the first is written": "0000000001", "between": "0000000005"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 0, Options{CollectEvery: -1})
			node := w.node()
			for _, c := range []string{"one", "two", "three"} {
				w.transmit(nickname, "f", c)
			}
			tr := w.newTree(1, 1)
			w.save(opening("r"), tr)
			w = w.lose(node)
			w.transmit(nickname, "f", "four")
			w.transmit(nickname, "f", "five")
			ctx := bustest.Context(t)
			s := w.open(opening("r"))
			w.put(tr.all...)
			late := w.interposed("PUB $KV.backup-catalogue.version.ana.f."+at, func() {
				for _, c := range []string{"six", "seven"} {
					content := []byte(c)
					if _, err := w.c.transmit(ctx, &schemas.TransmitRequest{Nickname: nickname, Record: "f", Content: &content}); err != nil {
						t.Error(err)
					}
				}
				if _, err := w.c.commitSession(ctx, commitOf(s.Session, tr.root)); err != nil {
					t.Error(err)
				}
				_, err := w.c.collect(ctx, &schemas.CollectRequest{Start: true})
				wantCode(t, err, schemas.NotNow)
			})
			if _, err := late.rebuild(ctx, &schemas.RebuildRequest{}); err != nil {
				t.Fatal(err)
			}
			w.wantAll("one", "two", "three", "four", "five", "six", "seven")
			if got := w.versions(nickname, "r"); !slices.Equal(got, []uint64{2, 1}) {
				t.Errorf("the versions of r are %v", got)
			}
			// A client that has missed the answer gets the version's present number.
			if v, err := w.commit(s.Session, tr.root); err != nil || v.Session != s.Session || v.Number != 2 {
				t.Errorf("the second commit gives %+v, %v", v, err)
			}
			w.c.catalog.ScanBackup()
			w.backedUp()
			w.mustCollect()
		})
	}
}

// A catalogue that was given more numbers than the one before it leaves numbers without a version.
// They do not prevent a collection.
func TestRebuildAfterALongerCatalogue(t *testing.T) {
	for name, between := range map[string]bool{"brought back in between": true, "not noticed": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 0, Options{CollectEvery: -1})
			nodes := []*runningNode{w.node()}
			w.transmit(nickname, "f", "one")
			w = w.lose(nodes...)
			w.transmit(nickname, "f", "two")
			w.transmit(nickname, "f", "three")
			if between {
				w.rebuild()
			}
			w = w.lose(nodes...)
			w.rebuild()
			w.wantAll("one", "two", "three")
			w.c.catalog.ScanBackup()
			w.backedUp()
			w.mustCollect()
			w.wantAll("one", "two", "three")
		})
	}
}

// If a rebuild was broken off and has left a version under two numbers, the version is not removed
// under one of them: the tombstone would remove it under the other one, too.
func TestAVersionWithTwoNumbersIsNotRemoved(t *testing.T) {
	w := newWorld(t, 1, Options{CollectEvery: -1})
	w.transmit(nickname, "f", "one")
	w.transmit(nickname, "f", "two")
	var v schemas.Version
	ctx, bucket := bustest.Context(t), w.c.buckets.catalogue
	if _, err := bucket.Get(ctx, versionKey(nickname, "f", 1), &v); err != nil {
		t.Fatal(err)
	}
	v.Number, v.ID = 3, "f@3"
	if _, err := bucket.Create(ctx, versionKey(nickname, "f", 3), &v); err != nil {
		t.Fatal(err)
	}
	w.forget("f@1", false)
	if c := w.collect(); !strings.Contains(c.Error, "twice") || c.Versions != 0 {
		t.Errorf("the collection: %+v", c)
	}
	w.forget("f@1", true)
	w.rebuild()
	w.wantAll("one", "two")
	w.c.catalog.ScanBackup()
	w.backedUp()
	w.mustCollect()
}

// Versions that only a node knows which is down come back when the node comes back. Until then
// no collection runs.
func TestRebuildWithoutANode(t *testing.T) {
	w := newWorld(t, 0, Options{})
	nodes := []*runningNode{w.node(), w.node()}
	for _, c := range []string{"one", "two", "three", "four", "five", "six"} {
		w.transmit(nickname, "f", c)
	}
	w = w.lose(nodes...)
	if err := nodes[1].Stop(); err != nil {
		t.Fatal(err)
	}
	nodes[1].nc.Close()
	w.becomes(nodes[1].store.NodeID(), schemas.Down)
	rep := w.rebuild()
	if len(rep.NotAsked) != 1 {
		t.Errorf("the missing nodes are %v", rep.NotAsked)
	}
	known := len(w.versions(nickname, "f"))
	w.nodeOn(nodes[1].store)
	w.becomes(nodes[1].store.NodeID(), schemas.Up)
	if c := w.collect(); known < 6 && !strings.Contains(c.Error, "rebuild the catalogue") {
		t.Errorf("with %d of 6 versions the collection says %+v", known, c)
	}
	if rep := w.rebuild(); len(rep.NotAsked) != 0 {
		t.Errorf("the missing nodes are %v", rep.NotAsked)
	}
	w.wantContents("with all nodes", "one", "two", "three", "four", "five", "six")
}

// A rebuild that was broken off continues when it is asked for again. A rebuild fails if a node
// that is up does not respond.
func TestRebuildGoesOn(t *testing.T) {
	w := newWorld(t, 0, Options{CollectEvery: -1})
	nodes := []*runningNode{w.node()}
	for _, c := range []string{"one", "two", "three"} {
		w.transmit(nickname, "f", c)
	}
	w = w.lose(nodes...)
	w.transmit(nickname, "f", "four")
	ctx, cancel := context.WithCancel(bustest.Context(t))
	late := w.interposed("PUB $KV.backup-catalogue.version.", cancel)
	if _, err := late.rebuild(ctx, &schemas.RebuildRequest{}); err == nil {
		t.Error("the rebuild was not broken off")
	}
	if c := w.collect(); !strings.Contains(c.Error, "rebuild the catalogue") {
		t.Errorf("the collection: %+v", c)
	}
	another := w.node()
	another.nc.Close()
	if err := w.request(schemas.SubjectRebuild, &schemas.RebuildRequest{}, &schemas.RebuildReply{}); err == nil {
		t.Error("the rebuild succeeds without a node that is up")
	}
	w.becomes(another.store.NodeID(), schemas.Down)
	w.rebuild()
	w.wantContents("in the end", "one", "two", "three", "four")
}
