package bus_test

import (
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"servidor-backup/bus"
	"servidor-backup/bus/bustest"
	"servidor-backup/schemas"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func startServer(t *testing.T, opt bus.ServerOptions) *bus.Server {
	t.Helper()
	s, err := bus.StartServer(opt)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func shutdown(t *testing.T, s *bus.Server) {
	t.Helper()
	if err := s.Shutdown(); err != nil {
		t.Error(err)
	}
}

// restart ends s, whose address is a [bustest.FreeAddress], and starts it again
// there and on the same directory, after the connection to it was lost and meanwhile
// has run.
func restart(t *testing.T, s *bus.Server, dir string, nc *nats.Conn, meanwhile func()) {
	t.Helper()
	listen := strings.TrimPrefix(s.URL(), "nats://")
	shutdown(t, s)
	bustest.Eventually(t, "the connection notices", func() bool { return !nc.IsConnected() })
	meanwhile()
	again := startServer(t, bus.ServerOptions{Dir: dir, Listen: listen})
	t.Cleanup(func() { shutdown(t, again) })
}

func dial(t *testing.T, url string) *nats.Conn {
	t.Helper()
	nc, err := bus.Connect(t.Context(), bus.ConnOptions{URL: url, Name: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// statuses keeps what a Status function is told.
type statuses struct {
	mu   sync.Mutex
	said []string
}

func (s *statuses) add(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.said = append(s.said, text)
}

func (s *statuses) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.said...)
}

func (s *statuses) last() string {
	if all := s.all(); len(all) > 0 {
		return all[len(all)-1]
	}
	return "nothing"
}

func (s *statuses) contains(part string) bool {
	return strings.Contains(strings.Join(s.all(), "\n"), part)
}

func wantCode(t *testing.T, err error, want schemas.Code) {
	t.Helper()
	if err == nil || schemas.CodeOf(err) != want {
		t.Errorf("the error is %v of code %q, want %q", err, schemas.CodeOf(err), want)
	}
}

func wantIs(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("the error is %v, want %v", err, want)
	}
}

var vault = schemas.SealedVault("bus")

// random chunks come from one seed, so that a failure can be looked at again.
var random = struct {
	sync.Mutex
	*rand.ChaCha8
}{ChaCha8: rand.NewChaCha8([32]byte{1})}

func fill(b []byte) {
	random.Lock()
	defer random.Unlock()
	random.Read(b)
}

func newChunk(size int) schemas.Chunk {
	c := schemas.Chunk{Kind: schemas.Data, Content: make([]byte, size)}
	fill(c.ID[:])
	fill(c.Content)
	c.Sum = c.Checksum()
	return c
}
