package bustest

import (
	"strings"
	"testing"

	"servidor-backup/bus/embedded"
)

// Cluster is the servers of one cluster, which a test can stop and start. A server that
// is not running is nil.
type Cluster struct {
	*testing.T
	Options []embedded.Options
	Servers []*embedded.Server
}

// PrepareCluster makes a cluster of which no server is running yet. It makes the test
// parallel, because tests of clusters wait more than they compute.
func PrepareCluster(t *testing.T, size int) *Cluster {
	t.Helper()
	t.Parallel()
	c := &Cluster{T: t, Options: make([]embedded.Options, size), Servers: make([]*embedded.Server, size)}
	var routes []string
	for i := range c.Options {
		address := FreeAddress(t)
		routes = append(routes, "nats://"+address)
		c.Options[i] = embedded.Options{
			Dir: t.TempDir(), Listen: FreeAddress(t),
			Cluster: &embedded.Cluster{Name: "test", Listen: address},
		}
	}
	for i := range c.Options {
		c.Options[i].Cluster.Routes = routes
	}
	t.Cleanup(func() { c.Stop(c.all()...) })
	return c
}

// StartCluster starts a cluster and waits until its servers have found each other.
func StartCluster(t *testing.T, size int) *Cluster {
	t.Helper()
	c := PrepareCluster(t, size)
	c.Start(c.all()...)
	return c
}

func (c *Cluster) all() (indexes []int) {
	for i := range c.Options {
		indexes = append(indexes, i)
	}
	return indexes
}

// Start starts the servers with the given indexes and waits until they have found the
// others.
func (c *Cluster) Start(indexes ...int) {
	c.Helper()
	for _, i := range indexes {
		c.Servers[i] = StartServer(c.T, c.Options[i])
	}
	for _, i := range indexes {
		if err := c.Servers[i].WaitForCluster(Context(c.T), func(int, int) {}); err != nil {
			c.Fatal(err)
		}
	}
}

// Stop shuts down those servers with the given indexes that are running.
func (c *Cluster) Stop(indexes ...int) {
	c.Helper()
	for _, i := range indexes {
		if c.Servers[i] != nil {
			Shutdown(c.T, c.Servers[i])
			c.Servers[i] = nil
		}
	}
}

// URLs returns the addresses of all servers, separated by commas, starting with server i.
func (c *Cluster) URLs(i int) string {
	var urls []string
	for k := range c.Options {
		urls = append(urls, "nats://"+c.Options[(i+k)%len(c.Options)].Listen)
	}
	return strings.Join(urls, ",")
}
