package embedded

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nuid"
)

// Cluster makes an embedded server a member of a NATS cluster with one JetStream. The
// cluster survives the loss of any minority of its servers.
type Cluster struct {
	// Name is the same for all servers of the cluster.
	Name string
	// Listen is HOST:PORT, where this server listens for the other servers.
	Listen string
	// Routes are the addresses where the servers listen for each other, as
	// nats://HOST:PORT. They may include this server, so that all servers can have the
	// same list.
	Routes []string
}

// ErrClustered is returned by [Start] for a cluster server's directory that is opened
// without a cluster, or for a lone server's directory that is opened in a cluster:
// JetStream would delete the data there as left-overs.
var ErrClustered = errors.New("the directory was made otherwise")

// natsName is a lone server's name. A cluster's servers need different names.
const natsName = "servidor-backup"

// nameFile, in the server's directory, stores the server's name in its cluster. Under
// another name the cluster would take it for a new server without data.
const nameFile = "SERVER"

// nameOfServer returns the name of the server on dir, which it chooses when a cluster's
// server starts for the first time.
func nameOfServer(dir string, clustered bool) (string, error) {
	path := filepath.Join(dir, nameFile)
	text, err := os.ReadFile(path)
	switch {
	case err == nil && !clustered:
		return "", fmt.Errorf("%s: %w: it belongs to a server of a cluster; start it with the cluster's options", dir, ErrClustered)
	case err == nil:
		return strings.TrimSpace(string(text)), nil
	case !errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("read the server's name: %w", err)
	case !clustered:
		return natsName, nil
	}
	if _, err := os.Stat(filepath.Join(dir, server.JetStreamStoreDir)); err == nil {
		return "", fmt.Errorf("%s: %w: it has the data of a server without a cluster", dir, ErrClustered)
	}
	name := natsName + "-" + nuid.Next()
	if err := writeFile(path, []byte(name+"\n")); err != nil { // before JetStream writes any data
		return "", fmt.Errorf("write the server's name: %w", err)
	}
	return name, nil
}

// apply sets the options that make the server part of a cluster.
func (c *Cluster) apply(o *server.Options) error {
	host, port, err := splitListen(c.Listen)
	if err != nil {
		return err
	}
	o.Cluster = server.ClusterOpts{Name: c.Name, Host: host, Port: port}
	self := false
	for _, route := range c.Routes {
		u, err := parseRoute(route)
		if err != nil {
			return err
		}
		o.Routes = append(o.Routes, u)
		self = self || isOwnAddress(u, host, port)
	}
	if !self {
		// NATS takes the number of routes for the number of servers, of which a majority
		// must be running at the first start.
		o.Routes = append(o.Routes, &url.URL{Scheme: "nats", Host: net.JoinHostPort(host, strconv.Itoa(port))})
	}
	return nil
}

// CheckRoute reports what is wrong with an element of [Cluster].Routes.
func CheckRoute(route string) error {
	_, err := parseRoute(route)
	return err
}

func parseRoute(route string) (*url.URL, error) {
	if !strings.Contains(route, "://") {
		route = "nats://" + route
	}
	u, err := url.Parse(route)
	if err != nil || u.Hostname() == "" || u.Port() == "" {
		// The error does not quote the route, which may have a password.
		return nil, errors.New("a route is not an address: write nats://HOST:PORT")
	}
	return u, nil
}

// isOwnAddress reports whether u is the address host:port of this machine.
func isOwnAddress(u *url.URL, host string, port int) bool {
	if u.Port() != strconv.Itoa(port) {
		return false
	}
	if u.Hostname() == host {
		return true
	}
	addresses, err := net.LookupHost(u.Hostname())
	if err != nil {
		return false
	}
	own, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	return slices.ContainsFunc(own, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		return ok && slices.Contains(addresses, n.IP.String())
	})
}

// WaitForCluster waits until enough servers of the cluster have found each other to elect a
// leader. It calls status with how many servers are there and are expected, and with 0 and 0 when
// it goes on. Without a cluster it returns at once.
func (s *Server) WaitForCluster(ctx context.Context, status func(servers, expected int)) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for last := -1; ; {
		if !s.ns.JetStreamIsClustered() {
			return nil
		}
		info, err := s.ns.Jsz(nil)
		if err != nil {
			return fmt.Errorf("ask the server about its cluster: %w", err)
		}
		if info.Meta != nil && info.Meta.Leader != "" {
			if last >= 0 {
				status(0, 0)
			}
			return nil
		}
		if now := len(s.ns.ActivePeers()); now != last {
			last = now
			status(now, s.expected)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
