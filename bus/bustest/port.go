package bustest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
)

// FreeAddress is an address of loopback that is free, for a server that others
// must know before it is there, or that comes back to where it was.
//
// The port is not one of those that systems give out by themselves (from 32768 on,
// or 49152): such a one may become some connection's own end as soon as nobody
// listens there, even that of the connection which tries to reach it.
func FreeAddress(t testing.TB) string {
	t.Helper()
	var err error
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(20_000))
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
