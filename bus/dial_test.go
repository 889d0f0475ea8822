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

// listenAndCount counts the connections to an address and calls serve with each.
func listenAndCount(t *testing.T, count *atomic.Int32, serve func(net.Conn)) (address string) {
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

// Of several servers, one that responds is the only one that is dialed, unless it responds
// late. If no server accepts the connection, each is dialed once.
func TestServersAreDialedAtMostOnce(t *testing.T) {
	s := bustest.Server(t)
	forward := func(c net.Conn) {
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
			addresses = append(addresses, listenAndCount(t, &counts[i], serve))
		}
		nc, err := bus.Connect(bustest.Context(t), bus.ConnOptions{URL: strings.Join(addresses, ",")})
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
	bustest.Eventually(t, "only one server is dialed", func() bool {
		n, err := dials(forward)
		if err != nil {
			t.Fatal(err)
		}
		return n == 1
	})
	n, err := dials(func(net.Conn) {})
	bustest.WantIs(t, err, bus.ErrNoServer)
	if n != 3 {
		t.Errorf("%d servers were dialed, want all 3", n)
	}
}
