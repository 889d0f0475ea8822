package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"servidor-backup/bus"
	"servidor-backup/bus/embedded"
	"servidor-backup/coordinator"
	"servidor-backup/schemas"
	"servidor-backup/storage"
	"servidor-backup/storage/node"
)

// roles are the running parts of a system: server, coordinator, node, and the connections
// between them. They stop in the reverse order of their start, so a part never outlives what
// it depends on.
type roles struct {
	console     *console
	log         *slog.Logger
	url         string           // of the NATS server
	server      *embedded.Server // the server itself, if it runs in this process
	coordinator *coordinator.Running
	memory      float64      // share of the usual memory bounds
	node        *node.Node   // the node, if one runs in this process
	closeStore  func() error // closes the node's store, once; see openStore
	stops       []func() error

	serverLog *slog.Logger // of the NATS server; nil: none
	failed    func(error)  // ends the command when the server in this process has failed
	readOnly  bool         // the store is opened for reading only
}

func newRoles(c *console, url string, memory float64, log *slog.Logger) *roles {
	return &roles{console: c, log: log, serverLog: log, url: url, memory: memory}
}

// onStop adds a function for stop to call.
func (r *roles) onStop(stop func() error) { r.stops = append(r.stops, stop) }

// stop ends everything. An error does not keep it from ending the rest.
func (r *roles) stop() error {
	var all error
	for i := len(r.stops) - 1; i >= 0; i-- {
		all = errors.Join(all, r.stops[i]())
	}
	r.stops = nil
	return all
}

// startServer starts a NATS server with its data in dir and waits for the other servers of
// its cluster. The parts that start afterwards connect to it without a socket.
func (r *roles) startServer(ctx context.Context, dir string, opt upOptions) error {
	so := embedded.Options{Dir: dir, Listen: opt.listen, Log: r.serverLog, Failed: r.failed}
	if opt.cluster.Listen != "" {
		so.Cluster = &opt.cluster
		so.Cluster.Name = cmp.Or(so.Cluster.Name, defaultCluster)
	}
	server, err := embedded.Start(so)
	if err != nil {
		return err
	}
	r.server, r.url = server, server.URL()
	r.onStop(server.Shutdown)
	return server.WaitForCluster(ctx, func(servers, expected int) {
		text := ""
		if expected > 0 {
			text = r.console.t("up.waiting-cluster", "Here", servers, "Expected", expected)
		}
		r.console.status(text)
	})
}

// connect connects to the server; it waits until the server answers or ctx ends.
func (r *roles) connect(ctx context.Context, name string) (*nats.Conn, error) {
	opt := bus.ConnOptions{URL: r.url, Name: name, Wait: true, Status: r.console.waits}
	if r.server != nil { // a nil *embedded.Server in the interface would not be nil
		opt.InProcess = r.server
	}
	nc, err := bus.Connect(ctx, opt)
	if err != nil {
		return nil, err
	}
	r.onStop(func() error {
		nc.Close()
		return nil
	})
	return nc, nil
}

// startCoordinator starts a coordinator; it fills in Version and Log of the options.
func (r *roles) startCoordinator(ctx context.Context, nc *nats.Conn, opt coordinator.Options) error {
	opt.Version, opt.Log = programVersion(), r.log
	running, err := coordinator.Run(ctx, nc, opt)
	if err != nil {
		return err
	}
	r.coordinator = running
	r.onStop(running.Stop)
	return nil
}

// backUpTime is how long the end of a process may wait for copies of the catalogue.
const backUpTime = 5 * time.Second

// backUp waits until the node has copies of what was written to the catalogue: a command that
// ends at once would leave none of its own version.
func (r *roles) backUp() error {
	ctx, cancel := context.WithTimeout(context.Background(), backUpTime)
	defer cancel()
	if err := r.coordinator.BackUp(ctx); err != nil {
		r.log.Warn("the catalogue's backup is not complete; the next start completes it", "error", err)
	}
	return nil
}

// The usual memory bounds of a store's index and of a node, in bytes: the defaults of their
// packages.
const (
	indexMemory = 48 << 20
	nodeBudget  = 32 << 20
)

// share scales a usual memory bound, in bytes, to the share of the roles.
func (r *roles) share(usual int64) int64 { return int64(r.memory * float64(usual)) }

// openStore begins to open a store in the background, and begins its run. That takes about as long
// as a server needs to start, so the caller starts the server meanwhile and calls wait when it needs
// the store. The store's closing takes about as long as a server needs to stop, so it begins when
// the node has stopped.
func (r *roles) openStore(dir string) (wait func() (*storage.Store, error)) {
	wait = sync.OnceValues(func() (*storage.Store, error) {
		store, err := storage.Open(dir, storage.Options{IndexMemory: r.share(indexMemory), ReadOnly: r.readOnly})
		if err == nil {
			_, _ = store.BeginRun() // the node reports the error
		}
		return store, err
	})
	go wait()
	r.closeStore = sync.OnceValue(func() error {
		store, err := wait()
		if err != nil {
			return nil // startNode has reported it, unless something else failed first
		}
		return store.Close()
	})
	r.onStop(r.closeStore)
	return wait
}

// nodeOptions describe a storage node.
type nodeOptions struct {
	data        string        // folder of the store
	name, zone  string        // an empty name stands for the host's name
	keepName    bool          // an empty name stands for the name of the last registration
	weight      uint32        // 0: by the size of the disk
	healRate    int64         // bytes per second; 0: no limit
	scrubPeriod time.Duration // 0: the default
	settle      time.Duration // 0: the default
}

func (r *roles) startNode(ctx context.Context, nc *nats.Conn, open func() (*storage.Store, error), opt nodeOptions) error {
	store, err := open()
	if err != nil {
		return err
	}
	warnLost(r.console, opt.data, store)
	if opt.name == "" && opt.keepName {
		opt.name = registeredName(ctx, nc, store.NodeID())
	}
	host, _ := os.Hostname()
	if opt.name == "" {
		opt.name = host // without a host name, the node is called by its id
	}
	n, err := node.Start(ctx, nc, store, node.Options{
		Name:        opt.name,
		Zone:        opt.zone,
		Weight:      opt.weight,
		Version:     programVersion(),
		Host:        host,
		Budget:      r.share(nodeBudget),
		HealRate:    opt.healRate,
		ScrubPeriod: opt.scrubPeriod,
		Settle:      opt.settle,
		Log:         r.log,
		Status:      r.console.waits,
	})
	if err != nil {
		return err
	}
	r.node = n
	r.onStop(func() error {
		err := n.Stop()
		go r.closeStore()
		return err
	})
	return nil
}

// registeredName is the name under which a node has registered before, or "".
func registeredName(ctx context.Context, nc *nats.Conn, id schemas.NodeID) string {
	var rep schemas.NodesReply
	if err := bus.Request(ctx, nc, schemas.SubjectNodes, &schemas.NodesRequest{}, &rep); err != nil {
		return "" // if something is wrong, the registration reports it
	}
	for _, n := range rep.Map.Nodes {
		if n.ID == id {
			return n.Name
		}
	}
	return ""
}
