package coordinator

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"servidor-backup/bus/bustest"
	"servidor-backup/bus/embedded"
	"servidor-backup/schemas"
	"servidor-backup/storage"
	"servidor-backup/storage/storagetest"
)

// stateOf asks for the state of a node; "" if the coordinator does not know the node.
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

// A node that stops without a goodbye is down after a while, and up again when it responds. Every
// change raises the epoch and is published as one event.
func TestNodeGoesDownAndComesBack(t *testing.T) {
	w := newWorld(t, 0, Options{DownAfter: time.Second})
	w.coordinator(Options{DownAfter: time.Second}) // both detect the failure
	up, down := w.events(schemas.EventNodeRegistered), w.events(schemas.EventNodeDown)
	n := w.node()
	id := n.store.NodeID()
	if e := bustest.Receive(t, "the event", up); e.Subject != string(id) {
		t.Errorf("the event is %+v", e)
	}
	epoch := w.c.members.Map().Epoch
	n.nc.Close() // as if the machine had lost its power
	if e := bustest.Receive(t, "the event", down); e.Subject != string(id) || !strings.Contains(e.Text, "not responded") {
		t.Errorf("the event is %+v", e)
	}
	bustest.Eventually(t, "the node is down", func() bool { return w.stateOf(id) == schemas.Down })
	if now := w.c.members.Map().Epoch; now <= epoch {
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

// A registration with a bad card is refused, and a heartbeat with one is ignored. Neither gets into
// the map.
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
	if n := len(w.c.members.Map().Nodes); n != 2 {
		t.Errorf("there are %d nodes, want 2", n)
	}
}

// Any number of coordinators share the requests. When one stops, the others go on, and every
// request that was sent meanwhile is answered.
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
		m, err := inbox.NextMsg(bustest.Timeout)
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
					t.Errorf("client %d: %v", i, err)
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

// After everything was stopped and started again, all versions are listed and can be read, and new
// ones continue them.
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

// A coordinator goes on after a restart of the server: nodes and clients find it, and changes of
// the map reach it.
func TestServerRestartsUnderACoordinator(t *testing.T) {
	opt := embedded.Options{Dir: t.TempDir(), Listen: bustest.FreeAddress(t)}
	s, err := embedded.Start(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // after everything that uses it
		if err := s.Shutdown(); err != nil {
			t.Error(err)
		}
	})
	w := &world{Maker: storagetest.NewMaker(1), t: t, server: s, nc: bustest.Connect(t, s)}
	w.c = w.coordinator(Options{})
	other := w.coordinator(Options{})
	w.node()
	for _, c := range []*Coordinator{w.c, other} {
		bustest.Eventually(t, "the node is known", func() bool { return len(c.members.Map().Nodes) == 1 })
	}
	w.transmit(nickname, "f", "x")
	if err := s.Shutdown(); err != nil {
		t.Fatal(err)
	}
	if s, err = embedded.Start(opt); err != nil {
		t.Fatal(err)
	}
	w.server = s
	// A connection that has not noticed the end of the server says that it is connected, and
	// loses what is sent to it.
	back := func(nc *nats.Conn) bool { return nc.Stats().Reconnects > 0 && nc.IsConnected() }
	bustest.Eventually(t, "all connections are back", func() bool {
		return back(w.nc) && back(w.c.nc) && back(other.nc)
	})
	bustest.Eventually(t, "a list", func() bool {
		return w.request(schemas.SubjectList, &schemas.ListRequest{Nickname: nickname}, &schemas.ListReply{}) == nil
	})
	id := w.node().store.NodeID()
	for _, c := range []*Coordinator{w.c, other} {
		bustest.Eventually(t, "the new node is known", func() bool { return c.members.Map().Find(id) != nil })
	}
	if got := w.transmit(nickname, "f", "y"); got != "f@2" {
		t.Errorf("the next version is %s", got)
	}
}
