package coordinator

import (
	"strings"
	"testing"
	"time"

	"servidor-backup/bus"
	"servidor-backup/bus/bustest"
	"servidor-backup/schemas"
)

func (w *world) opens(record string) error {
	return w.request(schemas.SubjectSessionOpen, opening(record), &schemas.SessionReply{})
}

// A session needs as many nodes as its durability says, and the refusal says how many and which are
// missing. If the policy allows degraded sessions, it continues with fewer, as long as content can
// be stored at all, and the version says so.
func TestSessionNeedsItsNodes(t *testing.T) {
	w := newWorld(t, 2, Options{})
	n := w.node()
	id := n.store.NodeID()
	w.durability("", "2+1")
	if s := w.open(opening("r")); s.Durability.String() != "2+1" {
		t.Errorf("the session is %+v", s)
	}
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	w.becomes(id, schemas.Down)
	err := w.opens("r")
	wantCode(t, err, schemas.NoNode)
	for _, says := range []string{"2+1", "needs 3", "2 take", string(id) + ": down"} {
		if err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%q does not say %q", err, says)
		}
	}
	if got := w.transmit(nickname, "f", "x"); got != "f@1" { // two replicas find nodes
		t.Errorf("the transmit gives %s", got)
	}
	w.degraded()
	s := w.open(opening("r"))
	if s.Durability.String() != "2+0" {
		t.Errorf("the degraded session has %v", s.Durability)
	}
	tr := w.newTree(1, 2)
	w.put(tr.all...)
	v, err := w.commit(s.Session, tr.root)
	if err != nil {
		t.Fatal(err)
	}
	if !v.Degraded || v.Durability.String() != "2+1" || v.Tolerates != 0 {
		t.Errorf("the version is %+v", v)
	}
	w.durability("", "3+1")
	wantCode(t, w.opens("r"), schemas.NoNode) // content needs 3 nodes, 2 are up
}

// If a node goes down during a session, the session is degraded when it is renewed.
func TestSessionBecomesDegraded(t *testing.T) {
	w := newWorld(t, 1, Options{})
	n := w.node()
	w.degraded()
	s := w.open(opening("r"))
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	w.becomes(n.store.NodeID(), schemas.Down)
	var rep schemas.SessionReply
	if err := w.request(schemas.SubjectSessionRenew, &schemas.RenewRequest{Session: s.Session}, &rep); err != nil {
		t.Fatal(err)
	}
	if rep.Durability.String() != "1+0" || rep.Map == nil || len(rep.Map.Writable()) != 1 {
		t.Errorf("the renewal says %+v", rep)
	}
	tr := w.newTree(1, 1)
	w.put(tr.all...)
	v, err := w.commit(s.Session, tr.root)
	if err != nil {
		t.Fatal(err)
	}
	if !v.Degraded || v.Tolerates != 0 || v.Durability.String() != "1+1" {
		t.Errorf("the version is %+v", v)
	}
}

// Content of the seed's transmit is on m+1 nodes, and can be read from any of them.
func TestTransmitReplicas(t *testing.T) {
	w := newWorld(t, 5, Options{})
	w.durability("", "1+4") // more nodes than one message names
	w.transmit(nickname, "f", "content")
	vault := schemas.PlainVault(nickname)
	id := schemas.PlainChunkID(vault, []byte("content"))
	m := w.c.members.Map()
	for _, n := range m.Nodes {
		have := askHave(w, n.ID, vault, id)
		if !have {
			t.Errorf("node %s has no replica", n.ID)
		}
	}
}

