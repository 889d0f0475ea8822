package coordinator

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/micro"

	"servidor-backup/bus/bustest"
	"servidor-backup/bus/embedded"
	"servidor-backup/bus/kv"
	"servidor-backup/schemas"
	"servidor-backup/storage"
	"servidor-backup/storage/storagetest"
)

// stateOf is what the coordinator says of a node; "" if it does not know it.
func (w *world) stateOf(id schemas.NodeID) schemas.State {
	w.t.Helper()
	var rep schemas.NodesReply
	if err := w.request(schemas.SubjectNodes, &schemas.NodesRequest{}, &rep); err != nil {
		w.t.Fatal(err)
	}
	if n := rep.Map.Find(id); n != nil {
		return n.State
	}
	return ""
}

// A node that goes without a word is down after a silence, every change raises
// the epoch and is told once, and the node is up again when it speaks.
func TestNodeGoesSilentAndComesBack(t *testing.T) {
	w := newWorld(t, 0, Options{Silence: time.Second})
	w.coordinator(Options{Silence: time.Second}) // two clocks, one verdict
	up, down := w.events(schemas.EventNodeRegistered), w.events(schemas.EventNodeDown)
	n := w.node()
	id := n.store.NodeID()
	if e := bustest.Receive(t, "the event", up); e.Subject != string(id) {
		t.Errorf("the event is %+v", e)
	}
	epoch := w.c.members.nodeMap().Epoch
	n.nc.Close() // as if the machine had lost its power
	if e := bustest.Receive(t, "the event", down); e.Subject != string(id) || !strings.Contains(e.Text, "silent") {
		t.Errorf("the event is %+v", e)
	}
	bustest.Eventually(t, "the node is down", func() bool { return w.stateOf(id) == schemas.Down })
	if now := w.c.members.nodeMap().Epoch; now <= epoch {
		t.Errorf("the epoch went from %d to %d", epoch, now)
	}
	_ = n.Stop()
	w.nodeOn(n.store)
	if e := bustest.Receive(t, "the event", up); e.Subject != string(id) {
		t.Errorf("the event is %+v", e)
	}
	bustest.Eventually(t, "the node is up", func() bool { return w.stateOf(id) == schemas.Up })
	for _, c := range []<-chan schemas.Event{up, down} {
		select {
		case e := <-c:
			t.Errorf("one event too many: %+v", e)
		default:
		}
	}
}

