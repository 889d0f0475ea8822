package main

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"servidor-backup/client"
	"servidor-backup/schemas"
)

func newTransmit(a *app) *cobra.Command {
	var opt client.BackupOptions
	var leave leaveOutFlags
	var command, dry bool
	cmd := &cobra.Command{
		Use:     "transmit " + a.t("transmit.args"),
		Aliases: []string{"transmitir"},
		Short:   a.t("transmit.short"),
		Long:    a.t("transmit.long"),
		Args:    a.takes(1, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			opt.Paths = args
			if command {
				run := newCommandOutput(cmd.Context(), args)
				defer run.end()
				opt.Paths, opt.Stdin = []string{"-"}, run
			}
			if err := leave.apply(a, &opt); err != nil {
				return err
			}
			if dry {
				return dryTransmit(cmd.Context(), a, opt)
			}
			return runTransmit(cmd.Context(), a, opt)
		},
	}
	f := cmd.Flags()
	f.StringVar(&opt.Name, "name", "", a.t("transmit.flag-name"))
	leave.add(a, f, &opt)
	f.BoolVar(&command, "command", false, a.t("transmit.flag-command"))
	f.BoolVar(&opt.Reread, "reread", false, a.t("transmit.flag-reread"))
	f.BoolVar(&opt.Recheck, "recheck", false, a.t("transmit.flag-recheck"))
	f.BoolVar(&opt.Moved, "moved", false, a.t("transmit.flag-moved"))
	addDryRunFlag(a, f, &dry)
	addNewFlag(a, f)
	addUploadFlags(a, f)
	addWaitFlag(a, f)
	return cmd
}

