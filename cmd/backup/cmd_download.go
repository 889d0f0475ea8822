package main

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"servidor-backup/client"
	"servidor-backup/schemas"
)

func newDownload(a *app) *cobra.Command {
	var opt client.RestoreOptions
	var dry bool
	cmd := &cobra.Command{
		Use:     "download " + a.t("download.args"),
		Aliases: []string{"baixar"},
		Short:   a.t("download.short"),
		Long:    a.t("download.long"),
		Args:    a.takes(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			opt.ID, opt.Inside = args[0], args[1:]
			if dry {
				return dryDownload(cmd.Context(), a, opt)
			}
			return runDownload(cmd.Context(), a, opt)
		},
	}
	f := cmd.Flags()
	f.StringVar(&opt.To, "to", ".", a.t("download.flag-to"))
	f.Lookup("to").DefValue = "" // the flag's text names the default, in the user's language
	f.BoolVar(&opt.Force, "force", false, a.t("download.flag-force"))
	f.BoolVar(&opt.Verify, "verify", false, a.t("download.flag-verify"))
	f.BoolVar(&opt.NumericOwners, "numeric-ids", false, a.t("download.flag-numeric-ids"))
	f.BoolVar(&opt.MapNames, "map-names", false, a.t("download.flag-map-names"))
	addDryRunFlag(a, f, &dry)
	addDownloadFlags(a, f)
	addWaitFlag(a, f)
	return cmd
}

// runDownload restores a version or parts of it.
func runDownload(ctx context.Context, a *app, opt client.RestoreOptions) error {
	if err := checkID(a.console, opt.ID); err != nil {
		return err
	}
	if opt.To == "-" && len(opt.Inside) > 1 {
		return a.usage("download.one-to-stdout")
	}
	s, err := a.openToRead(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	if opt.ID, err = s.resolve(ctx, opt.ID); err != nil {
		return err
	}
	if opt.To == "-" {
		v, err := s.Cat(ctx, opt.ID, argument(opt.Inside, 0), a.out)
		if err != nil {
			return err
		}
		return savedIncomplete(a.console, v)
	}
	return restore(ctx, a.console, s, opt)
}

// restore restores files into a folder and prints the result.
func restore(ctx context.Context, c *console, b backend, opt client.RestoreOptions) error {
	warnings := restoreWarnings{c: c}
	opt.Progress, opt.Warn = new(client.Progress), warnings.warn
	opt.Mapped = func(path, as string) { tellMapped(c, path, as) }
	start := time.Now()
	stop := c.showProgress(opt.Progress)
	res, err := b.Restore(ctx, opt)
	stop()
	warnings.end()
	if errors.Is(err, fs.ErrExist) {
		return c.withHint(err, c.t("download.exists-hint"))
	}
	if errors.Is(err, context.Canceled) {
		return c.withHint(err, c.t("download.interrupted-hint", "To", opt.To))
	}
	if err != nil {
		return err
	}
	if err := printRestored(c, res, opt.To, time.Since(start)); err != nil {
		return err
	}
	return missing(c, res)
}

// missing is the failure of a restore that did not restore everything, or nil. If there are several
// reasons, the others are printed first.
func missing(c *console, res *client.RestoreResult) error {
	var reasons []error
	if err := savedIncomplete(c, &res.Version); err != nil {
		reasons = append(reasons, err)
	}
	if res.Incomplete > 0 {
		reasons = append(reasons, c.partial("download.incomplete", res.Incomplete))
	}
	if res.Failed > 0 {
		reasons = append(reasons, c.partial("download.partial", res.Failed))
	}
	return lastOf(c, reasons)
}

// lastOf prints all but the last of several reasons why a command did not do everything, and returns
// the last, or nil if there are none.
func lastOf(c *console, reasons []error) error {
	if len(reasons) == 0 {
		return nil
	}
	last := len(reasons) - 1
	for _, err := range reasons[:last] {
		c.notice(c.told(err))
	}
	return reasons[last]
}

// namedOwners is how many paths without their owner are named. In a tree of another user, all of
// them are, and the program says so in one line.
const namedOwners = 3

// restoreWarnings prints the warnings of a restore.
type restoreWarnings struct {
	c      *console
	owners atomic.Int64 // paths without their owner
	names  atomic.Int64 // paths whose names are not possible in the target
}

func (w *restoreWarnings) warn(path string, err error) {
	if err == client.ErrOwner && w.owners.Add(1) > namedOwners && !w.c.json {
		return // counted
	}
	if errors.Is(err, client.ErrName) {
		w.names.Add(1)
	}
	w.c.warn(path, err)
}

// end prints how many paths were not named, and what to do about names that are not possible.
func (w *restoreWarnings) end() {
	if more := w.owners.Load() - namedOwners; more > 0 && !w.c.json {
		w.c.notice(w.c.n("download.owners", more))
	}
	if w.names.Load() > 0 {
		w.c.notice(w.c.t("download.map-names-hint"))
	}
}

// jsonMapped is the JSON of an entry that is restored under another name.
type jsonMapped struct {
	Path string `json:"path"`
	As   string `json:"as"`
}

// tellMapped tells that the entry at path is restored under another name.
func tellMapped(c *console, path, as string) {
	if c.json {
		c.object("mapped", jsonMapped{Path: path, As: as})
		return
	}
	c.info(c.t("download.mapped", "Path", quotePath(path), "As", quotePath(as)))
}

// savedIncomplete is the failure of a command that has restored from a version that was saved
// incomplete, or nil if v was saved whole. Nobody knows which of its files are affected.
func savedIncomplete(c *console, v *schemas.Version) error {
	if !v.Partial {
		return nil
	}
	return &failure{exit: exitPartial, code: "partial", text: c.t("download.saved-incomplete", "ID", v.ID)}
}

// jsonRestored is the JSON of a restore.
type jsonRestored struct {
	ID         string   `json:"id"`
	Name       string   `json:"name"`
	Version    uint64   `json:"version"`
	Files      int64    `json:"files"`
	Bytes      int64    `json:"bytes"`
	Same       int64    `json:"same"` // files that were there already
	Received   int64    `json:"received"`
	Failed     int64    `json:"failed"`
	Incomplete int64    `json:"incomplete"` // restored without something that belongs to them
	Mapped     int64    `json:"mapped"`     // restored under other names
	Partial    bool     `json:"partial"`    // the version was saved incomplete
	Seconds    float64  `json:"seconds"`
	To         string   `json:"to"`
	Top        []string `json:"top"`
}

func printRestored(c *console, r *client.RestoreResult, to string, d time.Duration) error {
	if c.json {
		return c.printJSON(jsonRestored{
			ID: r.Version.ID, Name: r.Version.Record, Version: r.Version.Number, Files: r.Files, Bytes: r.Bytes,
			Same: r.Same, Received: r.Received, Failed: r.Failed, Incomplete: r.Incomplete, Mapped: r.Mapped, Partial: r.Version.Partial, Seconds: d.Seconds(), To: to, Top: r.Top,
		})
	}
	if c.quiet {
		return nil
	}
	c.println(c.n("download.restored", r.Files, "ID", c.show(r.Version.ID), "Size", c.size(r.Bytes),
		"Received", c.size(r.Received), "Time", c.took(d), "Rate", c.rate(r.Bytes, d)))
	if r.Same > 0 {
		c.println(c.n("download.same", r.Same))
	}
	for _, path := range r.Top {
		c.println("  " + c.show(filepath.Join(to, path)))
	}
	return nil
}
