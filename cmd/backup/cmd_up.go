package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"servidor-backup/bus"
	"servidor-backup/bus/embedded"
	"servidor-backup/coordinator"
)

// The default address of "up": the usual port of NATS, on loopback.
const (
	defaultListen = "127.0.0.1:4222"
	defaultServer = "nats://" + defaultListen
)

// defaultCluster is the default name of a cluster.
const defaultCluster = "backup"

// upOptions are the flags of "up".
type upOptions struct {
	nodeOptions        // of the one node; data is the folder of the whole system
	source      string // of the setting data
	listen      string // "": only this process can connect
	cluster     embedded.Cluster
	replicas    int
	insecure    bool
	grace       time.Duration // for nodes that are down; 0: the default
	beginAnew   bool          // although nodes have copies of a catalogue
}

func newUp(a *app) *cobra.Command {
	var opt upOptions
	var healRate string
	cmd := &cobra.Command{
		Use:   "up --data " + a.t("up.args"),
		Short: a.t("up.short"),
		Long:  a.t("up.long"),
		Args:  a.takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			data := a.config.data(opt.data)
			var err error
			if opt.data, err = a.config.dataFolder(data.Value); err != nil {
				return err
			}
			opt.source = data.Source
			if err := checkUp(a, &opt, healRate); err != nil {
				return err
			}
			return runUp(cmd.Context(), a, opt)
		},
	}
	f := cmd.Flags()
	f.StringVar(&opt.data, "data", "", a.t("up.flag-data"))
	f.StringVar(&opt.listen, "listen", defaultListen, a.t("up.flag-listen"))
	f.Lookup("listen").DefValue = "" // the flag's text names the default, in the user's language
	f.StringVar(&opt.cluster.Listen, "cluster-listen", "", a.t("up.flag-cluster-listen"))
	f.StringArrayVar(&opt.cluster.Routes, "routes", nil, a.t("up.flag-routes"))
	f.StringVar(&opt.cluster.Name, "cluster-name", "", a.t("up.flag-cluster-name"))
	addReplicasFlag(a, f, &opt.replicas)
	f.StringVar(&opt.name, "name", "", a.t("flag.node-name"))
	addNewFlag(a, f)
	f.BoolVar(&opt.insecure, "insecure", false, a.t("flag.insecure"))
	addMaintenanceFlags(a, f, &opt.nodeOptions, &healRate)
	f.DurationVar(&opt.grace, "grace", 0, a.t("flag.grace"))
	f.BoolVar(&opt.beginAnew, "begin-anew", false, a.t("flag.begin-anew"))
	return cmd
}

// checkUp checks the flags of "up" and sets the heal rate of opt.
func checkUp(a *app, opt *upOptions, healRate string) error {
	if opt.data == "" {
		return a.usage("error.no-data")
	}
	if err := parseMaintenanceFlags(a, &opt.nodeOptions, healRate); err != nil {
		return err
	}
	c := &opt.cluster
	if c.Routes != nil {
		c.Routes = serverList(strings.Join(c.Routes, ","))
	}
	switch clustered := c.Listen != ""; {
	case clustered != (len(c.Routes) > 0), !clustered && (c.Name != "" || opt.replicas > 0):
		return a.usage("up.half-cluster")
	case clustered:
		if err := checkListen(a, "--cluster-listen", c.Listen, opt.insecure); err != nil {
			return err
		}
	}
	for _, route := range c.Routes {
		if err := embedded.CheckRoute(route); err != nil {
			return a.usage("up.bad-route", "Route", bus.Redact(route))
		}
	}
	if err := checkReplicas(a, opt.replicas); err != nil {
		return err
	}
	return checkListen(a, "--listen", opt.listen, opt.insecure)
}

// checkListen checks an address to listen on. An address that other hosts can reach needs
// --insecure.
func checkListen(a *app, flag, listen string, insecure bool) error {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return a.usage("up.bad-listen", "Flag", flag, "Listen", listen)
	}
	if !insecure && !loopback(host) {
		return a.failHint("insecure", nil, a.t("hint.insecure"), "up.insecure", "Listen", listen)
	}
	return nil
}

// loopback reports whether only this host can reach host. An empty host means all addresses.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// runUp runs a whole system until the context ends.
func runUp(ctx context.Context, a *app, opt upOptions) error {
	exists, err := isStore(nodeDir(opt.data))
	if err == nil && !exists {
		err = a.mayBegin(opt.data, opt.source)
	}
	if err != nil {
		return err
	}
	r := newRoles(a.console, "", a.memory, newLogger(a.console, slog.LevelInfo))
	r.failed = a.abandon
	err = startAll(ctx, r, opt.data, opt)
	if err == nil {
		a.begun(opt.data, !exists, false)
		err = serveUp(ctx, a, r, discovery{URL: r.url, PID: os.Getpid(), Data: opt.data})
	}
	return errors.Join(interruptIsSuccess(ctx, err), r.stop())
}

// natsDir and nodeDir are the folders of the server and the node in the data folder of "up".
func natsDir(data string) string { return filepath.Join(data, "nats") }
func nodeDir(data string) string { return filepath.Join(data, "node") }

// startAll starts server, coordinator and node. It makes both connections before it starts
// coordinator and node, so that both connections end after coordinator and node.
func startAll(ctx context.Context, r *roles, data string, opt upOptions) error {
	exists, err := isStore(nodeDir(data))
	if err == nil {
		err = markSystem(data, exists)
	}
	if err != nil {
		return err
	}
	return startOn(ctx, r, natsDir(data), nodeDir(data), opt)
}

// startOn is startAll with the folders of server and node.
func startOn(ctx context.Context, r *roles, nats, node string, opt upOptions) error {
	store := r.openStore(node)
	if err := r.startServer(ctx, nats, opt); err != nil {
		return err
	}
	forCoordinator, err := r.connect(ctx, "coordinator")
	if err != nil {
		return err
	}
	forNode, err := r.connect(ctx, "storage")
	if err != nil {
		return err
	}
	if err := r.startCoordinator(ctx, forCoordinator, coordinator.Options{Grace: opt.grace, Replicas: opt.replicas, BeginAnew: opt.beginAnew}); err != nil {
		return err
	}
	if err := r.server.Remember(); err != nil { // the coordinator has made its buckets
		return err
	}
	if err := r.startNode(ctx, forNode, store, opt.nodeOptions); err != nil {
		return err
	}
	r.onStop(r.backUp)
	return nil
}

// serveUp publishes the system's address for clients of this host until the context ends.
func serveUp(ctx context.Context, a *app, r *roles, d discovery) (err error) {
	withdraw, err := a.config.announce(d)
	if err != nil {
		a.info(a.t("up.not-announced", "URL", d.URL, "Detail", err.Error()))
	} else {
		defer func() { err = errors.Join(err, withdraw()) }()
	}
	return ready(ctx, r, d.URL)
}

// ready prints the line by which programs see that a role serves, and waits until the
// context ends, or the node cannot go on. The line is the same in every language.
func ready(ctx context.Context, r *roles, what string) error {
	c := r.console
	if c.json {
		if err := c.printJSON(map[string]string{"ready": what}); err != nil {
			return err
		}
	} else {
		c.println("ready " + what)
	}
	if err := c.out.Flush(); err != nil {
		return err
	}
	var failed <-chan struct{}
	if r.node != nil {
		failed = r.node.Failed()
	}
	select {
	case <-ctx.Done():
		return nil
	case <-failed:
		return r.node.Err()
	}
}

// interruptIsSuccess turns the error of a start that a signal interrupted into success.
func interruptIsSuccess(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, embedded.ErrFailed) {
		return cause
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