func askHave(w *world, n schemas.NodeID, vault schemas.VaultID, id schemas.ChunkID) bool {
	w.t.Helper()
	req := &schemas.IDsRequest{Vault: vault, IDs: []schemas.ChunkID{id}}
	var rep schemas.HaveReply
	b, err := bus.RequestRaw(bustest.Context(w.t), w.nc, schemas.HaveSubject(n), req.Encode())
	if err == nil {
		err = schemas.Unmarshal(b, &rep)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return rep.Held(0)
}

// Under k+m a parent is trusted as long as at most m nodes have been lost since, however the nodes
// come and go.
func TestTrust(t *testing.T) {
	w := newWorld(t, 2, Options{})
	recheck := func(what, record string, want bool) {
		t.Helper()
		if s := w.open(opening(record)); s.Recheck != want {
			t.Errorf("%s: recheck is %v, the parent is %+v", what, s.Recheck, s.Parent)
		}
	}
	one := w.node()
	w.durability("", "1+0")
	w.save(opening("single"), w.newTree(1, 2))
	w.durability("", "1+1")
	w.save(opening("double"), w.newTree(1, 2))
	recheck("nothing has happened", "single", false)
	recheck("nothing has happened", "double", false)

	stop := func(n *runningNode, want schemas.State) {
		t.Helper()
		if err := n.Stop(); err != nil {
			t.Fatal(err)
		}
		w.becomes(n.store.NodeID(), want)
	}
	stop(one, schemas.Down)
	recheck("a node is lost", "single", true)
	recheck("a node is lost", "double", false)
	// What is saved now reuses chunks from the time of three nodes.
	w.save(opening("double"), w.newTree(1, 2))
	w.save(opening("fresh"), w.newTree(1, 2))
	recheck("nothing was lost since", "fresh", false)
	another := w.node()
	stop(another, schemas.Down)
	recheck("two are lost", "double", true)
	recheck("one was lost since", "fresh", false)
	another = w.nodeOn(another.store)
	w.becomes(another.store.NodeID(), schemas.Up)
	one = w.nodeOn(one.store)
	w.becomes(one.store.NodeID(), schemas.Up)
	recheck("it was restarted", "single", false)
	recheck("it was restarted", "double", false)

	stop(one, schemas.Down)
	late := w.node() // healing may move chunks to it
	stop(late, schemas.Down)
	w.node()
	recheck("one more was lost since, and another", "double", true)
	recheck("one was lost since, and another", "fresh", true)
	if err := w.setState(string(late.store.NodeID()), schemas.Removed, true); err != nil {
		t.Fatal(err)
	}
	recheck("an empty node was removed", "double", false)
}

// A raised durability does not make chunks that were saved before survive more losses.
func TestTrustOfARaisedDurability(t *testing.T) {
	w := newWorld(t, 2, Options{})
	n := w.node()
	w.durability("", "1+0")
	w.save(opening("r"), w.newTree(1, 2))
	w.durability("", "1+1")
	if v := w.save(opening("r"), w.newTree(1, 2)); v.Tolerates != 0 {
		t.Errorf("the version tolerates %d losses", v.Tolerates)
	}
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	w.becomes(n.store.NodeID(), schemas.Down)
	if s := w.open(opening("r")); !s.Recheck {
		t.Error("with a node lost the parent is trusted")
	}
	if v := w.save(opening("r"), w.newTree(1, 2)); v.Tolerates != 1 {
		t.Errorf("after everything was asked for, the version tolerates %d losses", v.Tolerates)
	}
}

// A node that knows of damage counts as one that is lost.
func TestTrustAndDamage(t *testing.T) {
	w := newWorld(t, 2, Options{DownAfter: time.Hour}) // the node's own heartbeats come rarely then
	w.durability("", "1+0")
	w.save(opening("single"), w.newTree(1, 2))
	w.durability("", "1+1")
	w.save(opening("double"), w.newTree(1, 2))
	n := w.c.members.Map().Nodes[0]
	n.Damaged = 3
	w.heartbeat(n)
	bustest.Eventually(t, "the damage is known", func() bool { return w.c.members.Map().Find(n.ID).Damaged == 3 })
	if s := w.open(opening("single")); !s.Recheck {
		t.Error("the only replica may be damaged and is trusted")
	}
	if s := w.open(opening("double")); s.Recheck {
		t.Error("damage at one node makes both replicas unknown")
	}
}
