package bus_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"servidor-backup/bus"
	"servidor-backup/bus/bustest"
)

// Two servers on one directory would destroy it, so the second must not start;
// Shutdown gives the directory free.
func TestServerLocksItsDirectory(t *testing.T) {
	dir := t.TempDir()
	s := startServer(t, bus.ServerOptions{Dir: dir})
	second, err := bus.StartServer(bus.ServerOptions{Dir: dir})
	if err == nil {
		shutdown(t, second)
	}
	wantIs(t, err, bus.ErrInUse)
	if err != nil && !strings.Contains(err.Error(), dir) {
		t.Errorf("%q does not name the directory", err)
	}
	shutdown(t, s)
	shutdown(t, startServer(t, bus.ServerOptions{Dir: dir}))
}

// A directory that cannot be locked for another reason is not in use.
func TestServerTellsWhyItCannotLock(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "LOCK"), 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := bus.StartServer(bus.ServerOptions{Dir: dir})
	if err == nil {
		shutdown(t, s)
	}
	if err == nil || errors.Is(err, bus.ErrInUse) && runtime.GOOS != "windows" {
		t.Errorf("%v", err)
	}
}

// A taken address is an error that names it, and leaves the directory free.
func TestServerAddressInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir, taken := t.TempDir(), l.Addr().String()
	s, err := bus.StartServer(bus.ServerOptions{Dir: dir, Listen: taken})
	if err == nil {
		shutdown(t, s)
		t.Fatal("a server started on a taken address")
	}
	if !strings.Contains(err.Error(), taken) || errors.Is(err, bus.ErrInUse) {
		t.Errorf("%q does not name the address %s", err, taken)
	}
	shutdown(t, startServer(t, bus.ServerOptions{Dir: dir, Listen: "127.0.0.1:0"}))
}

func TestServerRefusesAWrongAddress(t *testing.T) {
	for _, listen := range []string{"localhost", "127.0.0.1:x", "127.0.0.1:99999"} {
		if s, err := bus.StartServer(bus.ServerOptions{Dir: t.TempDir(), Listen: listen}); err == nil {
			shutdown(t, s)
			t.Errorf("%q was accepted", listen)
		}
	}
}

// What a bucket has acknowledged is there after a restart.
func TestServerKeepsData(t *testing.T) {
	dir := t.TempDir()
	s := startServer(t, bus.ServerOptions{Dir: dir, Listen: "127.0.0.1:0"})
	nc := dial(t, s.URL())
	if _, err := openBucket(t, nc, "kept").Create(bustest.Patient(t), "k", counter{7}); err != nil {
		t.Fatal(err)
	}
	nc.Close()
	shutdown(t, s)

	s = startServer(t, bus.ServerOptions{Dir: dir, Listen: "127.0.0.1:0"})
	t.Cleanup(func() { shutdown(t, s) })
	var got counter
	if _, err := openBucket(t, dial(t, s.URL()), "kept").Get(bustest.Patient(t), "k", &got); err != nil || got.N != 7 {
		t.Errorf("after the restart: %v, %v", got, err)
	}
}

// Without Listen the server has no socket, and the process still reaches it.
func TestServerInProcessOnly(t *testing.T) {
	s := startServer(t, bus.ServerOptions{Dir: t.TempDir()})
	t.Cleanup(func() { shutdown(t, s) })
	if url := s.URL(); url != "" {
		t.Errorf("a server without a listener has the URL %q", url)
	}
	nc, err := bus.Connect(bustest.Patient(t), bus.ConnOptions{Server: s})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if _, err := openBucket(t, nc, "b").Create(bustest.Patient(t), "k", counter{1}); err != nil {
		t.Error(err)
	}
}

// soon is how long it may take to say that there is no server: a few seconds, and
// some more for a machine that is busy.
const soon = 15 * time.Second

// A client of the seed must not hang for long when nothing is there.
func TestConnectWithoutServer(t *testing.T) {
	start := time.Now()
	_, err := bus.Connect(t.Context(), bus.ConnOptions{URL: "nats://" + bustest.FreeAddress(t)})
	wantIs(t, err, bus.ErrNoServer)
	if took := time.Since(start); took > soon {
		t.Errorf("it took %v to say so", took)
	}
	// What cannot be an address is not waited for.
	_, err = bus.Connect(bustest.Patient(t), bus.ConnOptions{URL: "nats://[::1", Wait: true})
	if err == nil || errors.Is(err, bus.ErrNoServer) {
		t.Errorf("a broken URL gives %v", err)
	}
}

// Something that accepts and says nothing is no server.
func TestConnectToSilence(t *testing.T) {
	t.Parallel() // it waits for a timeout
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	start := time.Now()
	_, err = bus.Connect(t.Context(), bus.ConnOptions{URL: "nats://" + l.Addr().String()})
	wantIs(t, err, bus.ErrNoServer)
	if took := time.Since(start); took > soon {
		t.Errorf("it took %v to say so", took)
	}
}

// Start order does not matter: who waits says for what and why, and goes on
// when the server comes.
func TestConnectWaits(t *testing.T) {
	address := bustest.FreeAddress(t)
	var said statuses
	connected := make(chan error, 1)
	go func() {
		nc, err := bus.Connect(bustest.Patient(t), bus.ConnOptions{URL: "nats://" + address, Wait: true, Status: said.add})
		if err == nil {
			nc.Close()
		}
		connected <- err
	}()
	bustest.Eventually(t, "a status", func() bool { return said.contains("waiting for nats://" + address + ": nats: ") })
	s := startServer(t, bus.ServerOptions{Dir: t.TempDir(), Listen: address})
	t.Cleanup(func() { shutdown(t, s) })
	if err := bustest.Receive(t, "the connection", connected); err != nil {
		t.Fatal(err)
	}
	if last := said.last(); last != "" {
		t.Errorf("the last status is %q, want that it goes on", last)
	}
}

// Waiting ends with the context.
func TestConnectWaitIsBounded(t *testing.T) {
	ctx := bustest.Patient(t)
	ctx, cancel := context.WithCancel(ctx)
	var said statuses
	ended := make(chan error, 1)
	go func() {
		_, err := bus.Connect(ctx, bus.ConnOptions{URL: "nats://" + bustest.FreeAddress(t), Wait: true, Status: said.add})
		ended <- err
	}()
	bustest.Eventually(t, "a status", func() bool { return said.contains("waiting") })
	cancel()
	wantIs(t, bustest.Receive(t, "the end", ended), ctx.Err())
}

// A lost connection says so, comes back by itself, and says that too.
func TestConnectionComesBack(t *testing.T) {
	dir := t.TempDir()
	s := startServer(t, bus.ServerOptions{Dir: dir, Listen: bustest.FreeAddress(t)})
	var said statuses
	nc, err := bus.Connect(bustest.Patient(t), bus.ConnOptions{URL: s.URL(), Status: said.add})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	restart(t, s, dir, nc, func() {
		bustest.Eventually(t, "a status", func() bool { return strings.Contains(said.last(), "lost") })
	})
	bustest.Eventually(t, "the connection is back", func() bool { return nc.IsConnected() && said.last() == "" })
}

func TestBustest(t *testing.T) {
	nc := bustest.Connect(t, bustest.Server(t))
	if !nc.IsConnected() {
		t.Error("not connected")
	}
}
