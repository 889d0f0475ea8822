package bus_test

import (
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"servidor-backup/bus"
	"servidor-backup/bus/bustest"
)

// door counts who comes to an address and hands them to serve.
func door(t *testing.T, count *atomic.Int32, serve func(net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			count.Add(1)
			go func() {
				defer c.Close()
				serve(c)
			}()
		}
	}()
	return l.Addr().String()
}

// Where several servers are known, one that answers is the only one that is dialed, unless
// it is late; and if all refuse, each was dialed once.
func TestServersAreNotDialedInVain(t *testing.T) {
	s := bustest.Server(t)
	through := func(c net.Conn) {
		to, err := net.Dial("tcp", strings.TrimPrefix(s.URL(), "nats://"))
		if err != nil {
			t.Error(err)
			return
		}
		defer to.Close()
		go func() {
			_, _ = io.Copy(to, c)
			_ = to.Close()
		}()
		_, _ = io.Copy(c, to)
	}
	dials := func(serve func(net.Conn)) (sum int32, err error) {
		var counts [3]atomic.Int32
		var addresses []string
		for i := range counts {
			addresses = append(addresses, door(t, &counts[i], serve))
		}
		nc, err := bus.Connect(bustest.Patient(t), bus.ConnOptions{URL: strings.Join(addresses, ",")})
		if err == nil {
			nc.Close()
		}
		for i := range counts {
			n := counts[i].Load()
			if sum += n; n > 1 {
				t.Errorf("a server was dialed %d times", n)
			}
		}
		return sum, err
	}
	bustest.Eventually(t, "one server is dialed", func() bool {
		n, err := dials(through)
		if err != nil {
			t.Fatal(err)
		}
		return n == 1
	})
	n, err := dials(func(net.Conn) {})
	bustest.WantIs(t, err, bus.ErrNoServer)
	if n != 3 {
		t.Errorf("%d servers were dialed", n)
	}
}
