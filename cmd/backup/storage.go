package main

import (
	"context"
	"errors"
	"log/slog"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// storageOptions are the flags of "storage".
type storageOptions struct {
	nodeOptions
	insecure, check, rebuild bool
}

func newStorage(a *app) *cobra.Command {
	var opt storageOptions
	cmd := &cobra.Command{
		Use:   "storage --data " + a.t("storage.args"),
		Short: a.t("storage.short"),
		Long:  a.t("storage.long"),
		Args:  a.takes(0, 0),
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.storage(cmd.Context(), opt) },
	}
	f := cmd.Flags()
	f.StringVar(&opt.data, "data", "", a.t("storage.flag-data"))
	f.StringVar(&opt.name, "name", "", a.t("flag.node-name"))
	f.StringVar(&opt.zone, "zone", "", a.t("storage.flag-zone"))
	f.Uint32Var(&opt.weight, "weight", 0, a.t("storage.flag-weight"))
	a.addKeepingFlags(f, &opt.nodeOptions)
	f.BoolVar(&opt.insecure, "insecure", false, a.t("flag.insecure"))
	f.BoolVar(&opt.check, "check", false, a.t("storage.flag-check"))
	f.BoolVar(&opt.rebuild, "rebuild-index", false, a.t("storage.flag-rebuild"))
	return cmd
}

// addKeepingFlags adds what can be said of how a node looks after what it holds.
func (a *app) addKeepingFlags(f *pflag.FlagSet, opt *nodeOptions) {
	f.StringVar(&opt.healRate, "heal-rate", "", a.t("flag.heal-rate"))
	f.DurationVar(&opt.scrubPeriod, "scrub-period", 0, a.t("flag.scrub-period"))
}

// checkKeepingFlags refuses what makes no sense.
func (a *app) checkKeepingFlags(opt *nodeOptions) error {
	if opt.scrubPeriod < 0 {
		return a.usage("storage.bad-scrub-period", "Value", opt.scrubPeriod.String())
	}
	_, err := a.healRate(opt)
	return err
}

// healRate is in bytes per second, 0 for no limit.
func (a *app) healRate(opt *nodeOptions) (int64, error) {
	return a.rateLimit(setting{opt.healRate, "flag"}, "heal-rate", "", "")
}

// storage serves a store, or looks after one that nobody serves.
func (a *app) storage(ctx context.Context, opt storageOptions) error {
	switch {
	case opt.data == "":
		return a.usage("error.no-data")
	case opt.rebuild || opt.check:
		return a.tendStore(ctx, storeDir(opt.data), opt)
	}
	if err := a.checkKeepingFlags(&opt.nodeOptions); err != nil {
		return err
	}
	server, err := a.roleServer(opt.insecure)
	if err != nil {
		return err
	}
	return a.serveStore(ctx, server, opt.nodeOptions)
}

// serveStore runs one storage node until the context ends.
func (a *app) serveStore(ctx context.Context, server string, opt nodeOptions) error {
	r := newRoles(a, server, slog.LevelInfo)
	store := r.openStore(opt.data)
	nc, err := r.connect(ctx, "storage")
	if err == nil {
		err = r.startNode(ctx, nc, store, opt)
	}
	if err == nil {
		err = a.ready(ctx, "storage "+server)
	}
	return errors.Join(ended(ctx, err), r.stop())
}

// jsonStore is what --json prints of a store that was looked after.
type jsonStore struct {
	Folder   string `json:"folder"`
	Rebuilt  bool   `json:"rebuilt"`
	Checked  bool   `json:"checked"`
	Problems int64  `json:"problems"`
}

// tendStore makes the index anew, checks the store whole, or both in this
// order.
func (a *app) tendStore(ctx context.Context, dir string, opt storageOptions) error {
	if !isStore(dir) {
		return a.fail("no-store", nil, "storage.no-store", "Folder", dir)
	}
	done := jsonStore{Folder: dir, Rebuilt: opt.rebuild, Checked: opt.check}
	if opt.rebuild {
		if err := rebuildIndex(dir); err != nil {
			return err
		}
		a.console.info(a.t("storage.rebuilt", "Folder", dir))
	}
	if opt.check {
		err := checkStore(ctx, dir, func(text string) {
			done.Problems++
			a.printProblem(text)
		})
		if err != nil {
			return err
		}
	}
	return a.storeTended(done)
}

// printProblem writes one finding of a check to stdout.
func (a *app) printProblem(text string) {
	if a.flags.json {
		// A failed write sticks to stdout and is reported at the end.
		_ = a.printJSON(map[string]string{"problem": text})
		return
	}
	a.println(a.show(text))
}

// storeTended says how a store is; one with problems is a failure.
func (a *app) storeTended(done jsonStore) error {
	if a.flags.json {
		if err := a.printJSON(done); err != nil {
			return err
		}
	}
	switch {
	case done.Problems > 0:
		return &failure{exit: exitFailed, code: "problems", text: a.n("storage.problems", done.Problems)}
	case done.Checked:
		a.console.info(a.t("storage.clean", "Folder", done.Folder))
	}
	return nil
}
