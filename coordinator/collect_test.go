package coordinator

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"servidor-backup/bus/bustest"
	"servidor-backup/bus/kv"
	"servidor-backup/schemas"
	"servidor-backup/schemas/placement"
)

// collect runs a whole collection and returns how it went.
func (w *world) collect() schemas.Collection {
	w.t.Helper()
	none := int64(0)
	var rep schemas.CollectReply
	if err := w.request(schemas.SubjectCollect, &schemas.CollectRequest{Start: true, Grace: &none}, &rep); err != nil {
		w.t.Fatal(err)
	}
	generation := rep.Collection.Generation
	bustest.Eventually(w.t, "the collection ends", func() bool {
		if err := w.request(schemas.SubjectCollect, &schemas.CollectRequest{}, &rep); err != nil {
			w.t.Fatal(err)
		}
		return rep.Collection.Generation >= generation && rep.Collection.Ended > 0
	})
	return rep.Collection
}

func (w *world) mustCollect() schemas.Collection {
	w.t.Helper()
	c := w.collect()
	if c.Error != "" || c.Skipped != "" {
		w.t.Fatalf("the collection: %+v", c)
	}
	return c
}

// holding is how many of the chunks some node has, without a promise for them.
func holding(t *testing.T, nodes []*runningNode, chunks []schemas.Chunk) (n int) {
	t.Helper()
	for i := range chunks {
		if slices.ContainsFunc(nodes, func(r *runningNode) bool {
			_, err := r.store.Get(schemas.SealedVault(nickname), chunks[i].ID)
			return err == nil
		}) {
			n++
		}
	}
	return n
}

func (w *world) wantHeld(what string, nodes []*runningNode, chunks []schemas.Chunk, want int) {
	w.t.Helper()
	if n := holding(w.t, nodes, chunks); n != want {
		w.t.Errorf("%s: %d of %d chunks are held, want %d", what, n, len(chunks), want)
	}
}

// A collection takes what no version needs any more, and nothing else: what two
// versions share stays with the one that is left.
func TestCollection(t *testing.T) {
	w := newWorld(t, 0, Options{})
	nodes := []*runningNode{w.node(), w.node(), w.node()}
	old := w.newTree(4, 5)
	w.save(opening("r"), old)
	leaf, pieces := w.leaf(5)
	new := w.treeOf(append(slices.Clone(old.leaves[:3]), leaf), append(pieces, leaf))
	w.save(opening("r"), new)
	garbage := w.newTree(2, 5)
	w.put(garbage.all...) // of a session that lapsed long ago
	w.transmit(nickname, "f", "plain")
	w.endSessions()

	done := w.events(schemas.EventCollected)
	c := w.mustCollect()
	if c.Versions != 0 || c.Chunks != int64(2*len(garbage.all)) { // two copies
		t.Errorf("the collection: %+v", c)
	}
	bustest.Receive(t, "the event", done)
	w.wantHeld("garbage", nodes, garbage.all, 0)
	w.wantHeld("the old version", nodes, old.all, len(old.all))

	w.forget("r@1", false)
	if c := w.mustCollect(); c.Versions != 1 || c.Chunks < 2*7 {
		t.Errorf("the collection: %+v", c)
	}
	gone := slices.DeleteFunc(slices.Clone(old.all), func(x schemas.Chunk) bool {
		return !(x.ID == old.root || x.ID == old.leaves[3].ID || slices.Contains(old.leaves[3].Data, x.ID))
	})
	w.wantHeld("what the old version had alone", nodes, gone, 0)
	w.wantHeld("the new version", nodes, new.all, len(new.all))
	w.wantHeld("the old version", nodes, old.all, len(old.all)-len(gone))
	if _, err := w.content("f"); err != nil {
		t.Error(err)
	}
	_, err := w.c.records.version(bustest.Patient(t), nickname, "r", 1)
	wantCode(t, err, schemas.UnknownVersion)
	wantCode(t, w.request(schemas.SubjectForget, &schemas.ForgetRequest{Nickname: nickname, ID: "r@1", Undo: true}, &schemas.ForgetReply{}), schemas.UnknownVersion)
	if c := w.mustCollect(); c.Versions != 0 {
		t.Errorf("once more: %+v", c)
	}
	if v := w.save(opening("r"), new); v.Number != 3 {
		t.Errorf("the next version is %d", v.Number)
	}

	w.forget("r", false)
	w.endSessions()
	w.mustCollect()
	w.wantHeld("a record that was forgotten", nodes, new.all, 0)
	other := opening("r")
	other.Source = sourceOf(9) // the name stands for nothing any more
	if v := w.save(other, w.newTree(1, 1)); v.Number != 4 {
		t.Errorf("the first version after all were collected is %d", v.Number)
	}
}

