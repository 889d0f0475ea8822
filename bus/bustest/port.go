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

// FreeAddress is an address of loopback that is free, for a server that others
// must know before it is there, or that comes back to where it was.
//
// The port is not one of those that systems give out by themselves (from 32768 on,
// or 49152): such a one may become some connection's own end as soon as nobody
// listens there, even that of the connection which tries to reach it. Nor is it one that
// was given to somebody else, who may not listen there yet: they are given out in turn,
// from somewhere on, so that programs which do so at the same time are seldom in each
// other's way.
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
