package main

import (
	"context"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"servidor-backup/client"
	"servidor-backup/schemas"
)

func newDownload(a *app) *cobra.Command {
	var opt client.RestoreOptions
	cmd := &cobra.Command{
		Use:     "download " + a.t("download.args"),
		Aliases: []string{"baixar"},
		Short:   a.t("download.short"),
		Long:    a.t("download.long"),
		Args:    a.takes(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			opt.ID, opt.Inside = args[0], args[1:]
			return a.download(cmd.Context(), opt)
		},
	}
	f := cmd.Flags()
	f.StringVar(&opt.To, "to", ".", a.t("download.flag-to"))
	f.Lookup("to").DefValue = "" // the text says it, in the person's language
	f.BoolVar(&opt.Force, "force", false, a.t("download.flag-force"))
	a.addDownloadFlags(f)
	return cmd
}

// download brings a version, or parts of it, back.
func (a *app) download(ctx context.Context, opt client.RestoreOptions) error {
	if _, _, err := schemas.ParseVersionID(opt.ID); err != nil {
		return a.usage("error.bad-id", "Detail", err.Error())
	}
	if opt.To == "-" && len(opt.Inside) > 1 {
		return a.usage("download.one-to-stdout")
	}
	b, _, err := a.dial(ctx, false)
	if err != nil {
		return err
	}
	defer b.Close()
	if opt.To == "-" {
		return b.Cat(ctx, opt.ID, argument(opt.Inside, 0), a.out)
	}
	return a.restore(ctx, b, opt)
}

// restore brings files back into a folder and says what that came to.
func (a *app) restore(ctx context.Context, b backend, opt client.RestoreOptions) error {
	opt.Progress, opt.Warn = new(client.Progress), a.console.warn
	start := time.Now()
	stop := a.showProgress(opt.Progress)
	res, err := b.Restore(ctx, opt)
	stop()
	if err != nil {
		return err
	}
	if err := a.printRestored(res, opt.To, time.Since(start)); err != nil {
		return err
	}
	if res.Failed > 0 {
		return a.partial("download.partial", res.Failed)
	}
	return nil
}

// jsonRestored is what --json prints of a restore.
type jsonRestored struct {
	ID       string   `json:"id"`
	Name     string   `json:"name"`
	Version  uint64   `json:"version"`
	Files    int64    `json:"files"`
	Bytes    int64    `json:"bytes"`
	Received int64    `json:"received"`
	Failed   int64    `json:"failed"`
	Seconds  float64  `json:"seconds"`
	To       string   `json:"to"`
	Top      []string `json:"top"`
}

func (a *app) printRestored(r *client.RestoreResult, to string, d time.Duration) error {
	if a.flags.json {
		return a.printJSON(jsonRestored{
			ID: r.Version.ID, Name: r.Version.Record, Version: r.Version.Number, Files: r.Files, Bytes: r.Bytes,
			Received: r.Received, Failed: r.Failed, Seconds: d.Seconds(), To: to, Top: r.Top,
		})
	}
	if a.flags.quiet {
		return nil
	}
	a.println(a.n("download.restored", r.Files, "ID", a.show(r.Version.ID), "Size", a.size(r.Bytes),
		"Received", a.size(r.Received), "Time", a.took(d), "Rate", a.rate(r.Bytes, d)))
	for _, path := range r.Top {
		a.println("  " + a.show(filepath.Join(to, path)))
	}
	return nil
}
