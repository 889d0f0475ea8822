// Package bustest runs a real NATS server inside a test.
package bustest

import (
	"testing"

	"github.com/nats-io/nats.go"

	"servidor-backup/bus"
)

// Server starts an embedded server on a free port of loopback, with its data in
// the test's directory, and ends it with the test.
func Server(t testing.TB) *bus.Server {
	t.Helper()
	s, err := bus.StartServer(bus.ServerOptions{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Shutdown(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Connect connects to s and closes the connection with the test.
func Connect(t testing.TB, s *bus.Server) *nats.Conn {
	t.Helper()
	nc, err := bus.Connect(t.Context(), bus.ConnOptions{URL: s.URL(), Name: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}
