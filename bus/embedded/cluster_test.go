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
	var said bustest.Statuses
	ctx, cancel := context.WithCancel(bustest.Context(t))
	ended := make(chan error, 1)
	go func() { ended <- c.Servers[0].WaitForCluster(ctx, said.Add) }()
	bustest.Eventually(t, "a status", func() bool { return said.Last() == "waiting for the cluster: 1 of 3 servers" })
	cancel()
	bustest.WantIs(t, bustest.Receive(t, "the end", ended), context.Canceled)
	go func() { ended <- c.Servers[0].WaitForCluster(bustest.Context(t), said.Add) }()
	c.Start(1, 2)
	if err := bustest.Receive(t, "the cluster", ended); err != nil {
		t.Error(err)
	}
	if last := said.Last(); last != "" {
		t.Errorf("the last status is %q, want that it goes on", last)
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
