package coordinator

import (
	"testing"
	"time"

	"servidor-backup/bus/bustest"
	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
)

// policy sets a policy, or only reads it if set is nil.
func (w *world) policy(nickname string, set *schemas.Policy) (*schemas.PolicyReply, error) {
	w.t.Helper()
	rep := new(schemas.PolicyReply)
	return rep, w.request(schemas.SubjectPolicy, &schemas.PolicyRequest{Nickname: nickname, Set: set}, rep)
}

// durability makes k+m the policy of a nickname, "" for the default.
func (w *world) durability(nickname, km string) *schemas.PolicyReply {
	w.t.Helper()
	d, err := schemas.ParseDurability(km)
	if err != nil {
		w.t.Fatal(err)
	}
	rep, err := w.policy(nickname, &schemas.Policy{Durability: &d})
	if err != nil {
		w.t.Fatalf("set the durability %s: %v", km, err)
	}
	return rep
}

func (w *world) degraded() {
	w.t.Helper()
	yes := true
	if _, err := w.policy("", &schemas.Policy{Degraded: &yes}); err != nil {
		w.t.Fatal(err)
	}
}

// A policy is in the map of every coordinator, under a new epoch. Without a policy the durability
// follows from the number of nodes.
func TestPolicies(t *testing.T) {
	w := newWorld(t, 1, Options{})
	other := w.coordinator(Options{})
	catalogue, ana := schemas.CatalogueVault(), schemas.SealedVault("ana")
	want := func(what string, dflt, ofAna, ofCatalogue string) {
		t.Helper()
		bustest.Eventually(t, what, func() bool {
			m := w.c.members.Map() // the other may have been asked, and be ahead
			return m.Durability.String() == dflt && m.DurabilityOf(ana).String() == ofAna
		})
		m := w.c.members.Map()
		if m.Durability.String() != dflt || m.DurabilityOf(ana).String() != ofAna || m.DurabilityOf(schemas.PlainVault("ana")).String() != ofAna || m.DurabilityOf(catalogue).String() != ofCatalogue {
			t.Errorf("%s: the map says %v, %v for ana and %v for the catalogue; want %s, %s, %s", what, m.Durability, m.DurabilityOf(ana), m.DurabilityOf(catalogue), dflt, ofAna, ofCatalogue)
		}
		bustest.Eventually(t, "the other coordinator has the map", func() bool { return other.members.Map().Epoch >= m.Epoch })
		if got := other.members.Map(); got.Durability != m.Durability || len(got.Vaults) != len(m.Vaults) || got.Degraded != m.Degraded {
			t.Errorf("%s: the other coordinator has %+v, want %+v", what, got, m)
		}
	}
	want("one node", "1+0", "1+0", "1+0")
	second := w.node()
	want("two nodes", "1+1", "1+1", "1+1")
	if err := second.Stop(); err != nil {
		t.Fatal(err)
	}
	bustest.Eventually(t, "the node is down", func() bool { return w.stateOf(second.store.NodeID()) == schemas.Down })
	want("a node that is down is known", "1+1", "1+1", "1+1")

	before := w.c.members.Map().Epoch
	if rep := w.durability("", "4+2"); rep.Effective.String() != "4+2" || rep.Policy.Durability.String() != "4+2" {
		t.Errorf("the answer is %+v", rep)
	}
	want("a default", "4+2", "4+2", "4+2")
	if now := w.c.members.Map().Epoch; now <= before {
		t.Errorf("the epoch went from %d to %d", before, now)
	}
	if rep := w.durability("ana", "2+3"); len(rep.Nicknames) != 1 || rep.Nicknames[0] != (schemas.NicknamePolicy{Nickname: "ana", Durability: schemas.Durability{K: 2, M: 3}}) {
		t.Errorf("the answer is %+v", rep)
	}
	want("a nickname's", "4+2", "2+3", "1+3")
	w.degraded()
	bustest.Eventually(t, "degraded is in the map", func() bool { return w.c.members.Map().Degraded })
	want("degraded", "4+2", "2+3", "1+3")
	none := &schemas.Policy{Durability: &schemas.Durability{}}
	for _, nickname := range []string{"ana", ""} {
		if _, err := w.policy(nickname, none); err != nil {
			t.Fatal(err)
		}
	}
	want("taken back", "1+1", "1+1", "1+1")
	bustest.Eventually(t, "both coordinators have it", func() bool {
		return other.members.Map().Epoch == w.c.members.Map().Epoch
	})
	if rep, err := w.policy("", nil); err != nil || len(rep.Nicknames) != 0 || rep.Policy.Durability != nil || !*rep.Policy.Degraded {
		t.Errorf("the policies are %+v, %v", rep, err)
	}
	// A coordinator that starts reads the same.
	w.durability("ana", "3+2")
	if m := w.coordinator(Options{}).members.Map(); m.DurabilityOf(ana).String() != "3+2" || !m.Degraded {
		t.Errorf("a new coordinator has %+v", m)
	}
}

// A policy that makes no sense is refused. One that needs more nodes than there are is accepted.
func TestBadPolicies(t *testing.T) {
	w := newWorld(t, 1, Options{})
	yes, minus := true, int64(-1)
	d := func(k, m uint8) schemas.Policy { return schemas.Policy{Durability: &schemas.Durability{K: k, M: m}} }
	for what, bad := range map[string]struct {
		nickname string
		set      schemas.Policy
		code     schemas.Code
	}{
		"too many nodes":             {"", d(30, 3), schemas.BadRequest},
		"too many replicas":          {"", d(1, 8), schemas.BadRequest},
		"a degraded nickname":        {"ana", schemas.Policy{Degraded: &yes}, schemas.BadRequest},
		"a nickname's grace":         {"ana", schemas.Policy{Grace: &minus}, schemas.BadRequest},
		"a negative grace":           {"", schemas.Policy{Grace: &minus}, schemas.BadRequest},
		"a nickname that is no name": {"a/b", d(1, 1), schemas.BadName},
	} {
		_, err := w.policy(bad.nickname, &bad.set)
		if schemas.CodeOf(err) != bad.code {
			t.Errorf("%s: %v, want the code %s", what, err, bad.code)
		}
	}
	for _, good := range []schemas.Policy{d(30, 2), d(1, 7), d(2, 0)} {
		if _, err := w.policy("", &good); err != nil {
			t.Error(err)
		}
	}
}

// Every change of the map is published, and the current map again and again.
func TestMapIsPublished(t *testing.T) {
	w := newWorld(t, 1, Options{})
	maps := make(chan *schemas.NodeMap, 1000)
	stop, err := replica.WatchMap(w.nc, func(m *schemas.NodeMap) { maps <- m })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	if err := w.nc.FlushTimeout(bustest.Timeout); err != nil {
		t.Fatal(err)
	}
	w.durability("", "3+1")
	begun := time.Now()
	for {
		if m := bustest.Receive(t, "the map with the policy", maps); m.Durability.String() == "3+1" {
			break
		}
	}
	t.Logf("the change took %v", time.Since(begun))
	now := w.c.members.Map()
	if m := bustest.Receive(t, "the map again", maps); m.Epoch != now.Epoch || len(m.Nodes) != 1 {
		t.Errorf("the map is %+v", m)
	}
}
