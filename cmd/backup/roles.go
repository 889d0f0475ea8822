package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
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

// roles are the running parts of a system: server, coordinator, node, and the
// connections between them. They end in the reverse order of their start, so
// nothing loses what it stands on.
type roles struct {
	a      *app
	log    *slog.Logger
	url    string           // of the NATS server
	server *embedded.Server // it, when it runs here
	room   float64          // the part of the usual memory that the roles may use
	stops  []func() error
}

func newRoles(a *app, url string, level slog.Level) *roles {
	return &roles{a: a, log: a.logger(level), url: url, room: a.room}
}

func (r *roles) push(stop func() error) { r.stops = append(r.stops, stop) }

// stop ends everything, also after an error.
func (r *roles) stop() error {
	var all error
	for i := len(r.stops) - 1; i >= 0; i-- {
		all = errors.Join(all, r.stops[i]())
	}
	r.stops = nil
	return all
}

// startServer starts a NATS server with its data in dir, and waits for the others
// of its cluster. The parts that are started afterwards reach it without a socket.
func (r *roles) startServer(ctx context.Context, dir string, opt upOptions) error {
	so := embedded.Options{Dir: dir, Listen: opt.listen, Log: r.log}
	if opt.cluster.Listen != "" {
		so.Cluster = &opt.cluster
		so.Cluster.Name = cmp.Or(so.Cluster.Name, defaultCluster)
	}
	server, err := embedded.Start(so)
	if err != nil {
		return err
	}
	r.server, r.url = server, server.URL()
	r.push(server.Shutdown)
	return server.WaitForCluster(ctx, r.a.console.status)
}

// connect dials the server, waiting for it as long as it takes.
func (r *roles) connect(ctx context.Context, name string) (*nats.Conn, error) {
	opt := bus.ConnOptions{URL: r.url, Name: name, Wait: true, Status: r.a.console.status}
	if r.server != nil {
		opt.InProcess = r.server
	}
	nc, err := bus.Connect(ctx, opt)
	if err != nil {
		return nil, err
	}
	r.push(func() error {
		nc.Close()
		return nil
	})
	return nc, nil
}

// startCoordinator starts one. The options need not say what the program is.
func (r *roles) startCoordinator(ctx context.Context, nc *nats.Conn, opt coordinator.Options) error {
	opt.Version, opt.Log = programVersion(), r.log
	stop, err := coordinator.Keep(ctx, nc, opt)
	if err != nil {
		return err
	}
	r.push(stop)
	return nil
}

// What a store's index and a node hold in memory if there is room, in bytes: the
// defaults of both.
const (
	indexMemory = 48 << 20
	nodeBudget  = 32 << 20
)

// share is the part of a usual bound, in bytes, for which there is room.
func (r *roles) share(usual int64) int64 { return int64(r.room * float64(usual)) }

// openStore begins to open a store. That takes about as long as a server needs
// to start, so the caller goes on meanwhile and waits when it needs the store.
func (r *roles) openStore(dir string) (wait func() (*storage.Store, error)) {
	wait = sync.OnceValues(func() (*storage.Store, error) {
		return storage.Open(dir, storage.Options{IndexMemory: r.share(indexMemory)})
	})
	go wait()
	r.push(func() error {
		store, err := wait()
		if err != nil {
			return nil // startNode has told of it, or something else went wrong first
		}
		return store.Close()
	})
	return wait
}

// nodeOptions describe a storage node.
type nodeOptions struct {
	data        string        // the store's folder
	name, zone  string        // without a name the node goes by this machine's
	keepName    bool          // without a name it goes by the one that it had before
	weight      uint32        // 0: by the size of its disk
	healRate    string        // as on the command line
	scrubPeriod time.Duration // 0: the usual
}

func (r *roles) startNode(ctx context.Context, nc *nats.Conn, open func() (*storage.Store, error), opt nodeOptions) error {
	store, err := open()
	if err != nil {
		return err
	}
	if opt.name == "" && opt.keepName {
		opt.name = knownName(ctx, nc, store.NodeID())
	}
	if opt.name == "" {
		opt.name, _ = os.Hostname() // without one, the node goes by its id
	}
	healRate, err := r.a.healRate(&opt)
	if err != nil {
		return err
	}
	n, err := node.Start(ctx, nc, store, node.Options{
		Name:        opt.name,
		Zone:        opt.zone,
		Weight:      opt.weight,
		Version:     programVersion(),
		Budget:      r.share(nodeBudget),
		HealRate:    healRate,
		ScrubPeriod: opt.scrubPeriod,
		Log:         r.log,
		Status:      r.a.console.status,
	})
	if err != nil {
		return err
	}
	r.push(n.Stop)
	return nil
}

// knownName is the name of a node that has registered before, or "".
func knownName(ctx context.Context, nc *nats.Conn, id schemas.NodeID) string {
	var rep schemas.NodesReply
	if err := bus.Request(ctx, nc, schemas.SubjectNodes, &schemas.NodesRequest{}, &rep); err != nil {
		return "" // registering will say what is wrong
	}
	for _, n := range rep.Map.Nodes {
		if n.ID == id {
			return n.Name
		}
	}
	return ""
}

// logger is what the roles log to: stderr, from level on; only errors with
// --quiet.
func (a *app) logger(level slog.Level) *slog.Logger {
	opt := &slog.HandlerOptions{Level: level}
	if a.flags.quiet {
		opt.Level = slog.LevelError
	}
	if a.flags.json {
		return slog.New(slog.NewJSONHandler(a.console, opt))
	}
	return slog.New(slog.NewTextHandler(a.console, opt))
}

// storeDir is where the store of a data folder is: the folder itself, or
// "node" in it when "up" made it.
func storeDir(data string) string {
	inside := nodeDir(data)
	if !isStore(data) && isStore(inside) {
		return inside
	}
	return data
}

// isStore reports whether dir holds a store: its identity is in the file STORE.
func isStore(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "STORE"))
	return err == nil
}

// checkStore checks a store that no node serves. Problems go to found.
func checkStore(ctx context.Context, dir string, found func(string)) error {
	store, err := storage.Open(dir, storage.Options{})
	if err != nil {
		return err
	}
	_, err = store.Check(ctx, func(p storage.Problem) { found(p.String()) })
	return errors.Join(err, store.Close())
}

// rebuildIndex makes a store's index anew from its segments.
func rebuildIndex(dir string) error {
	store, err := storage.Open(dir, storage.Options{RebuildIndex: true})
	if err != nil {
		return err
	}
	return store.Close()
}