// A coordinator that learns from another that a node is back must not take the
// old silence for a new one.
func TestSilenceBeginsAnewWhenANodeComesBack(t *testing.T) {
	bucket, err := kv.Open(bustest.Patient(t), bustest.Connect(t, bustest.Server(t)), kv.Config{Name: "cards"})
	if err != nil {
		t.Fatal(err)
	}
	m := newMembers(bucket, Options{Log: slog.New(slog.DiscardHandler)}, nil, nil)
	var n schemas.Node
	card := func(state schemas.State) {
		t.Helper()
		_, err := bucket.Edit(bustest.Patient(t), "n", &n, func() { n = schemas.Node{} }, func() (bool, error) {
			n = schemas.Node{ID: "n", State: state}
			return true, nil
		})
		if err == nil {
			err = bucket.Scan(bustest.Patient(t), "n", func(e kv.Entry) error { m.seen(&e); return nil })
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	long := func(n *member) bool { return n.card.State == schemas.Up && time.Since(n.heard) > time.Minute }
	card(schemas.Up)
	m.nodes["n"].heard = time.Now().Add(-time.Hour)
	card(schemas.Up) // a change of its card is no sign of life
	if ids := m.which(long); len(ids) != 1 {
		t.Errorf("the silent node is not noticed: %v", ids)
	}
	card(schemas.Down)
	card(schemas.Up)
	if ids := m.which(long); len(ids) != 0 {
		t.Errorf("a node that is back counts as silent: %v", ids)
	}
}

// A card that makes no sense is refused, and a heartbeat with one is passed
// over; neither gets onto the map.
func TestBadCards(t *testing.T) {
	w := newWorld(t, 1, Options{})
	good := schemas.Node{ID: "abc", Name: "disk", Weight: 1, State: schemas.Up}
	for name, bad := range map[string]struct {
		change func(*schemas.RegisterRequest)
		code   schemas.Code
	}{
		"newer protocol": {func(r *schemas.RegisterRequest) { r.Protocol++ }, schemas.TooNew},
		"no id":          {func(r *schemas.RegisterRequest) { r.Node.ID = "" }, schemas.BadRequest},
		"a wildcard id":  {func(r *schemas.RegisterRequest) { r.Node.ID = "*" }, schemas.BadRequest},
		"a path as id":   {func(r *schemas.RegisterRequest) { r.Node.ID = "a.b" }, schemas.BadRequest},
		"no name":        {func(r *schemas.RegisterRequest) { r.Node.Name = "" }, schemas.BadName},
		"no weight":      {func(r *schemas.RegisterRequest) { r.Node.Weight = 0 }, schemas.BadRequest},
	} {
		t.Run(name, func(t *testing.T) {
			req := &schemas.RegisterRequest{Protocol: schemas.ProtocolVersion, Node: good}
			bad.change(req)
			wantCode(t, w.request(schemas.SubjectRegister, req, &schemas.RegisterReply{}), bad.code)
			if bad.code == schemas.TooNew {
				return
			}
			b, err := schemas.Marshal(req)
			if err != nil {
				t.Fatal(err)
			}
			if err := w.nc.Publish(schemas.SubjectAlive, b); err != nil {
				t.Fatal(err)
			}
		})
	}
	if err := w.nc.Publish(schemas.SubjectAlive, []byte("garbage")); err != nil {
		t.Fatal(err)
	}
	// A good heartbeat of an unknown node, after the bad ones, enters it.
	b, err := schemas.Marshal(&schemas.RegisterRequest{Protocol: schemas.ProtocolVersion, Node: good})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.nc.Publish(schemas.SubjectAlive, b); err != nil {
		t.Fatal(err)
	}
	bustest.Eventually(t, "the good card is entered", func() bool { return w.stateOf("abc") == schemas.Up })
	if n := len(w.c.members.nodeMap().Nodes); n != 2 {
		t.Errorf("there are %d nodes, want 2", n)
	}
}

// Any number of coordinators share the requests; when one stops, the others go
// on, and nothing that was asked meanwhile is lost without an answer.
func TestCoordinatorsShareTheLoad(t *testing.T) {
	w := newWorld(t, 1, Options{})
	second := w.coordinator(Options{})
	w.transmit(nickname, "f", "x")
	for range 60 {
		w.list(nickname)
	}
	served := map[string]int{}
	inbox, err := w.nc.SubscribeSync(w.nc.NewInbox())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.nc.PublishRequest("$SRV.STATS.backup-coordinator", inbox.Subject, nil); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		m, err := inbox.NextMsg(bustest.Patience)
		if err != nil {
			t.Fatal(err)
		}
		var stats micro.Stats
		if err := json.Unmarshal(m.Data, &stats); err != nil {
			t.Fatal(err)
		}
		for _, e := range stats.Endpoints {
			if e.Name == "list" {
				served[stats.ID] = e.NumRequests
			}
		}
	}
	for id, n := range served {
		if n == 0 || n == 60 {
			t.Errorf("coordinator %s answered %d of 60 lists", id, n)
		}
	}
	var asking sync.WaitGroup
	for i := range 8 {
		asking.Go(func() {
			for range 10 {
				var rep schemas.ListReply
				err := w.request(schemas.SubjectList, &schemas.ListRequest{Nickname: nickname}, &rep)
				if code := schemas.CodeOf(err); err != nil && code != schemas.Unavailable {
					t.Errorf("asker %d: %v", i, err)
				}
			}
		})
	}
	if err := second.Stop(); err != nil {
		t.Fatal(err)
	}
	asking.Wait()
	bustest.Eventually(t, "the other answers alone", func() bool {
		return w.request(schemas.SubjectList, &schemas.ListRequest{Nickname: nickname}, &schemas.ListReply{}) == nil
	})
}

// Everything may be stopped and started again: what was listed is listed, can be
// read, and goes on.
func TestRestartOfEverything(t *testing.T) {
	serverDir, storeDir := t.TempDir(), t.TempDir()
	sealed := tree{}
	for round := range 3 {
		t.Run(fmt.Sprint("round ", round), func(t *testing.T) {
			s, err := embedded.Start(embedded.Options{Dir: serverDir, Listen: "127.0.0.1:0"})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := s.Shutdown(); err != nil {
					t.Error(err)
				}
			})
			w := &world{Maker: storagetest.NewMaker(byte(round)), t: t, server: s, nc: bustest.Connect(t, s)}
			w.c = w.coordinator(Options{})
			w.nodeOn(storagetest.Open(t, storeDir, storage.Options{}))
			if round == 0 {
				w.transmit(nickname, "f", "content")
				sealed = w.newTree(2, 2)
				w.save(opening("r"), sealed)
			}
			if names := w.list(nickname); !slices.Equal(names, []string{"f", "r"}) {
				t.Errorf("the names are %v", names)
			}
			var rep schemas.DownloadReply
			if err := w.request(schemas.SubjectDownload, &schemas.DownloadRequest{Nickname: nickname, ID: "f@1"}, &rep); err != nil || string(*rep.Content) != "content" {
				t.Errorf("f@1 is %v, %v", rep.Content, err)
			}
			if v := w.open(opening("r")).Parent; v == nil || v.Number != uint64(round+1) {
				t.Errorf("the newest of r is %+v", v)
			}
			if v := w.save(opening("r"), sealed); v.Number != uint64(round+2) {
				t.Errorf("the next of r is %+v", v)
			}
		})
	}
}

