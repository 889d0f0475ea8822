package bus_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"servidor-backup/bus"
	"servidor-backup/bus/bustest"
	"servidor-backup/bus/embedded"
)

// soon is the longest time for reporting that there is no server: a few seconds, and
// some more for a busy machine.
const soon = 15 * time.Second

// Connect fails soon when there is no server, as a client of the seed expects.
func TestConnectWithoutServer(t *testing.T) {
	start := time.Now()
	_, err := bus.Connect(t.Context(), bus.ConnOptions{URL: "nats://" + bustest.FreeAddress(t)})
	bustest.WantIs(t, err, bus.ErrNoServer)
	if took := time.Since(start); took > soon {
		t.Errorf("it took %v to say so", took)
	}
	// A malformed URL fails at once, even with Wait.
	_, err = bus.Connect(bustest.Context(t), bus.ConnOptions{URL: "nats://[::1", Wait: true})
	if err == nil || errors.Is(err, bus.ErrNoServer) {
		t.Errorf("a broken URL gives %v", err)
	}
}

// Connect fails soon when the other end accepts the connection but never responds.
func TestConnectToAnUnresponsiveServer(t *testing.T) {
	t.Parallel() // it waits for a timeout
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	start := time.Now()
	_, err = bus.Connect(t.Context(), bus.ConnOptions{URL: "nats://" + l.Addr().String()})
	bustest.WantIs(t, err, bus.ErrNoServer)
	if took := time.Since(start); took > soon {
		t.Errorf("it took %v to say so", took)
	}
}

// With Wait, Connect reports what it waits for and why, and goes on when the server starts.
func TestConnectWaitsForTheServer(t *testing.T) {
	address := bustest.FreeAddress(t)
	var said bustest.Statuses
	connected := make(chan error, 1)
	go func() {
		nc, err := bus.Connect(bustest.Context(t), bus.ConnOptions{URL: "nats://" + address, Wait: true, Status: said.Add})
		if err == nil {
			nc.Close()
		}
		connected <- err
	}()
	bustest.Eventually(t, "a status", func() bool { return said.Contains("waiting for nats://" + address) })
	s := bustest.StartServer(t, embedded.Options{Dir: t.TempDir(), Listen: address})
	t.Cleanup(func() { bustest.Shutdown(t, s) })
	if err := bustest.Receive(t, "the connection", connected); err != nil {
		t.Fatal(err)
	}
	if last := said.Last(); last != "" {
		t.Errorf("the last status is %q, want that it goes on", last)
	}
}

// Connect stops waiting when the context ends.
func TestConnectStopsWaitingWithTheContext(t *testing.T) {
	ctx := bustest.Context(t)
	ctx, cancel := context.WithCancel(ctx)
	var said bustest.Statuses
	ended := make(chan error, 1)
	go func() {
		_, err := bus.Connect(ctx, bus.ConnOptions{URL: "nats://" + bustest.FreeAddress(t), Wait: true, Status: said.Add})
		ended <- err
	}()
	bustest.Eventually(t, "a status", func() bool { return said.Contains("waiting") })
	cancel()
	bustest.WantIs(t, bustest.Receive(t, "the end", ended), ctx.Err())
}

// A lost connection reports the loss, reconnects by itself, and reports that, too.
func TestConnectionReconnects(t *testing.T) {
	dir := t.TempDir()
	s := bustest.StartServer(t, embedded.Options{Dir: dir, Listen: bustest.FreeAddress(t)})
	var said bustest.Statuses
	nc, err := bus.Connect(bustest.Context(t), bus.ConnOptions{URL: s.URL(), Status: said.Add})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	bustest.Restart(t, s, dir, nc, func() {
		bustest.Eventually(t, "a status", func() bool { return strings.Contains(said.Last(), "lost") })
	})
	bustest.Eventually(t, "the connection is back", func() bool { return nc.IsConnected() && said.Last() == "" })
}

func TestBustestConnects(t *testing.T) {
	nc := bustest.Connect(t, bustest.Server(t))
	if !nc.IsConnected() {
		t.Error("not connected")
	}
}
