package bustest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"testing"
)

var port atomic.Uint32

func init() { port.Store(rand.Uint32N(20_000)) }

// FreeAddress returns a free address of the loopback interface, for a server whose address
// must be known before it starts, or that restarts on the same address.
//
// The port is below the range that systems choose local ports from (from 32768 or 49152
// on): while nothing listens on a port of that range, it may become the local port of any
// connection, even of the one that tries to reach it. FreeAddress also never returns a port
// twice before all have been used, because the test that got it first may not listen yet.
// It starts at a random port, so that programs that run at the same time seldom collide.
func FreeAddress(t testing.TB) string {
	t.Helper()
	var err error
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", 10_000+port.Add(1)%20_000)
		var l net.Listener
		if l, err = net.Listen("tcp", address); err == nil {
			if err = l.Close(); err == nil {
				return address
			}
		}
	}
	t.Fatal(err)
	return ""
}
