package main

import (
	"context"
	"errors"
	"log/slog"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"servidor-backup/bus"
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
			server, err := roleServer(a, insecure)
			if err != nil {
				return err
			}
			if err := checkReplicas(a, opt.Replicas); err != nil {
				return err
			}
			return runCoordinator(cmd.Context(), a, server, opt)
		},
	}
	addReplicasFlag(a, cmd.Flags(), &opt.Replicas)
	cmd.Flags().BoolVar(&insecure, "insecure", false, a.t("flag.insecure"))
	cmd.Flags().DurationVar(&opt.Grace, "grace", 0, a.t("flag.grace"))
	cmd.Flags().BoolVar(&opt.BeginAnew, "begin-anew", false, a.t("flag.begin-anew"))
	return cmd
}

func addReplicasFlag(a *app, f *pflag.FlagSet, replicas *int) {
	f.IntVar(replicas, "replicas", 0, a.t("flag.replicas"))
}

// mostReplicas is the limit of JetStream.
const mostReplicas = 5

func checkReplicas(a *app, n int) error {
	if n < 0 || n > mostReplicas {
		return a.usage("coordinator.bad-replicas", "Value", n, "Most", mostReplicas)
	}
	return nil
}

// roleServer is the NATS server of a role. A server on another host needs --insecure.
func roleServer(a *app, insecure bool) (string, error) {
	if a.config.fileErr != nil {
		return "", a.config.fileErr
	}
	server := a.config.server().Value
	if server == "" {
		return "", a.noServer(a.usage("error.role-server"))
	}
	hosts, err := serverHosts(a.texts, server)
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

// runCoordinator runs one coordinator until the context ends.
func runCoordinator(ctx context.Context, a *app, server string, opt coordinator.Options) error {
	r := newRoles(a.console, server, a.memory, newLogger(a.console, slog.LevelInfo))
	nc, err := r.connect(ctx, "coordinator")
	if err == nil {
		err = r.startCoordinator(ctx, nc, opt)
	}
	if err == nil {
		err = ready(ctx, r, "coordinator "+bus.Redact(server))
	}
	return errors.Join(interruptIsSuccess(ctx, err), r.stop())
}
