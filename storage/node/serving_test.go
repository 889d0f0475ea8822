package node_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"servidor-backup/bus/bustest"
	"servidor-backup/schemas"
	"servidor-backup/storage"
	"servidor-backup/storage/node"
	"servidor-backup/storage/storagetest"
)

// A second process on a copy of a node's folder ends with an error that names the first one. The
// first one goes on, and is not said to leave when the second one ends. When the first one has
// left, or its connection was cut, the second one starts at once.
func TestCopyOfARunningNodeIsRefused(t *testing.T) {
	s := bustest.Server(t)
	nc := bustest.Connect(t, s)
	newRegistrar(t, nc, nil)
	cards := heartbeats(t, nc)
	dir, copied := t.TempDir(), filepath.Join(t.TempDir(), "copy")
	storagetest.CloseClean(t, storagetest.Open(t, dir, storage.Options{}))
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	first, second := storagetest.Open(t, dir, storage.Options{}), storagetest.Open(t, copied, storage.Options{})
	connection := bustest.Connect(t, s)
	n := start(t, connection, first, node.Options{Host: "attic"})

	_, err := node.Start(bustest.Context(t), bustest.Connect(t, s), second, node.Options{})
	var running *node.RunningError
	if !errors.As(err, &running) || running.Host != "attic" || running.Node != first.NodeID() || time.Since(running.Since) > time.Minute {
		t.Fatalf("the copy starts with %v", err)
	}
	for range 3 {
		if card := bustest.Receive(t, "a heartbeat", cards); card.State != schemas.Up {
			t.Errorf("after the refusal the node is said to be %s", card.State)
		}
	}
	if n.Err() != nil {
		t.Errorf("the first process ends with %v", n.Err())
	}

	connection.Close() // as a killed process: there is no farewell
	began := time.Now()
	start(t, bustest.Connect(t, s), second, node.Options{})
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the restart took %v", took)
	}
}

// Of two processes that could not hear each other when they started, the one that registered
// later ends, without a farewell. The earlier one tells the later one of itself, and registers
// again, so that its card is the last one.
func TestTheLaterOfTwoProcessesEnds(t *testing.T) {
	s := bustest.Server(t)
	nc := bustest.Connect(t, s)
	r, cards := newRegistrar(t, nc, nil), heartbeats(t, nc)
	n := start(t, bustest.Connect(t, s), storagetest.Open(t, t.TempDir(), storage.Options{}), node.Options{})
	id := bustest.Receive(t, "the registration", r.cards).ID
	told := make(chan schemas.ServingRequest, 100)
	_, err := nc.Subscribe(schemas.ServingSubject(id), func(m *nats.Msg) {
		var req schemas.ServingRequest
		if err := schemas.Unmarshal(m.Data, &req); err != nil {
			t.Error(err)
		}
		if req.Process != "other" {
			told <- req
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	say := func(since int64) {
		b, err := schemas.Marshal(&schemas.ServingRequest{Process: "other", Since: since, Host: "cellar"})
		if err == nil {
			err = nc.Publish(schemas.ServingSubject(id), b)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	since := bustest.Receive(t, "what the node tells", told).Since
	say(since + 1)
	bustest.Receive(t, "what the node tells the later process", told)
	bustest.Receive(t, "the registration after that", r.cards)
	if n.Err() != nil {
		t.Fatalf("the earlier process ends with %v", n.Err())
	}

	say(since - 1)
	bustest.Receive(t, "the end of the later process", n.Failed())
	var running *node.RunningError
	if !errors.As(n.Err(), &running) || running.Host != "cellar" {
		t.Errorf("the node ends with %v", n.Err())
	}
	if err := n.Stop(); err != nil {
		t.Error(err)
	}
	if err := nc.FlushTimeout(bustest.Timeout); err != nil {
		t.Fatal(err)
	}
	for len(cards) > 0 {
		if card := <-cards; card.State != schemas.Up {
			t.Errorf("the later process says that the node is %s", card.State)
		}
	}
}
