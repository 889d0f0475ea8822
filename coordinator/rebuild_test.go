package coordinator

import (
	"slices"
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
