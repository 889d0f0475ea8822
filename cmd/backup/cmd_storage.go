package main

import (
	"context"
	"errors"
	"log/slog"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"servidor-backup/bus"
)

// storageOptions are the flags of "storage".
type storageOptions struct {
	nodeOptions
	insecure, check, rebuild bool
}

func newStorage(a *app) *cobra.Command {
	var opt storageOptions
	var healRate string
	cmd := &cobra.Command{
		Use:   "storage --data " + a.t("storage.args"),
		Short: a.t("storage.short"),
		Long:  a.t("storage.long"),
		Args:  a.takes(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if opt.data, err = a.config.dataFolder(opt.data); err != nil {
				return err
			}
			switch {
			case opt.data == "":
				return a.usage("error.no-data")
			case opt.rebuild || opt.check:
				return runStoreCheck(cmd.Context(), a, storeDir(opt.data), opt)
			}
			if err := parseMaintenanceFlags(a, &opt.nodeOptions, healRate); err != nil {
				return err
			}
			server, err := roleServer(a, opt.insecure)
			if err != nil {
				return err
			}
			return runStorage(cmd.Context(), a, server, opt.nodeOptions)
		},
	}
	f := cmd.Flags()
	f.StringVar(&opt.data, "data", "", a.t("storage.flag-data"))
	f.StringVar(&opt.name, "name", "", a.t("flag.node-name"))
	f.StringVar(&opt.zone, "zone", "", a.t("storage.flag-zone"))
	f.Uint32Var(&opt.weight, "weight", 0, a.t("storage.flag-weight"))
	addMaintenanceFlags(a, f, &opt.nodeOptions, &healRate)
	addNewFlag(a, f)
	f.BoolVar(&opt.insecure, "insecure", false, a.t("flag.insecure"))
	f.BoolVar(&opt.check, "check", false, a.t("storage.flag-check"))
	f.BoolVar(&opt.rebuild, "rebuild-index", false, a.t("storage.flag-rebuild"))
	return cmd
}

// addNewFlag adds the flag of commands that can begin backups in a folder.
func addNewFlag(a *app, f *pflag.FlagSet) {
	f.BoolVar(&a.flags.begin, "new", false, a.t("flag.new"))
}

// addMaintenanceFlags adds the flags that say how a node heals and scrubs.
func addMaintenanceFlags(a *app, f *pflag.FlagSet, opt *nodeOptions, healRate *string) {
	f.StringVar(healRate, "heal-rate", "", a.t("flag.heal-rate"))
	f.DurationVar(&opt.scrubPeriod, "scrub-period", 0, a.t("flag.scrub-period"))
}

// parseMaintenanceFlags checks those flags and sets the heal rate of opt.
func parseMaintenanceFlags(a *app, opt *nodeOptions, healRate string) (err error) {
	if opt.scrubPeriod < 0 {
		return a.usage("storage.bad-scrub-period", "Value", opt.scrubPeriod.String())
	}
	opt.healRate, err = a.config.rate(setting{healRate, "flag"}, "heal-rate", "", "")
	return err
}

// runStorage runs one storage node until the context ends.
func runStorage(ctx context.Context, a *app, server string, opt nodeOptions) error {
	exists, err := isStore(opt.data)
	if err == nil && !exists {
		err = a.mayBegin(opt.data, "flag")
	}
	if err == nil {
		err = markNode(opt.data, exists)
	}
	if err != nil {
		return err
	}
	r := newRoles(a.console, server, a.memory, newLogger(a.console, slog.LevelInfo))
	store := r.openStore(opt.data)
	nc, err := r.connect(ctx, "storage")
	if err == nil {
		err = r.startNode(ctx, nc, store, opt)
	}
	if err == nil {
		a.begun(opt.data, !exists, false)
		err = ready(ctx, r, "storage "+bus.Redact(server))
	}
	return errors.Join(interruptIsSuccess(ctx, err), r.stop())
}

// jsonStore is the JSON of a store after --check or --rebuild-index.
type jsonStore struct {
	Folder   string `json:"folder"`
	Rebuilt  bool   `json:"rebuilt"`
	Checked  bool   `json:"checked"`
	Problems int64  `json:"problems"`
}

// runStoreCheck rebuilds the index of a store that no node serves, checks the store, or does
// both in this order.
func runStoreCheck(ctx context.Context, a *app, dir string, opt storageOptions) error {
	if exists, err := isStore(dir); err != nil {
		return err
	} else if !exists {
		return a.fail("no-store", nil, "storage.no-store", "Folder", dir)
	}
	done := jsonStore{Folder: dir, Rebuilt: opt.rebuild, Checked: opt.check}
	if opt.rebuild {
		if err := rebuildIndex(a.console, dir); err != nil {
			return err
		}
		a.info(a.t("storage.rebuilt", "Folder", dir))
	}
	if opt.check {
		err := checkStore(ctx, dir, func(text string) {
			done.Problems++
			printProblem(a.console, text)
		})
		if err != nil {
			return err
		}
	}
	return reportStore(a.console, done)
}

// printProblem prints a problem that a check found.
func printProblem(c *console, text string) {
	if c.json {
		_ = c.printJSON(map[string]string{"problem": text}) // the final flush reports the error
		return
	}
	c.println(c.show(text))
}

// reportStore prints the result; a store with problems is a failure.
func reportStore(c *console, done jsonStore) error {
	if c.json {
		if err := c.printJSON(done); err != nil {
			return err
		}
	}
	switch {
	case done.Problems > 0:
		return &failure{exit: exitFailed, code: "problems", text: c.n("storage.problems", done.Problems)}
	case done.Checked:
		c.info(c.t("storage.clean", "Folder", done.Folder))
	}
	return nil
}