// A coordinator goes on after the server was away: nodes and clients find it,
// and changes of the map reach it.
func TestServerRestartsUnderACoordinator(t *testing.T) {
	opt := embedded.Options{Dir: t.TempDir(), Listen: bustest.FreeAddress(t)}
	s, err := embedded.Start(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // after everyone who uses it
		if err := s.Shutdown(); err != nil {
			t.Error(err)
		}
	})
	w := &world{Maker: storagetest.NewMaker(1), t: t, server: s, nc: bustest.Connect(t, s)}
	w.c = w.coordinator(Options{})
	other := w.coordinator(Options{})
	w.node()
	for _, c := range []*Coordinator{w.c, other} {
		bustest.Eventually(t, "the node is known", func() bool { return len(c.members.nodeMap().Nodes) == 1 })
	}
	w.transmit(nickname, "f", "x")
	if err := s.Shutdown(); err != nil {
		t.Fatal(err)
	}
	if s, err = embedded.Start(opt); err != nil {
		t.Fatal(err)
	}
	w.server = s
	bustest.Eventually(t, "everyone is back", func() bool {
		return w.nc.IsConnected() && w.c.nc.IsConnected() && other.nc.IsConnected()
	})
	bustest.Eventually(t, "a list", func() bool {
		return w.request(schemas.SubjectList, &schemas.ListRequest{Nickname: nickname}, &schemas.ListReply{}) == nil
	})
	id := w.node().store.NodeID()
	for _, c := range []*Coordinator{w.c, other} {
		bustest.Eventually(t, "the new node is known", func() bool { return c.members.nodeMap().Find(id) != nil })
	}
	if got := w.transmit(nickname, "f", "y"); got != "f@2" {
		t.Errorf("the next version is %s", got)
	}
}
