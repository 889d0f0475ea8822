package bus_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"servidor-backup/bus"
	"servidor-backup/bus/bustest"
)

// blackHole returns an address that never responds to a dial: its queue of connections
// is full, so the system drops further ones.
func blackHole(t *testing.T) string {
	t.Helper()
	s, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(s) })
	if err := errors.Join(syscall.Bind(s, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), syscall.Listen(s, 0)); err != nil {
		t.Fatal(err)
	}
	own, err := syscall.Getsockname(s)
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprint("127.0.0.1:", own.(*syscall.SockaddrInet4).Port)
	for range 20 {
		c, err := net.DialTimeout("tcp", address, time.Second)
		switch {
		case os.IsTimeout(err):
			return address
		case err != nil:
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	t.Fatal("20 connections were accepted for a listener that queues none")
	return ""
}

// Unresponsive servers are dialed side by side, not one after the other. With two of them
// and one good server, Connect succeeds before the dial of a single unresponsive server
// times out; and with three of them it fails before two timeouts, one after the other, have
// passed. A single Connect can be lucky with its random order, and any can be delayed on a
// busy machine. So several run at the same time, all must be in time, and the test tries up
// to five rounds.
func TestUnresponsiveServersAreDialedSideBySide(t *testing.T) {
	t.Parallel() // it waits for timeouts
	s := bustest.Server(t)
	holes := []string{blackHole(t), blackHole(t), blackHole(t)}
	fails := func(addresses ...string) {
		_, err := bus.Connect(t.Context(), bus.ConnOptions{URL: strings.Join(addresses, ",")})
		bustest.WantIs(t, err, bus.ErrNoServer)
	}
	succeeds := func() {
		nc, err := bus.Connect(t.Context(), bus.ConnOptions{URL: strings.Join([]string{holes[0], holes[1], s.URL()}, ",")})
		if err != nil {
			t.Error(err)
			return
		}
		nc.Close()
	}
	for range 5 {
		var slow, quick sync.WaitGroup
		var once, twice bool // one timeout has passed, two have
		var mu sync.Mutex
		slow.Go(func() {
			for _, passed := range []*bool{&once, &twice} {
				fails(holes[0])
				mu.Lock()
				*passed = true
				mu.Unlock()
			}
		})
		inTime := true
		before := func(passed *bool, do func()) {
			quick.Go(func() {
				do()
				mu.Lock()
				inTime = inTime && !*passed
				mu.Unlock()
			})
		}
		before(&twice, func() { fails(holes...) })
		for range 6 {
			before(&once, succeeds)
		}
		quick.Wait()
		slow.Wait()
		if inTime {
			return
		}
	}
	t.Error("unresponsive servers are dialed one after the other")
}
