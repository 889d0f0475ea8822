package coordinator

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"servidor-backup/bus/bustest"
	"servidor-backup/bus/kv"
	"servidor-backup/coordinator/catalog"
	"servidor-backup/coordinator/gc"
	"servidor-backup/coordinator/internal/lease"
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

// holding counts the chunks that some node has. It does not pin them.
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

// A collection removes the chunks that no version needs any more, and no others: chunks that two
// versions share stay as long as one of the versions exists.
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
	if c.Versions != 0 || c.Chunks != int64(2*len(garbage.all)) { // two replicas
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
	_, err := w.c.catalog.Version(bustest.Context(t), nickname, "r", 1)
	wantCode(t, err, schemas.UnknownVersion)
	wantCode(t, w.request(schemas.SubjectForget, &schemas.ForgetRequest{Nickname: nickname, ID: "r@1", Undo: true}, &schemas.ForgetReply{}), schemas.UnknownVersion)
	if c := w.mustCollect(); c.Versions != 0 {
		t.Errorf("the second collection: %+v", c)
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
	ctx := bustest.Context(w.t)
	var keys []string
	err := w.c.buckets.sessions.Scan(ctx, ">", func(e kv.Entry) error {
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

// A version that was forgotten a moment ago is not collected yet.
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
		t.Errorf("the versions taken back are %v", got)
	}
	if _, err := w.content("f"); err != nil {
		t.Error(err)
	}
}

// An open session keeps the chunks that it has put, and those of its parent even if the parent was
// forgotten and collected; and it can become a version.
func TestCollectionAndSessions(t *testing.T) {
	w := newWorld(t, 0, Options{})
	nodes := []*runningNode{w.node(), w.node()}
	parent := w.newTree(3, 4)
	w.save(opening("r"), parent)
	w.endSessions()
	// A collection that ends before it marks leaves the parent in an older generation than the
	// session will have.
	dead := w.steps(func(c *collecting, phase string) {
		if phase == "marking" {
			c.cancel()
		}
	})
	if dead.Error == "" || dead.Marked != 0 {
		t.Fatalf("the collection: %+v", dead)
	}
	s := w.open(opening("r"))
	leaf, pieces := w.leaf(4)
	child := w.treeOf(append(slices.Clone(parent.leaves[:2]), leaf), nil)
	w.put(append(pieces, leaf)...)
	w.forget("r", false)
	for range 2 {
		if c := w.mustCollect(); c.Chunks > 2*3 { // the catalogue's backup
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
	w.wantHeld("reused chunks", nodes, parent.all, 2*5)
}

// A session does not build on a version that is collected while it is opened.
func TestOpeningWhileCollecting(t *testing.T) {
	w := newWorld(t, 1, Options{})
	tr := w.newTree(1, 1)
	w.save(opening("r"), tr)
	w.save(opening("r"), tr)
	ctx := bustest.Context(t)
	// The head still names the version, as it would on a replica that is behind.
	if err := w.c.buckets.catalogue.Delete(ctx, versionKey(nickname, "r", 2)); err != nil {
		t.Fatal(err)
	}
	wantCode(t, w.opens("r"), schemas.Unavailable)
	if _, err := w.c.catalog.Forget(ctx, nickname, "r", 0, true); err != nil { // which refreshes the head
		t.Fatal(err)
	}
	if s := w.open(opening("r")); s.Parent == nil || s.Parent.Number != 1 {
		t.Errorf("the session builds on %+v", s.Parent)
	}
	if v := w.save(opening("r"), tr); v.Number != 3 {
		t.Errorf("the next version is %d", v.Number)
	}
}

// collecting is a collection that a test runs itself.
type collecting struct {
	ctx        context.Context // until the lease is lost
	cancel     context.CancelFunc
	generation uint32
}

// collectWith runs a collection, calls spoil before each phase, and returns how it went.
func (w *world) collectWith(hooks gc.Hooks, spoil func(c *collecting, phase string)) schemas.Collection {
	w.t.Helper()
	held, release, err := w.c.leases.TakeSoon(bustest.Context(w.t), lease.Collection)
	if err != nil {
		w.t.Fatal(err)
	}
	defer release()
	begun, err := gc.Begin(held, w.c.catalog)
	if err != nil {
		w.t.Fatal(err)
	}
	held, cancel := context.WithCancel(held)
	defer cancel()
	d := w.c.collectionDeps(0)
	d.Hooks = hooks
	d.Hooks.Phase = func(phase string) { spoil(&collecting{held, cancel, begun.Generation}, phase) }
	return w.c.runCollection(held, d, begun).Collection
}

// steps is collectWith without further hooks.
func (w *world) steps(spoil func(c *collecting, phase string)) schemas.Collection {
	w.t.Helper()
	return w.collectWith(gc.Hooks{}, spoil)
}

// stealLease makes a running collection lose its lease.
func (w *world) stealLease() {
	w.t.Helper()
	e := map[string]any{}
	_, err := w.c.buckets.leases.Edit(bustest.Context(w.t), lease.Collection, &e, func() {}, func() (bool, error) {
		e["holder"] = "another"
		return true, nil
	})
	if err != nil {
		w.t.Error(err)
	}
}

// Whenever marking may have missed a chunk, nothing is swept, and the collection says why.
func TestNothingIsSweptInDoubt(t *testing.T) {
	for name, c := range map[string]struct {
		before string
		spoil  func(w *world, nodes []*runningNode)
		says   string
	}{
		"the map changes": {"sweeping", func(w *world, nodes []*runningNode) {
			if _, err := w.c.members.SetPolicy(bustest.Context(w.t), &schemas.PolicyRequest{Set: &schemas.Policy{Degraded: new(bool)}}); err != nil {
				w.t.Error(err)
			}
		}, "changed"},
		"a tree is lost": {"beginning", func(w *world, nodes []*runningNode) {
			v := &schemas.Version{Nickname: nickname, Record: "x", Vault: schemas.SealedVault(nickname), Root: schemas.ChunkID{7}, RootKind: schemas.Tree, Session: "x"}
			if _, err := w.c.catalog.Commit(bustest.Context(w.t), v, 0, false); err != nil {
				w.t.Error(err)
			}
		}, "tree cannot be read"},
		"the lease is lost": {"marking", func(w *world, nodes []*runningNode) {
			w.stealLease()
		}, "lease"},
		"no node takes part": {"beginning", func(w *world, nodes []*runningNode) {
			for _, n := range nodes {
				n.nc.Close()
			}
		}, "takes part"},
		"the catalogue was lost": {"beginning", func(w *world, nodes []*runningNode) {
			chunk, err := catalog.BackupChunk(&schemas.CatalogueEntry{Key: "version.ana.other.0000000001", Revision: 1})
			if err != nil {
				w.t.Error(err)
			}
			w.putAt(nodes[0].store.NodeID(), schemas.CatalogueVault(), chunk)
		}, "rebuild the catalogue"},
		"a node has its marks of another collection": {"marking", func(w *world, nodes []*runningNode) {
			for _, n := range nodes {
				if err := n.store.SetGeneration(bustest.Context(w.t), n.store.Generation()+99); err != nil {
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
			got := w.steps(func(g *collecting, phase string) {
				if phase != c.before {
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

// A node that fails while marking does not sweep, and is named; the other nodes sweep. No chunk
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
	c := w.steps(func(_ *collecting, phase string) {
		if phase == "marking" {
			ahead = nodes[0].store.Generation() + 4
			if err := nodes[0].store.SetGeneration(bustest.Context(t), ahead); err != nil {
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
		c = w.collect() // the node refuses generations below its own
	}
	w.wantHeld("garbage", nodes, garbage.all, 0)
	w.wantHeld("the version", nodes, tr.all, len(tr.all))
}

// Two nicknames that share a key have chunks of the same ids. Misplaced trees are descended for
// both.
func TestCollectionOfMisplacedTreesInTwoVaults(t *testing.T) {
	w := newWorld(t, 0, Options{CollectEvery: -1})
	w.durability("", "1+0")
	nodes := []*runningNode{w.node(), w.node()}
	tr := w.newTree(3, 3)
	m := w.c.members.Map()
	names := []string{nickname, "rui"}
	for _, name := range names {
		for _, c := range tr.all {
			second := placement.New(m).Place(nil, c.ID, 2)[1]
			if c.Kind == schemas.Tree {
				w.putAt(second, schemas.SealedVault(name), c)
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

// A client that waits for a collection hears that no coordinator runs it any more, before the
// schedule of a coordinator finds that out.
func TestAbandonedCollection(t *testing.T) {
	w := newWorld(t, 1, Options{})
	held, release, err := w.c.leases.Take(bustest.Context(t), lease.Collection)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gc.Begin(held, w.c.catalog); err != nil {
		t.Fatal(err)
	}
	var rep schemas.CollectReply
	if err := w.request(schemas.SubjectCollect, &schemas.CollectRequest{}, &rep); err != nil || rep.Collection.Ended > 0 {
		t.Fatalf("the running collection: %+v, %v", rep.Collection, err)
	}
	release()
	bustest.Eventually(t, "the collection has ended", func() bool {
		err := w.request(schemas.SubjectCollect, &schemas.CollectRequest{}, &rep)
		return err == nil && rep.Collection.Ended > 0 && rep.Collection.Error != ""
	})
	w.mustCollect()
}

// A collection is started on schedule, once, however many coordinators there are.
func TestScheduledCollection(t *testing.T) {
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

// After the catalogue was lost and backups went on, the new catalogue may have all keys of the
// lost one, in newer revisions. The chunks of the lost versions are not swept, and a rebuild
// brings the versions back.
func TestNothingIsSweptForAnotherCatalogue(t *testing.T) {
	w := newWorld(t, 0, Options{})
	nodes := []*runningNode{w.node()}
	tr := w.newTree(2, 2)
	w.save(opening("r"), tr)
	w = w.lose(nodes...)
	w.save(opening("r"), w.newTree(1, 1)) // becomes r@1, too
	w.endSessions()
	w.c.catalog.ScanBackup()
	w.backedUp()
	if c := w.collect(); !strings.Contains(c.Error, "rebuild the catalogue") {
		t.Errorf("the collection: %+v", c)
	}
	w.wantHeld("the lost version", nodes, tr.all, len(tr.all))
	w.rebuild()
	w.mustCollect()
	w.wantHeld("the lost version", nodes, tr.all, len(tr.all))
}

// If only the state bucket is lost, generations continue above those before: no collection uses
// a generation in which another one has marked, and nodes of earlier generations take part.
func TestGenerationsOfALostState(t *testing.T) {
	w := newWorld(t, 1, Options{CollectEvery: -1})
	w.mustCollect()
	before := w.mustCollect().Generation
	ctx := bustest.Context(t)
	for _, key := range []string{"generations", "collection"} {
		if err := w.c.buckets.state.Delete(ctx, key); err != nil {
			t.Fatal(err)
		}
	}
	// Numbers continue with the time, which must be above the earlier numbers.
	bustest.Eventually(t, "a second is over", func() bool { return uint32(time.Now().Unix()) > before })
	if now := w.mustCollect().Generation; now <= before {
		t.Errorf("generation %d comes after %d", now, before)
	}
}
