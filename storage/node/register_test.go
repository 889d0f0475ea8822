package node_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"servidor-backup/bus"
	"servidor-backup/bus/bustest"
	"servidor-backup/bus/embedded"
	"servidor-backup/schemas"
	"servidor-backup/storage"
	"servidor-backup/storage/node"
	"servidor-backup/storage/storagetest"
)

// A node that is started before any coordinator waits, says so, and goes on when a coordinator
// starts.
func TestWaitsForACoordinator(t *testing.T) {
	s := bustest.Server(t)
	store := storagetest.Open(t, t.TempDir(), storage.Options{})
	var said bustest.Statuses
	started := make(chan error, 1)
	nc := bustest.Connect(t, s)
	go func() {
		n, err := node.Start(bustest.Context(t), nc, store, node.Options{Name: "disk1", Zone: "z", Weight: 7, Version: "1.2.3", Status: said.Add})
		if err == nil {
			err = n.Stop()
		}
		started <- err
	}()
	bustest.Eventually(t, "a status", func() bool { return strings.Contains(said.Last(), "waiting for a coordinator") })
	r := newRegistrar(t, bustest.Connect(t, s), nil)
	card := bustest.Receive(t, "the registration", r.cards)
	if card.ID != store.NodeID() || card.Name != "disk1" || card.Zone != "z" || card.Weight != 7 || card.State != schemas.Up || card.Capacity <= 0 {
		t.Errorf("the card is %+v", card)
	}
	if err := bustest.Receive(t, "the start", started); err != nil {
		t.Error(err)
	}
	if last := said.Last(); last != "" {
		t.Errorf("the last status is %q, want that it goes on", last)
	}
}

// A refused registration is shown with its reason, and Start ends with its context.
func TestRegistrationRefused(t *testing.T) {
	s := bustest.Server(t)
	newRegistrar(t, bustest.Connect(t, s), schemas.Errorf(schemas.TooNew, "update the coordinator"))
	ctx, cancel := context.WithCancel(t.Context())
	var said bustest.Statuses
	started := make(chan error, 1)
	nc, store := bustest.Connect(t, s), storagetest.Open(t, t.TempDir(), storage.Options{})
	go func() {
		_, err := node.Start(ctx, nc, store, node.Options{Status: said.Add})
		started <- err
	}()
	bustest.Eventually(t, "the reason", func() bool { return strings.Contains(said.Last(), "update the coordinator") })
	cancel()
	if err := bustest.Receive(t, "the end of the start", started); !errors.Is(err, context.Canceled) {
		t.Errorf("the start ends with %v", err)
	}
}

// A node registers again when a coordinator starts, and publishes heartbeats in between. When
// it stops, it publishes that it is down.
func TestRegistersAgain(t *testing.T) {
	s := bustest.Server(t)
	nc := bustest.Connect(t, s)
	r, cards := newRegistrar(t, nc, nil), heartbeats(t, nc)
	store := storagetest.Open(t, t.TempDir(), storage.Options{})
	n := start(t, bustest.Connect(t, s), store, node.Options{})
	if card := bustest.Receive(t, "the registration", r.cards); card.Name != string(store.NodeID()) || card.Weight < 1 {
		t.Errorf("the card by default is %+v", card)
	}
	for range 2 {
		if card := bustest.Receive(t, "a heartbeat", cards); card.ID != store.NodeID() || card.State != schemas.Up {
			t.Errorf("the heartbeat is %+v", card)
		}
	}
	if err := nc.Publish(schemas.SubjectCoordinator, nil); err != nil {
		t.Fatal(err)
	}
	bustest.Receive(t, "the second registration", r.cards)
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	bustest.Eventually(t, "the node says that it leaves", func() bool {
		return bustest.Receive(t, "a heartbeat", cards).State == schemas.Down
	})
}

// A node orders its cards: each has a higher number than the one before, the goodbye has
// the highest, and a later process has a later start, even if the clock was set back.
func TestCardsAreOrdered(t *testing.T) {
	s := bustest.Server(t)
	nc := bustest.Connect(t, s)
	cards := make(chan schemas.RegisterRequest, 1000)
	future := time.Now().Add(time.Hour).UnixNano()
	known := future
	service, err := bus.NewService(nc, bus.ServiceConfig{Name: "backup-coordinator"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = service.Stop() })
	err = bus.Handle(service, "register", schemas.SubjectRegister, func(_ context.Context, req *schemas.RegisterRequest) (any, error) {
		cards <- *req
		if req.Started <= known {
			return &schemas.RegisterReply{Reply: schemas.Fail(schemas.Errorf(schemas.NotNow, "an old card")), Started: known}, nil
		}
		return &schemas.RegisterReply{Reply: schemas.OK, Epoch: 1, Heartbeat: int64(100 * time.Millisecond)}, nil
	})
	if err == nil {
		err = service.Ready(bustest.Context(t))
	}
	if err == nil {
		_, err = nc.Subscribe(schemas.SubjectAlive, func(m *nats.Msg) {
			var req schemas.RegisterRequest
			if err := schemas.Unmarshal(m.Data, &req); err != nil {
				t.Error(err)
			}
			cards <- req
		})
	}
	if err == nil {
		err = nc.FlushTimeout(bustest.Timeout)
	}
	if err != nil {
		t.Fatal(err)
	}
	n := start(t, bustest.Connect(t, s), storagetest.Open(t, t.TempDir(), storage.Options{}), node.Options{})
	first, second := bustest.Receive(t, "the first registration", cards), bustest.Receive(t, "the second registration", cards)
	if first.Started >= future || second.Started <= future {
		t.Errorf("the node registers with the starts %d and %d, %d is known", first.Started, second.Started, future)
	}
	last := second
	for range 2 {
		next := bustest.Receive(t, "a heartbeat", cards)
		if next.Started != last.Started || next.Seq <= last.Seq {
			t.Errorf("the card %d/%d follows %d/%d", next.Started, next.Seq, last.Started, last.Seq)
		}
		last = next
	}
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	bustest.Eventually(t, "the node says that it leaves", func() bool {
		next := bustest.Receive(t, "a heartbeat", cards)
		if next.Started != last.Started || next.Seq <= last.Seq {
			t.Errorf("the card %d/%d follows %d/%d", next.Started, next.Seq, last.Started, last.Seq)
		}
		last = next
		return next.Node.State == schemas.Down
	})
}

// A node registers again after its connection was broken, because the coordinators may be
// others by then.
func TestRegistersAfterReconnect(t *testing.T) {
	opt := embedded.Options{Dir: t.TempDir(), Listen: bustest.FreeAddress(t)}
	s, err := embedded.Start(opt)
	if err != nil {
		t.Fatal(err)
	}
	nc := bustest.Connect(t, s)
	r := newRegistrar(t, nc, nil)
	store := storagetest.Open(t, t.TempDir(), storage.Options{})
	start(t, bustest.Connect(t, s), store, node.Options{})
	bustest.Receive(t, "the registration", r.cards)
	if err := s.Shutdown(); err != nil {
		t.Fatal(err)
	}
	again, err := embedded.Start(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := again.Shutdown(); err != nil {
			t.Error(err)
		}
	})
	bustest.Receive(t, "the registration after the restart", r.cards)
}

// A node on a connection that is closed returns an error.
func TestStartOnAClosedConnection(t *testing.T) {
	nc := bustest.Connect(t, bustest.Server(t))
	nc.Close()
	store, err := storage.Open(t.TempDir(), storage.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if _, err := node.Start(bustest.Context(t), nc, store, node.Options{}); !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("the error is %v, want %v", err, nats.ErrConnectionClosed)
	}
}
