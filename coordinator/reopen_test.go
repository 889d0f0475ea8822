package coordinator

import (
	"slices"
	"testing"

	"servidor-backup/bus/bustest"
	"servidor-backup/schemas"
)

// lapse makes a session lapse at once.
func (w *world) lapse(s *schemas.SessionReply) {
	w.t.Helper()
	if err := w.c.sessions.Delete(bustest.Context(w.t), s.Session); err != nil {
		w.t.Fatal(err)
	}
}

// commitAgain commits a session with its token.
func (w *world) commitAgain(s *schemas.SessionReply, root schemas.ChunkID) (*schemas.Version, error) {
	w.t.Helper()
	req, rep := commitOf(s.Session, root), schemas.CommitReply{}
	req.Token = s.Token
	err := w.request(schemas.SubjectSessionCommit, req, &rep)
	return rep.Version, err
}

func (w *world) renew(s *schemas.SessionReply) error {
	w.t.Helper()
	return w.request(schemas.SubjectSessionRenew, &schemas.RenewRequest{Session: s.Session, Token: s.Token}, &schemas.SessionReply{})
}

// A session that has lapsed goes on under its id, at any coordinator, whether its client renews it
// or commits, and becomes one version.
func TestALapsedSessionGoesOn(t *testing.T) {
	w := newWorld(t, 1, Options{})
	w.coordinator(Options{})
	first, second := w.newTree(2, 3), w.newTree(2, 3)
	s := w.open(opening("r"))
	w.put(first.all...)
	w.lapse(s)
	wantCode(t, w.request(schemas.SubjectSessionRenew, &schemas.RenewRequest{Session: s.Session}, &schemas.SessionReply{}), schemas.UnknownSession)
	for range 2 {
		if err := w.renew(s); err != nil {
			t.Fatal(err)
		}
	}
	w.lapse(s)
	// The answer to the first commit is lost, and the session lapses once more.
	for range 3 {
		if v, err := w.commitAgain(s, first.root); err != nil || v.ID != "r@1" || v.Session != s.Session {
			t.Errorf("the version is %+v, %v", v, err)
		}
		w.lapse(s)
	}
	next := w.open(opening("r"))
	w.put(second.all...)
	w.lapse(next)
	if v, err := w.commitAgain(next, second.root); err != nil || v.ID != "r@2" {
		t.Errorf("the next version is %+v, %v", v, err)
	}
	for _, token := range []string{"x", string(next.Token)} {
		err := w.request(schemas.SubjectSessionRenew, &schemas.RenewRequest{Session: "other", Token: []byte(token)}, &schemas.SessionReply{})
		wantCode(t, err, schemas.BadRequest)
	}
}

// What a session has put before it lapsed may be collected. Then its version is refused until the
// chunks were put again.
func TestALapsedSessionMayMissChunks(t *testing.T) {
	w := newWorld(t, 0, Options{})
	nodes := []*runningNode{w.node()}
	tr := w.newTree(2, 3)
	s := w.open(opening("r"))
	w.put(tr.all...)
	w.lapse(s)
	w.mustCollect()
	_, err := w.commitAgain(s, tr.root)
	wantCode(t, err, schemas.Incomplete)
	if names := w.list(nickname); len(names) != 0 {
		t.Errorf("the list is %v", names)
	}
	w.put(tr.all...)
	w.mustCollect() // now the session is open
	if _, err := w.commitAgain(s, tr.root); err != nil {
		t.Fatal(err)
	}
	w.endSessions()
	w.mustCollect()
	w.wantHeld("the tree", nodes, tr.all, len(tr.all))
}

// A collection that knows the session only since it was opened again removes nothing that the
// commit has found.
func TestALapsedSessionCommitsDuringACollection(t *testing.T) {
	w := newWorld(t, 0, Options{})
	nodes := []*runningNode{w.node()}
	tr := w.newTree(2, 3)
	s := w.open(opening("r"))
	w.put(tr.all...)
	w.lapse(s)
	w.steps(func(c *collecting, phase string) {
		if phase == "marking" {
			c.cancel() // a generation has begun, and nothing was removed
		}
	})
	if err := w.renew(s); err != nil {
		t.Fatal(err)
	}
	c := w.steps(func(_ *collecting, phase string) {
		if phase != "sweeping" {
			return
		}
		if _, err := w.commitAgain(s, tr.root); err != nil {
			t.Error(err)
		}
	})
	if c.Error != "" {
		t.Errorf("the collection: %+v", c)
	}
	w.wantHeld("the tree", nodes, tr.all, len(tr.all))
}

// The parent of a session that has lapsed may be collected. What the client took over from it is
// then checked like everything else.
func TestALapsedSessionMayLoseItsParent(t *testing.T) {
	w := newWorld(t, 1, Options{})
	parent := w.newTree(2, 3)
	w.save(opening("r"), parent)
	w.endSessions()
	s := w.open(opening("r"))
	leaf, pieces := w.leaf(2)
	child := w.treeOf(append(slices.Clone(parent.leaves[:1]), leaf), append(pieces, leaf))
	w.put(child.all...)
	w.lapse(s)
	w.forget("r", false)
	w.mustCollect()
	_, err := w.commitAgain(s, child.root)
	wantCode(t, err, schemas.Incomplete)
	w.put(parent.all...)
	w.put(child.all...)
	if v, err := w.commitAgain(s, child.root); err != nil || v.ID != "r@2" {
		t.Errorf("the version is %+v, %v", v, err)
	}
}
