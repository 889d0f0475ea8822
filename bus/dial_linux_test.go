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

// blackHole is an address that answers nothing to who connects: its queue of connections
// is full, and what comes then is dropped.
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
	t.Skip("this system has room for more connections than were asked for")
	return ""
}

// Servers that say nothing are not waited for one after the other: with two of them
// before it, one that answers is connected to before one of them would be given up; and
// three are given up before two, one after the other, would be. That is true of who is
// lucky with the order, or stopped at the wrong moment, too; so it must be true for
// several at once, and may take some rounds.
func TestSilentServersAreTriedBesideEachOther(t *testing.T) {
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
		var once, twice bool // the slow ones have ended
		var mu sync.Mutex
		slow.Go(func() {
			for _, over := range []*bool{&once, &twice} {
				fails(holes[0])
				mu.Lock()
				*over = true
				mu.Unlock()
			}
		})
		timely := true
		before := func(over *bool, do func()) {
			quick.Go(func() {
				do()
				mu.Lock()
				timely = timely && !*over
				mu.Unlock()
			})
		}
		before(&twice, func() { fails(holes...) })
		for range 6 {
			before(&once, succeeds)
		}
		quick.Wait()
		slow.Wait()
		if timely {
			return
		}
	}
	t.Error("silent servers are waited for one after the other")
}
