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

	"servidor-backup/bus/embedded"
	"servidor-backup/coordinator"
)

// Where "up" listens unless told otherwise: the port that NATS has, on loopback.
const (
	defaultListen = "127.0.0.1:4222"
	defaultServer = "nats://" + defaultListen
)

// defaultCluster is the name of a cluster unless told otherwise.
const defaultCluster = "backup"

// upOptions are the flags of "up".
type upOptions struct {
	nodeOptions        // of the one node; data is the folder with everything
	listen      string // "": only this process reaches the system
	cluster     embedded.Cluster
	replicas    int
	insecure    bool
	grace       time.Duration // for nodes that are down; 0: the usual
}

func newUp(a *app) *cobra.Command {
	var opt upOptions
	cmd := &cobra.Command{
		Use:   "up --data " + a.t("up.args"),
		Short: a.t("up.short"),
		Long:  a.t("up.long"),
		Args:  a.takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			opt.data = a.dataSetting(opt.data).Value
			if err := a.checkUp(opt); err != nil {
				return err
			}
			return a.up(cmd.Context(), opt)
		},
	}
	f := cmd.Flags()
	f.StringVar(&opt.data, "data", "", a.t("up.flag-data"))
	f.StringVar(&opt.listen, "listen", defaultListen, a.t("up.flag-listen"))
	f.Lookup("listen").DefValue = "" // the text says it, in the person's language
	f.StringVar(&opt.cluster.Listen, "cluster-listen", "", a.t("up.flag-cluster-listen"))
	f.StringSliceVar(&opt.cluster.Routes, "routes", nil, a.t("up.flag-routes"))
	f.StringVar(&opt.cluster.Name, "cluster-name", "", a.t("up.flag-cluster-name"))
	a.addReplicasFlag(f, &opt.replicas)
	f.StringVar(&opt.name, "name", "", a.t("flag.node-name"))
	f.BoolVar(&opt.insecure, "insecure", false, a.t("flag.insecure"))
	a.addKeepingFlags(f, &opt.nodeOptions)
	f.DurationVar(&opt.grace, "grace", 0, a.t("flag.grace"))
	return cmd
}

func (a *app) checkUp(opt upOptions) error {
	if opt.data == "" {
		return a.usage("error.no-data")
	}
	if err := a.checkKeepingFlags(&opt.nodeOptions); err != nil {
		return err
	}
	c := &opt.cluster
	switch clustered := c.Listen != ""; {
	case clustered != (len(c.Routes) > 0), !clustered && (c.Name != "" || opt.replicas > 0):
		return a.usage("up.half-cluster")
	case clustered:
		if err := a.checkListen("--cluster-listen", c.Listen, opt.insecure); err != nil {
			return err
		}
	}
	for _, route := range c.Routes {
		if err := embedded.CheckRoute(route); err != nil {
			return a.usage("up.bad-route", "Route", route)
		}
	}
	if err := a.checkReplicas(opt.replicas); err != nil {
		return err
	}
	return a.checkListen("--listen", opt.listen, opt.insecure)
}

// checkListen checks an address to listen on. One that others reach is refused
// unless the person insists.
func (a *app) checkListen(flag, listen string, insecure bool) error {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return a.usage("up.bad-listen", "Flag", flag, "Listen", listen)
	}
	if !insecure && !loopback(host) {
		return a.failHint("insecure", nil, a.t("hint.insecure"), "up.insecure", "Listen", listen)
	}
	return nil
}

// loopback reports whether only this host reaches host. An empty host stands
// for all addresses.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// up runs a whole system until the context ends.
func (a *app) up(ctx context.Context, opt upOptions) error {
	data, err := filepath.Abs(opt.data)
	if err != nil {
		return err
	}
	r := newRoles(a, "", slog.LevelInfo)
	err = startAll(ctx, r, data, opt)
	if err == nil {
		err = a.serve(ctx, r, discovery{URL: r.url, PID: os.Getpid(), Data: data})
	}
	return errors.Join(ended(ctx, err), r.stop())
}

// natsDir and nodeDir are where "up" keeps the parts of its data.
func natsDir(data string) string { return filepath.Join(data, "nats") }
func nodeDir(data string) string { return filepath.Join(data, "node") }

// startAll starts server, coordinator and node. The connections come before
// both, so that they end after both.
func startAll(ctx context.Context, r *roles, data string, opt upOptions) error {
	store := r.openStore(nodeDir(data))
	if err := r.startServer(ctx, natsDir(data), opt); err != nil {
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
	if err := r.startCoordinator(ctx, forCoordinator, coordinator.Options{Grace: opt.grace, Replicas: opt.replicas}); err != nil {
		return err
	}
	return r.startNode(ctx, forNode, store, opt.nodeOptions)
}

// serve tells clients of this host the address while the system runs.
func (a *app) serve(ctx context.Context, r *roles, d discovery) (err error) {
	withdraw, err := a.announce(d)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, withdraw()) }()
	return a.ready(ctx, r.url)
}

// ready prints the line by which programs see that a role serves, and waits
// until it is to end. The line is the same in every language.
func (a *app) ready(ctx context.Context, what string) error {
	if a.flags.json {
		if err := a.printJSON(map[string]string{"ready": what}); err != nil {
			return err
		}
	} else {
		a.println("ready " + what)
	}
	if err := a.out.Flush(); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// ended turns the end that a signal asked for into success.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
