// Package bustest gives tests a real bus: NATS servers, alone and as clusters,
// connections to them, free addresses, and waits that end.
package bustest

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"servidor-backup/bus"
	"servidor-backup/bus/embedded"
	"servidor-backup/schemas"
)

// Server starts an embedded server on a free port of the loopback interface, with its data
// in the test's directory, and shuts it down at the end of the test.
func Server(t testing.TB) *embedded.Server {
	t.Helper()
	s := StartServer(t, embedded.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0"})
	t.Cleanup(func() { Shutdown(t, s) })
	return s
}

// StartServer starts an embedded server, which the test must end with [Shutdown].
func StartServer(t testing.TB, opt embedded.Options) *embedded.Server {
	t.Helper()
	s, err := embedded.Start(opt)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Shutdown ends a server.
func Shutdown(t testing.TB, s *embedded.Server) {
	t.Helper()
	if err := s.Shutdown(); err != nil {
		t.Error(err)
	}
}

// Restart shuts down s, whose address is a [FreeAddress], waits until nc notices, calls
// meanwhile, and starts the server again on the same address and directory.
func Restart(t testing.TB, s *embedded.Server, dir string, nc *nats.Conn, meanwhile func()) {
	t.Helper()
	listen := strings.TrimPrefix(s.URL(), "nats://")
	Shutdown(t, s)
	Eventually(t, "the connection notices that its server is down", func() bool { return !nc.IsConnected() })
	meanwhile()
	again := StartServer(t, embedded.Options{Dir: dir, Listen: listen})
	t.Cleanup(func() { Shutdown(t, again) })
}

// Connect connects to s and closes the connection at the end of the test.
func Connect(t testing.TB, s *embedded.Server) *nats.Conn {
	t.Helper()
	return Dial(t, s.URL())
}

// Dial connects to the servers at url and closes the connection at the end of the test.
func Dial(t testing.TB, url string) *nats.Conn {
	t.Helper()
	nc, err := bus.Connect(t.Context(), bus.ConnOptions{URL: url, Name: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// Statuses records the texts that a Status function is called with. The zero value is
// ready.
type Statuses struct {
	mu    sync.Mutex
	texts []string
}

// Add is the Status function.
func (s *Statuses) Add(sentence schemas.Sentence) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.texts = append(s.texts, sentence.Text)
}

// All returns all texts in order.
func (s *Statuses) All() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.texts...)
}

// Last returns the last text, or "nothing".
func (s *Statuses) Last() string {
	if all := s.All(); len(all) > 0 {
		return all[len(all)-1]
	}
	return "nothing"
}

// Contains reports whether some text contains part.
func (s *Statuses) Contains(part string) bool {
	return strings.Contains(strings.Join(s.All(), "\n"), part)
}

// WantCode fails the test unless err has the code.
func WantCode(t testing.TB, err error, want schemas.Code) {
	t.Helper()
	if err == nil || schemas.CodeOf(err) != want {
		t.Errorf("the error is %v with the code %q, want the code %q", err, schemas.CodeOf(err), want)
	}
}

// WantIs fails the test unless err wraps want.
func WantIs(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("the error is %v, want one that wraps %v", err, want)
	}
}
