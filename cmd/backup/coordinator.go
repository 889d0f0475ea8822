package main

import (
	"context"
	"errors"
	"log/slog"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"servidor-backup/coordinator"
)

func newCoordinator(a *app) *cobra.Command {
	var insecure bool
	var opt coordinator.Options
	cmd := &cobra.Command{
		Use:   "coordinator --server URL",
		Short: a.t("coordinator.short"),
		Long:  a.t("coordinator.long"),
		Args:  a.takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.flags.data != "" {
				return a.usage("coordinator.no-data")
			}
			server, err := a.roleServer(insecure)
			if err != nil {
				return err
			}
			if err := a.checkReplicas(opt.Replicas); err != nil {
				return err
			}
			return a.coordinator(cmd.Context(), server, opt)
		},
	}
	a.addReplicasFlag(cmd.Flags(), &opt.Replicas)
	cmd.Flags().BoolVar(&insecure, "insecure", false, a.t("flag.insecure"))
	cmd.Flags().DurationVar(&opt.Grace, "grace", 0, a.t("flag.grace"))
	return cmd
}

func (a *app) addReplicasFlag(f *pflag.FlagSet, replicas *int) {
	f.IntVar(replicas, "replicas", 0, a.t("flag.replicas"))
}

// mostReplicas is what NATS takes.
const mostReplicas = 5

func (a *app) checkReplicas(n int) error {
	if n < 0 || n > mostReplicas {
		return a.usage("coordinator.bad-replicas", "Value", n, "Most", mostReplicas)
	}
	return nil
}

// roleServer is the NATS server for a role. One beyond this host is refused
// unless the person insists.
func (a *app) roleServer(insecure bool) (string, error) {
	if a.fileErr != nil {
		return "", a.fileErr
	}
	server := a.serverSetting().Value
	if server == "" {
		return "", a.usage("error.role-server")
	}
	hosts, err := a.serverHosts(server)
	if err != nil {
		return "", err
	}
	for _, host := range hosts {
		if !insecure && !loopback(host) {
			return "", a.failHint("insecure", nil, a.t("hint.insecure"), "error.insecure-server", "Host", host)
		}
	}
	return server, nil
}

// coordinator runs one coordinator until the context ends.
func (a *app) coordinator(ctx context.Context, server string, opt coordinator.Options) error {
	r := newRoles(a, server, slog.LevelInfo)
	nc, err := r.connect(ctx, "coordinator")
	if err == nil {
		err = r.startCoordinator(ctx, nc, opt)
	}
	if err == nil {
		err = a.ready(ctx, "coordinator "+server)
	}
	return errors.Join(ended(ctx, err), r.stop())
}
