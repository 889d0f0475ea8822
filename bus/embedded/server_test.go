package embedded_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"servidor-backup/bus"
	"servidor-backup/bus/bustest"
	"servidor-backup/bus/embedded"
	"servidor-backup/bus/kv"
)

// A second server on a directory, which would destroy its data, does not start. Shutdown
// unlocks the directory.
func TestServerLocksItsDirectory(t *testing.T) {
	dir := t.TempDir()
	s := bustest.StartServer(t, embedded.Options{Dir: dir})
	second, err := embedded.Start(embedded.Options{Dir: dir})
	if err == nil {
		bustest.Shutdown(t, second)
	}
	bustest.WantIs(t, err, embedded.ErrInUse)
	if err != nil && !strings.Contains(err.Error(), dir) {
		t.Errorf("%q does not name the directory", err)
	}
	bustest.Shutdown(t, s)
	bustest.Shutdown(t, bustest.StartServer(t, embedded.Options{Dir: dir}))
}

// A directory that cannot be locked for another reason is not reported as in use.
func TestServerReportsWhyItCannotLock(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "LOCK"), 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := embedded.Start(embedded.Options{Dir: dir})
	if err == nil {
		bustest.Shutdown(t, s)
	}
	if err == nil || errors.Is(err, embedded.ErrInUse) && runtime.GOOS != "windows" {
		t.Errorf("the error is %v, want another one than %v", err, embedded.ErrInUse)
	}
}

// The error for a taken address names it, and the directory is unlocked.
func TestServerReportsATakenAddress(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir, taken := t.TempDir(), l.Addr().String()
	s, err := embedded.Start(embedded.Options{Dir: dir, Listen: taken})
	if err == nil {
		bustest.Shutdown(t, s)
		t.Fatal("a server started on a taken address")
	}
	if !strings.Contains(err.Error(), taken) || errors.Is(err, embedded.ErrInUse) {
		t.Errorf("%q does not name the address %s", err, taken)
	}
	bustest.Shutdown(t, bustest.StartServer(t, embedded.Options{Dir: dir, Listen: "127.0.0.1:0"}))
}

func TestServerRefusesAMalformedAddress(t *testing.T) {
	for _, listen := range []string{"localhost", "127.0.0.1:x", "127.0.0.1:99999"} {
		if s, err := embedded.Start(embedded.Options{Dir: t.TempDir(), Listen: listen}); err == nil {
			bustest.Shutdown(t, s)
			t.Errorf("%q was accepted", listen)
		}
	}
}

// A value that a bucket has acknowledged is there after a restart.
func TestServerHasItsDataAfterARestart(t *testing.T) {
	dir := t.TempDir()
	s := bustest.StartServer(t, embedded.Options{Dir: dir, Listen: "127.0.0.1:0"})
	nc := bustest.Dial(t, s.URL())
	if _, err := openBucket(t, nc, "values").Create(bustest.Context(t), "k", number{7}); err != nil {
		t.Fatal(err)
	}
	nc.Close()
	bustest.Shutdown(t, s)

	s = bustest.StartServer(t, embedded.Options{Dir: dir, Listen: "127.0.0.1:0"})
	t.Cleanup(func() { bustest.Shutdown(t, s) })
	var got number
	if _, err := openBucket(t, bustest.Dial(t, s.URL()), "values").Get(bustest.Context(t), "k", &got); err != nil || got.N != 7 {
		t.Errorf("after the restart: %v, %v", got, err)
	}
}

// Without Listen the server has no socket; connections within the process still reach it.
func TestServerWithoutAListenerIsReachedInProcess(t *testing.T) {
	s := bustest.StartServer(t, embedded.Options{Dir: t.TempDir()})
	t.Cleanup(func() { bustest.Shutdown(t, s) })
	if url := s.URL(); url != "" {
		t.Errorf("a server without a listener has the URL %q", url)
	}
	nc, err := bus.Connect(bustest.Context(t), bus.ConnOptions{InProcess: s})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if _, err := openBucket(t, nc, "b").Create(bustest.Context(t), "k", number{1}); err != nil {
		t.Error(err)
	}
}

type number struct {
	N int `msgpack:"n"`
}

func openBucket(t *testing.T, nc *nats.Conn, name string) *kv.Bucket {
	t.Helper()
	b, err := kv.Open(bustest.Context(t), nc, kv.Config{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return b
}