// endSessions makes all sessions lapse.
func (w *world) endSessions() {
	w.t.Helper()
	ctx := bustest.Patient(w.t)
	var keys []string
	err := w.c.sessions.Scan(ctx, ">", func(e kv.Entry) error {
		keys = append(keys, e.Key)
		return nil
	})
	for _, k := range keys {
		if err == nil {
			err = w.c.sessions.Delete(ctx, k)
		}
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// What was forgotten a moment ago is not collected yet.
func TestCollectionWaits(t *testing.T) {
	w := newWorld(t, 1, Options{})
	w.transmit(nickname, "f", "x")
	w.forget("f", false)
	var rep schemas.CollectReply
	if err := w.request(schemas.SubjectCollect, &schemas.CollectRequest{Start: true}, &rep); err != nil {
		t.Fatal(err)
	}
	bustest.Eventually(t, "the collection ends", func() bool {
		return w.request(schemas.SubjectCollect, &schemas.CollectRequest{}, &rep) == nil && rep.Collection.Ended > 0
	})
	if rep.Collection.Versions != 0 || rep.Collection.Error != "" {
		t.Errorf("the collection: %+v", rep.Collection)
	}
	if got := w.forget("f", true); len(got) != 1 {
		t.Errorf("taken back are %v", got)
	}
	if _, err := w.content("f"); err != nil {
		t.Error(err)
	}
}

// A session that is open keeps what it has put, and what it builds on although that
// was forgotten and collected; and it becomes a version.
func TestCollectionAndSessions(t *testing.T) {
	w := newWorld(t, 0, Options{})
	nodes := []*runningNode{w.node(), w.node()}
	parent := w.newTree(3, 4)
	w.save(opening("r"), parent)
	w.endSessions()
	// One that dies before it marks leaves the parent in an older generation than the
	// session will be.
	g, err := w.c.newCollection(bustest.Patient(t), 0)
	if err == nil {
		err = g.tellNodes()
	}
	if err != nil {
		t.Fatal(err)
	}
	s := w.open(opening("r"))
	leaf, pieces := w.leaf(4)
	child := w.treeOf(append(slices.Clone(parent.leaves[:2]), leaf), nil)
	w.put(append(pieces, leaf)...)
	w.forget("r", false)
	for range 2 {
		if c := w.mustCollect(); c.Chunks > 2*3 { // copies of the catalogue
			t.Errorf("the collection: %+v", c)
		}
	}
	w.put(child.all...)
	if _, err := w.commit(s.Session, child.root); err != nil {
		t.Fatal(err)
	}
	w.endSessions()
	w.mustCollect()
	w.wantHeld("the new leaf", nodes, append(pieces, leaf), 5)
	w.wantHeld("what was taken over", nodes, parent.all, 2*5)
}

// A session does not build on a version that is collected while it is opened.
func TestOpeningWhileCollecting(t *testing.T) {
	w := newWorld(t, 1, Options{})
	tr := w.newTree(1, 1)
	w.save(opening("r"), tr)
	w.save(opening("r"), tr)
	ctx := bustest.Patient(t)
	// The head still names the version, as it would on a replica that is behind.
	if err := w.c.records.kv.Delete(ctx, versionKey(nickname, "r", 2)); err != nil {
		t.Fatal(err)
	}
	wantCode(t, w.opens("r"), schemas.Unavailable)
	if err := w.c.records.refresh(ctx, nickname, "r"); err != nil {
		t.Fatal(err)
	}
	if s := w.open(opening("r")); s.Parent == nil || s.Parent.Number != 1 {
		t.Errorf("the session builds on %+v", s.Parent)
	}
	if v := w.save(opening("r"), tr); v.Number != 3 {
		t.Errorf("the next version is %d", v.Number)
	}
}

// steps runs a collection up to its sweep, calls spoil before the marking and before the
// sweep, and returns how it went.
func (w *world) steps(spoil func(g *collection, before string)) schemas.Collection {
	w.t.Helper()
	held, release, err := w.c.leases.take(bustest.Patient(w.t), collectLease)
	if err != nil {
		w.t.Fatal(err)
	}
	defer release()
	g, err := w.c.newCollection(held, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	g.step = func(name string) { spoil(g, name) }
	g.run()
	return g.res.Collection
}

// Whenever something may have been missed, nothing is swept, and the collection says
// why.
func TestNothingIsSweptInDoubt(t *testing.T) {
	for name, c := range map[string]struct {
		before string
		spoil  func(w *world, nodes []*runningNode)
		says   string
	}{
		"the map changes": {"sweeping", func(w *world, nodes []*runningNode) {
			if err := w.c.members.decide(bustest.Patient(w.t), "", &schemas.Policy{Degraded: new(bool)}); err != nil {
				w.t.Error(err)
			}
		}, "changed"},
		"a tree is lost": {"beginning", func(w *world, nodes []*runningNode) {
			v := &schemas.Version{Nickname: nickname, Record: "x", Vault: schemas.SealedVault(nickname), Root: schemas.ChunkID{7}, RootKind: schemas.Tree, Session: "x"}
			if _, err := w.c.records.commit(bustest.Patient(w.t), v, 0, false); err != nil {
				w.t.Error(err)
			}
		}, "tree cannot be read"},
		"the lease is lost": {"marking", func(w *world, nodes []*runningNode) {
			var e leaseEntry
			_, err := w.c.leases.kv.Edit(bustest.Patient(w.t), collectLease, &e, func() {}, func() (bool, error) {
				e.Holder = "thief"
				return true, nil
			})
			if err != nil {
				w.t.Error(err)
			}
		}, "lease"},
		"no node takes part": {"beginning", func(w *world, nodes []*runningNode) {
			for _, n := range nodes {
				n.nc.Close()
			}
		}, "takes part"},
		"the catalogue was lost": {"beginning", func(w *world, nodes []*runningNode) {
			chunk, err := copyOf(&schemas.CatalogueEntry{Key: "version.ana.other.0000000001", Revision: 1})
			if err != nil {
				w.t.Error(err)
			}
			w.putAt(nodes[0].store.NodeID(), schemas.CatalogueVault(), chunk)
		}, "rebuild-catalogue"},
		"a node has its marks of another collection": {"marking", func(w *world, nodes []*runningNode) {
			for _, n := range nodes {
				if err := n.store.SetGeneration(bustest.Patient(w.t), n.store.Generation()+99); err != nil {
					w.t.Error(err)
				}
			}
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 0, Options{LeaseTerm: time.Second, CollectEvery: -1})
			nodes := []*runningNode{w.node(), w.node()}
			tr, garbage := w.newTree(2, 2), w.newTree(2, 2)
			w.save(opening("r"), tr)
			w.put(garbage.all...)
			if c.before == "beginning" {
				c.spoil(w, nodes)
			}
			got := w.steps(func(g *collection, before string) {
				if before != c.before {
					return
				}
				c.spoil(w, nodes)
				if c.says == "lease" {
					<-g.ctx.Done()
				}
			})
			if !strings.Contains(got.Error, c.says) || got.Chunks != 0 || got.Error+got.Skipped == "" {
				t.Errorf("the collection: %+v; want an error about %q", got, c.says)
			}
			w.wantHeld("garbage", nodes, garbage.all, len(garbage.all))
			w.wantHeld("the version", nodes, tr.all, len(tr.all))
		})
	}
}

// A node that fails while marking does not sweep, and is named; the others do. Nothing
// that is needed is lost.
func TestCollectionSkipsNodes(t *testing.T) {
	w := newWorld(t, 0, Options{CollectEvery: -1})
	w.durability("", "1+0")
	nodes := []*runningNode{w.node(), w.node(), w.node()}
	tr, garbage := w.newTree(6, 6), w.newTree(6, 6)
	w.save(opening("r"), tr)
	w.put(garbage.all...)
	before := holding(t, nodes[:1], garbage.all)
	if before == 0 {
		t.Fatal("the first node has nothing")
	}
	var ahead uint32
	c := w.steps(func(_ *collection, before string) {
		if before == "marking" {
			ahead = nodes[0].store.Generation() + 4
			if err := nodes[0].store.SetGeneration(bustest.Patient(t), ahead); err != nil {
				t.Error(err)
			}
		}
	})
	if c.Error != "" || !strings.Contains(c.Skipped, string(nodes[0].store.NodeID())) || !strings.Contains(c.Skipped, fmt.Sprint("generation ", ahead)) {
		t.Errorf("the collection: %+v", c)
	}
	w.wantHeld("at the node that failed", nodes[:1], garbage.all, before)
	w.wantHeld("at the others", nodes[1:], garbage.all, 0)
	w.wantHeld("the version", nodes, tr.all, len(tr.all))
	for c.Generation <= ahead {
		c = w.collect() // the node refuses what it has passed already
	}
	w.wantHeld("garbage", nodes, garbage.all, 0)
	w.wantHeld("the version", nodes, tr.all, len(tr.all))
}

// Two nicknames that share a key have chunks of the same ids. Trees that are not at home
// are descended for both.
func TestCollectionOfStraysInTwoVaults(t *testing.T) {
	w := newWorld(t, 0, Options{CollectEvery: -1})
	w.durability("", "1+0")
	nodes := []*runningNode{w.node(), w.node()}
	tr := w.newTree(3, 3)
	m := w.c.members.nodeMap()
	names := []string{nickname, "rui"}
	for _, name := range names {
		for _, c := range tr.all {
			away := placement.New(m).Place(nil, c.ID, 2)[1]
			if c.Kind == schemas.Tree {
				w.putAt(away, schemas.SealedVault(name), c)
			} else {
				w.putOf(name, c)
			}
		}
		w.enter(name, "r", tr.root)
	}
	w.mustCollect()
	for _, name := range names {
		for _, c := range tr.all {
			if !slices.ContainsFunc(nodes, func(n *runningNode) bool {
				_, err := n.store.Get(schemas.SealedVault(name), c.ID)
				return err == nil
			}) {
				t.Errorf("%v %s of %s was swept", c.Kind, c.ID.Short(), name)
			}
		}
	}
}

// Whoever waits for a collection hears that nobody runs it any more, and need not wait for
// somebody who looks from time to time.
func TestCollectionOfTheDead(t *testing.T) {
	w := newWorld(t, 1, Options{})
	held, release, err := w.c.leases.take(bustest.Patient(t), collectLease)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.c.newCollection(held, 0); err != nil {
		t.Fatal(err)
	}
	var rep schemas.CollectReply
	if err := w.request(schemas.SubjectCollect, &schemas.CollectRequest{}, &rep); err != nil || rep.Collection.Ended > 0 {
		t.Fatalf("of one that is under way is said %+v, %v", rep.Collection, err)
	}
	release()
	bustest.Eventually(t, "it is over", func() bool {
		err := w.request(schemas.SubjectCollect, &schemas.CollectRequest{}, &rep)
		return err == nil && rep.Collection.Ended > 0 && rep.Collection.Error != ""
	})
	w.mustCollect()
}

// A collection runs by itself, once, however many coordinators there are.
func TestCollectionByItself(t *testing.T) {
	w := newWorld(t, 0, Options{CollectEvery: 2 * time.Second})
	w.coordinator(Options{CollectEvery: 2 * time.Second})
	w.node()
	done := w.events(schemas.EventCollected)
	first := bustest.Receive(t, "the event", done)
	second := bustest.Receive(t, "the event", done)
	var one, two uint32
	if _, err := fmt.Sscan(first.Subject+" "+second.Subject, &one, &two); err != nil {
		t.Error(err)
	}
	if one == 0 || two != one+1 || time.Duration(second.Time-first.Time) < time.Second {
		t.Errorf("the events are %+v, %+v", first, second)
	}
}

// A catalogue that was lost, and in which backups went on, may know all keys again, in newer
// revisions: what the lost one knew is not swept for it, but brought back.
func TestNothingIsSweptForAnotherCatalogue(t *testing.T) {
	w := newWorld(t, 0, Options{})
	nodes := []*runningNode{w.node()}
	tr := w.newTree(2, 2)
	w.save(opening("r"), tr)
	w = w.lose(nodes...)
	w.save(opening("r"), w.newTree(1, 1)) // r@1 once more
	w.endSessions()
	w.c.look()
	w.copied()
	if c := w.collect(); !strings.Contains(c.Error, "rebuild-catalogue") {
		t.Errorf("the collection: %+v", c)
	}
	w.wantHeld("the lost version", nodes, tr.all, len(tr.all))
	w.rebuild()
	w.mustCollect()
	w.wantHeld("the lost version", nodes, tr.all, len(tr.all))
}

// A state that is lost alone takes no number with it: no collection is in a generation in
// which another one has marked, and a node that was in it takes part.
func TestGenerationsOfALostState(t *testing.T) {
	w := newWorld(t, 1, Options{CollectEvery: -1})
	w.mustCollect()
	before := w.mustCollect().Generation
	ctx := bustest.Patient(t)
	for _, key := range []string{generationsKey, collectionKey} {
		if err := w.c.state.kv.Delete(ctx, key); err != nil {
			t.Fatal(err)
		}
	}
	// As if some time had passed since the first of them.
	bustest.Eventually(t, "a second is over", func() bool { return secondsNow() > before })
	if now := w.mustCollect().Generation; now <= before {
		t.Errorf("generation %d comes after %d", now, before)
	}
}
