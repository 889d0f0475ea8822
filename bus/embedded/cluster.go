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

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nuid"
)

// Cluster makes an embedded server one of several that are one NATS cluster, with
// one JetStream: any minority of them can be lost.
type Cluster struct {
	// Name is the same for all servers of the cluster.
	Name string
	// Listen is HOST:PORT for the other servers.
	Listen string
	// Routes are where the servers listen for each other, nats://HOST:PORT. This
	// server may be among them, so that all can be given the same.
	Routes []string
}

// ErrClustered is returned by [Start] for a directory that was part of a
// cluster and is to be used without, or the other way round: JetStream would
// take what it finds there for litter.
var ErrClustered = errors.New("the directory was made otherwise")

// natsName is a lone server's name. A cluster's servers need different ones.
const natsName = "servidor-backup"

// nameFile, in the server's directory, keeps the name that it has in its cluster:
// under another one it would be another server, without the data.
const nameFile = "SERVER"

// serverName is the name under which the server on dir is known.
func serverName(dir string, clustered bool) (string, error) {
	path := filepath.Join(dir, nameFile)
	text, err := os.ReadFile(path)
	switch {
	case err == nil && !clustered:
		return "", fmt.Errorf("%s: %w: it is part of a cluster, which has to be named again", dir, ErrClustered)
	case err == nil:
		return strings.TrimSpace(string(text)), nil
	case !errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("read the server's name: %w", err)
	case !clustered:
		return natsName, nil
	}
	if _, err := os.Stat(filepath.Join(dir, server.JetStreamStoreDir)); err == nil {
		return "", fmt.Errorf("%s: %w: its data is of a server without a cluster", dir, ErrClustered)
	}
	name := natsName + "-" + nuid.Next()
	return name, keepName(path, name)
}

// keepName writes the name whole or not at all, before there is any data.
func keepName(path, name string) error {
	f, err := os.CreateTemp(filepath.Dir(path), nameFile)
	if err != nil {
		return fmt.Errorf("keep the server's name: %w", err)
	}
	_, err = f.WriteString(name + "\n")
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("keep the server's name: %w", err), os.Remove(f.Name()))
	}
	dir, err := vfs.Default.OpenDir(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("keep the server's name: %w", err)
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// options sets the options that make the server part of a cluster.
func (c *Cluster) options(o *server.Options) error {
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
		self = self || leadsTo(u, host, port)
	}
	if !self {
		// NATS counts the routes to know how many servers there will be, and of
		// how many a majority must be there at the first start.
		o.Routes = append(o.Routes, &url.URL{Scheme: "nats", Host: net.JoinHostPort(host, strconv.Itoa(port))})
	}
	return nil
}

// CheckRoute tells what is wrong with one of [Cluster].Routes.
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
		return nil, fmt.Errorf("%q is not a route: write nats://HOST:PORT", route)
	}
	return u, nil
}

// leadsTo reports whether u is the address on which this machine listens.
func leadsTo(u *url.URL, host string, port int) bool {
	if u.Port() != strconv.Itoa(port) {
		return false
	}
	if u.Hostname() == host {
		return true
	}
	there, err := net.LookupHost(u.Hostname())
	if err != nil {
		return false
	}
	here, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	return slices.ContainsFunc(here, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		return ok && slices.Contains(there, n.IP.String())
	})
}

// WaitForCluster waits until enough servers of the cluster have found each other
// to agree on something, and says through status for what it waits, and "" when
// it goes on. A server without a cluster is not waited for.
func (s *Server) WaitForCluster(ctx context.Context, status func(text string)) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for said := ""; ; {
		if !s.ns.JetStreamIsClustered() {
			return nil
		}
		info, err := s.ns.Jsz(nil)
		if err != nil {
			return fmt.Errorf("ask the server about its cluster: %w", err)
		}
		if info.Meta != nil && info.Meta.Leader != "" {
			if said != "" {
				status("")
			}
			return nil
		}
		now := fmt.Sprintf("waiting for the cluster: %d of %d servers", len(s.ns.ActivePeers()), s.expected)
		if now != said {
			said = now
			status(said)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
