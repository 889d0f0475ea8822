package main

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"servidor-backup/client"
	"servidor-backup/schemas"
)

func newTransmit(a *app) *cobra.Command {
	var opt client.BackupOptions
	cmd := &cobra.Command{
		Use:     "transmit " + a.t("transmit.args"),
		Aliases: []string{"transmitir"},
		Short:   a.t("transmit.short"),
		Long:    a.t("transmit.long"),
		Args:    a.takes(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			opt.Paths = args
			return a.transmit(cmd.Context(), opt)
		},
	}
	f := cmd.Flags()
	f.StringVar(&opt.Name, "name", "", a.t("transmit.flag-name"))
	f.StringArrayVar(&opt.Exclude, "exclude", nil, a.t("transmit.flag-exclude"))
	f.BoolVar(&opt.Moved, "moved", false, a.t("transmit.flag-moved"))
	a.addUploadFlags(f)
	return cmd
}

// transmit saves paths and says what that came to.
func (a *app) transmit(ctx context.Context, opt client.BackupOptions) error {
	if err := a.checkTransmit(opt); err != nil {
		return err
	}
	b, s, err := a.dial(ctx, true)
	if err != nil {
		return err
	}
	defer b.Close()
	if opt.Compression, err = a.compression(s.Compression); err != nil {
		return err
	}
	opt.Without = a.ownFolders(&s)
	opt.Stdin, opt.Progress, opt.Warn = a.in, new(client.Progress), a.console.warn

	start := time.Now()
	stop := a.showProgress(opt.Progress)
	res, err := b.Backup(ctx, opt)
	stop()
	if b.KeyCreated() {
		// Also when the backup failed: the key is there, and the next
		// attempt would not mention it.
		a.console.notice(a.t("transmit.key", "File", s.KeyFile.Value))
	}
	if err != nil {
		return err
	}
	if err := a.printTransmitted(res, time.Since(start), b.KeyCreated(), s.KeyFile.Value); err != nil {
		return err
	}
	if res.Unreadable > 0 {
		return a.partial("transmit.partial", res.Unreadable)
	}
	return nil
}

// ownFolders are where the backups themselves are, when that is on this machine.
// They would grow while they are saved, and double with every backup.
func (a *app) ownFolders(s *settings) []string {
	if s.Data.Value != "" {
		return []string{s.Data.Value}
	}
	if d, ok := a.discover(); ok && slices.Contains(serverList(s.Server.Value), d.URL) {
		return []string{d.Data}
	}
	return nil
}

func (a *app) checkTransmit(opt client.BackupOptions) error {
	stdin := slices.Contains(opt.Paths, "-")
	switch {
	case stdin && len(opt.Paths) > 1:
		return a.usage("transmit.stdin-alone")
	case stdin && opt.Name == "":
		return a.usage("transmit.stdin-name")
	case len(opt.Paths) > 1 && opt.Name == "":
		return a.usage("transmit.many-name")
	}
	if opt.Name == "" {
		return nil
	}
	if err := schemas.CheckRecord(opt.Name); err != nil {
		return a.usage("transmit.bad-name", "Detail", err.Error())
	}
	return nil
}

// jsonTransmitted is what --json prints of a backup.
type jsonTransmitted struct {
	ID         string  `json:"id"`
	Name       string  `json:"name"`
	Version    uint64  `json:"version"`
	Created    string  `json:"created"`
	Files      int64   `json:"files"`
	Bytes      int64   `json:"bytes"`
	Unchanged  int64   `json:"unchanged"`
	Read       int64   `json:"read"`
	Sent       int64   `json:"sent"`
	Chunks     int64   `json:"chunks"`
	Unreadable int64   `json:"unreadable"`
	Durability string  `json:"durability"`
	Seconds    float64 `json:"seconds"`
	KeyCreated bool    `json:"key_created"`
	KeyFile    string  `json:"key_file"`
}

func (a *app) printTransmitted(r *client.BackupResult, d time.Duration, keyCreated bool, keyFile string) error {
	v := &r.Version
	if a.flags.json {
		return a.printJSON(jsonTransmitted{
			ID: v.ID, Name: v.Record, Version: v.Number, Created: stamp(v.Created),
			Files: r.Files, Bytes: r.Bytes, Unchanged: r.Unchanged, Read: r.Read, Sent: r.Sent,
			Chunks: r.Chunks, Unreadable: r.Unreadable, Durability: v.Durability.String(),
			Seconds: d.Seconds(), KeyCreated: keyCreated, KeyFile: keyFile,
		})
	}
	if a.flags.quiet {
		return nil
	}
	a.println(a.n("transmit.saved", r.Files, "ID", a.show(v.ID), "Size", a.size(r.Bytes)))
	if r.Read == 0 && r.Chunks == 0 {
		a.println(a.t("transmit.nothing-new", "Time", a.took(d)))
	} else {
		a.println(a.n("transmit.sent", r.Chunks, "Sent", a.size(r.Sent), "Read", a.size(r.Read),
			"Time", a.took(d), "Rate", a.rate(r.Read, d)))
	}
	a.println(a.durability(v.Durability))
	return nil
}

// durability says in words what a k+m means.
func (x *texts) durability(d schemas.Durability) string {
	switch {
	case d.M > 0:
		return x.n("durability.safe", int64(d.M), "Durability", d.String())
	case d.K <= 1:
		return x.t("durability.one-copy", "Durability", d.String())
	}
	return x.t("durability.none", "Durability", d.String())
}