// runTransmit saves paths and prints the result.
func runTransmit(ctx context.Context, a *app, opt client.BackupOptions) error {
	if err := checkTransmit(a.console, opt); err != nil {
		return err
	}
	s, err := a.openToSave(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	if opt.Compression, err = a.config.compression(s.settings.Compression); err != nil {
		return err
	}
	opt.Without = backupFolders(a.config, &s.settings)
	if opt.Stdin == nil {
		opt.Stdin = a.in
	}
	opt.Progress, opt.Warn = &client.Progress{Count: a.showsProgress()}, a.warn
	opt.Continuing = func(sent int64) { a.info(a.t("transmit.continuing", "Size", a.size(sent))) }

	start := time.Now()
	stop := a.showProgress(opt.Progress)
	res, err := s.Backup(ctx, opt)
	stop()
	keyFile := s.settings.KeyFile.Value
	if abs, err := filepath.Abs(keyFile); err == nil && keyFile != "" {
		keyFile = abs // it may be looked for from elsewhere
	}
	if s.KeyCreated() {
		// Even if the backup failed: the key exists, and the next backup will not
		// mention it.
		a.notice(a.t("transmit.key", "File", keyFile))
	}
	var command *commandError
	if errors.As(err, &command) {
		return &failure{exit: exitFailed, code: "command", text: a.t("transmit.command-failed", "Command", a.show(command.line), "Why", command.err.Error()), err: err}
	}
	var left *client.Unfinished
	if errors.As(err, &left) {
		return unfinished(a.console, left)
	}
	if schemas.CodeOf(err) == schemas.BadName {
		return a.withHint(err, a.t("transmit.name-hint"))
	}
	if schemas.CodeOf(err) == schemas.OtherSystem {
		return a.otherSystem(err, s)
	}
	if err != nil {
		return patternFailure(a, err)
	}
	a.config.rememberSystem(&s.settings, res.System)
	if err := printTransmitted(a.console, res, time.Since(start), s.KeyCreated(), keyFile); err != nil {
		return err
	}
	return incompleteBackup(a.console, res)
}

// patternFailure explains a pattern that can never match; it returns other errors as they are.
func patternFailure(a *app, err error) error {
	var pattern *client.PatternError
	if errors.As(err, &pattern) {
		return &failure{exit: exitUsage, code: "pattern", text: a.patternError(pattern), hint: a.t("hint.help"), err: err}
	}
	return err
}

// incompleteBackup is the failure of a backup that did not save all of it, or nil.
func incompleteBackup(c *console, res *client.BackupResult) error {
	var reasons []error
	if res.Incomplete > 0 {
		reasons = append(reasons, c.partial("transmit.incomplete", res.Incomplete))
	}
	if res.Unreadable > 0 {
		reasons = append(reasons, c.partial("transmit.partial", res.Unreadable))
	}
	return lastOf(c, reasons)
}

// unfinished is the failure of a backup whose data is kept. It says until when.
func unfinished(c *console, e *client.Unfinished) error {
	f := *c.explain(e.Err)
	sent, until := c.size(e.Sent), c.when(e.Until.UnixNano())
	if f.code == "interrupted" {
		f.text = c.t("transmit.interrupted", "Size", sent, "Date", until)
	} else {
		c.notice(c.t("transmit.kept", "Size", sent, "Date", until))
	}
	return &f
}

// backupFolders are the folders of this machine that hold the backups themselves. Saving
// them would make them grow while they are read, and double with every backup.
func backupFolders(c *config, s *settings) []string {
	if s.Data.Value != "" {
		return []string{s.Data.Value}
	}
	if d, ok := c.discover(); ok && slices.Contains(serverList(s.Server.Value), d.URL) {
		return []string{d.Data}
	}
	return nil
}

func checkTransmit(c *console, opt client.BackupOptions) error {
	stdin := slices.Contains(opt.Paths, "-")
	switch {
	case stdin && len(opt.Paths) > 1:
		return c.usage("transmit.stdin-alone")
	case stdin && opt.Name == "":
		return c.usage("transmit.stdin-name")
	case len(opt.Paths) > 1 && opt.Name == "":
		return c.usage("transmit.many-name")
	}
	if opt.Name == "" {
		return nil
	}
	if err := schemas.CheckRecord(opt.Name); err != nil {
		return c.usage("transmit.bad-name", "Detail", c.told(err))
	}
	return nil
}

// jsonTransmitted is the JSON of a backup.
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
	Incomplete int64   `json:"incomplete"` // saved without something that belongs to them
	LeftOut    leftOut `json:"left_out"`
	Durability string  `json:"durability"`
	Seconds    float64 `json:"seconds"`
	KeyCreated bool    `json:"key_created"`
	KeyFile    string  `json:"key_file"`
}

func printTransmitted(c *console, r *client.BackupResult, d time.Duration, keyCreated bool, keyFile string) error {
	v := &r.Version
	if c.json {
		return c.printJSON(jsonTransmitted{
			ID: v.ID, Name: v.Record, Version: v.Number, Created: stamp(v.Created),
			Files: r.Files, Bytes: r.Bytes, Unchanged: r.Unchanged, Read: r.Read, Sent: r.Sent,
			Chunks: r.Chunks, Unreadable: r.Unreadable, Incomplete: r.Incomplete, LeftOut: leftOut(r.LeftOut), Durability: v.Durability.String(),
			Seconds: d.Seconds(), KeyCreated: keyCreated, KeyFile: keyFile,
		})
	}
	if c.quiet {
		return nil
	}
	c.println(c.n("transmit.saved", r.Files, "ID", c.show(v.ID), "Size", c.size(r.Bytes)))
	if r.Read == 0 && r.Chunks == 0 {
		c.println(c.t("transmit.nothing-new", "Time", c.took(d)))
	} else {
		c.println(c.n("transmit.sent", r.Chunks, "Sent", c.size(r.Sent), "Read", c.size(r.Read),
			"Time", c.took(d), "Rate", c.rate(r.Read, d)))
	}
	printLeftOut(c, &r.LeftOut)
	// That there is one copy is told once: who keeps backups in one place knows it.
	if v.Durability.Nodes() > 1 || v.Number == 1 {
		c.println(c.durability(v.Durability))
	}
	return nil
}
