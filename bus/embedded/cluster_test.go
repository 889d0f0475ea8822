package embedded_test

import (
	"context"
	"testing"

	"servidor-backup/bus/bustest"
	"servidor-backup/bus/embedded"
)

// WaitForCluster reports what it waits for, and ends when its context ends or the cluster
// is complete.
func TestWaitForClusterReportsAndEnds(t *testing.T) {
	c := bustest.PrepareCluster(t, 3)
	c.Servers[0] = bustest.StartServer(t, c.Options[0])
	said := make(chan [2]int, 100)
	status := func(servers, expected int) { said <- [2]int{servers, expected} }
	ctx, cancel := context.WithCancel(bustest.Context(t))
	ended := make(chan error, 1)
	go func() { ended <- c.Servers[0].WaitForCluster(ctx, status) }()
	if got := bustest.Receive(t, "a status", said); got != [2]int{1, 3} {
		t.Errorf("%d of %d servers, want 1 of 3", got[0], got[1])
	}
	cancel()
	bustest.WantIs(t, bustest.Receive(t, "the end", ended), context.Canceled)
	go func() { ended <- c.Servers[0].WaitForCluster(bustest.Context(t), status) }()
	c.Start(1, 2)
	if err := bustest.Receive(t, "the cluster", ended); err != nil {
		t.Error(err)
	}
	var last [2]int
	for len(said) > 0 {
		last = <-said
	}
	if last != [2]int{} {
		t.Errorf("the last status is %v, want that it goes on", last)
	}
}

// A server does not start in a cluster on a lone server's directory, nor alone on a cluster
// server's: JetStream would delete the data.
func TestClusterAndLoneServerRefuseEachOthersDirectories(t *testing.T) {
	alone := embedded.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0"}
	bustest.Shutdown(t, bustest.StartServer(t, alone))
	joined := alone
	joined.Cluster = &embedded.Cluster{Name: "test", Listen: "127.0.0.1:0", Routes: []string{"nats://127.0.0.1:1"}}
	refused := func(opt embedded.Options) {
		t.Helper()
		s, err := embedded.Start(opt)
		if err == nil {
			bustest.Shutdown(t, s)
		}
		bustest.WantIs(t, err, embedded.ErrClustered)
	}
	refused(joined)
	bustest.Shutdown(t, bustest.StartServer(t, alone)) // it still starts alone
	joined.Dir, alone.Dir = t.TempDir(), ""
	bustest.Shutdown(t, bustest.StartServer(t, joined))
	alone.Dir = joined.Dir
	refused(alone)
	bustest.Shutdown(t, bustest.StartServer(t, joined))
}

func TestClusterRefusesMalformedRoutes(t *testing.T) {
	for _, route := range []string{"127.0.0.1", "nats://:1", "nats://[::1", "", "nats://a b:1"} {
		s, err := embedded.Start(embedded.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0",
			Cluster: &embedded.Cluster{Name: "test", Listen: "127.0.0.1:0", Routes: []string{route}}})
		if err == nil {
			bustest.Shutdown(t, s)
			t.Errorf("the route %q was accepted", route)
		}
	}
}
