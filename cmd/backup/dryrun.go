package main

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/spf13/pflag"

	"servidor-backup/client"
)

func addDryRunFlag(a *app, f *pflag.FlagSet, dry *bool) {
	f.BoolVarP(dry, "dry-run", "n", false, a.t("dry-run.flag"))
}

// jsonDifference is the JSON of a path that a command would change.
type jsonDifference struct {
	Path       string `json:"path"`
	Folder     bool   `json:"folder"`
	Difference string `json:"difference"` // new, changed or gone
}

// printDifference prints a path that a command would change: + is new, ~ changed, - gone.
func printDifference(c *console, path string, isDir bool, d client.Difference) {
	name := map[client.Difference][2]string{client.New: {"new", "+ "}, client.Changed: {"changed", "~ "}, client.Gone: {"gone", "- "}}[d]
	if c.json {
		_ = c.printJSON(jsonDifference{Path: path, Folder: isDir, Difference: name[0]}) // Flush tells
		return
	}
	if c.quiet {
		return
	}
	if isDir {
		path += "/"
	}
	c.row(name[1] + quotePath(path))
}

// dryTransmit prints what transmit would do. It makes nothing: no key, no session and, with --data,
// no folder.
func dryTransmit(ctx context.Context, a *app, opt client.BackupOptions) error {
	if opt.Stdin != nil || opt.Paths[0] == "-" {
		return a.usage("dry-run.stdin")
	}
	if err := checkTransmit(a.console, opt); err != nil {
		return err
	}
	opt.Warn = a.warn
	visit := func(path string, isDir bool, d client.Difference) { printDifference(a.console, path, isDir, d) }
	first, err := holdsNothing(a)
	if err != nil {
		return err
	}
	var p *client.BackupPreview
	if first {
		p, err = (*client.Client)(nil).PreviewBackup(ctx, opt, visit)
	} else {
		var s *session
		if s, err = a.open(ctx); err != nil {
			return err
		}
		defer s.Close()
		opt.Without = backupFolders(a.config, &s.settings)
		p, err = s.PreviewBackup(ctx, opt, visit)
	}
	if err != nil {
		return patternFailure(a, err)
	}
	if err := printBackupPreview(a.console, p); err != nil {
		return err
	}
	if p.Unreadable > 0 {
		return a.partial("dry-run.unreadable", p.Unreadable)
	}
	return nil
}

// holdsNothing reports whether the settings name a folder in which a backup would begin a new system.
func holdsNothing(a *app) (bool, error) {
	s, err := a.config.settings()
	if err != nil || s.Server.Value != "" || s.Data.Value == "" {
		return false, err
	}
	dir, err := filepath.Abs(s.Data.Value)
	if err != nil {
		return false, err
	}
	for _, store := range []string{dir, nodeDir(dir)} {
		if is, err := isStore(store); is || err != nil {
			return false, err
		}
	}
	return a.mayBegin(dir, s.Data.Source) == nil, nil
}

// jsonBackupPreview is the JSON of what a backup would do.
type jsonBackupPreview struct {
	DryRun     bool    `json:"dry_run"`
	Name       string  `json:"name"`
	Parent     string  `json:"parent"` // "" for a first version
	Files      int64   `json:"files"`
	Bytes      int64   `json:"bytes"`
	New        int64   `json:"new"`
	Changed    int64   `json:"changed"`
	Gone       int64   `json:"gone"`
	Read       int64   `json:"read"`
	Unreadable int64   `json:"unreadable"`
	LeftOut    leftOut `json:"left_out"`
}

func printBackupPreview(c *console, p *client.BackupPreview) error {
	if c.json {
		return c.printJSON(jsonBackupPreview{
			DryRun: true, Name: p.Record, Parent: p.Parent, Files: p.Files, Bytes: p.Bytes, New: p.New,
			Changed: p.Changed, Gone: p.Gone, Read: p.Read, Unreadable: p.Unreadable, LeftOut: leftOut(p.LeftOut),
		})
	}
	if c.quiet {
		return nil
	}
	c.println(c.n("dry-run.transmit", p.Files, "Name", c.show(p.Record), "Size", c.size(p.Bytes), "New", p.New,
		"Changed", p.Changed, "Gone", p.Gone, "Read", c.size(p.Read)))
	printLeftOut(c, &p.LeftOut)
	c.println(c.t("dry-run.nothing-saved"))
	return nil
}

// dryDownload prints what download would do. It makes and changes nothing.
func dryDownload(ctx context.Context, a *app, opt client.RestoreOptions) error {
	if err := checkID(a.console, opt.ID); err != nil {
		return err
	}
	if opt.MapNames || opt.To == "-" {
		return a.usage("dry-run.download-only")
	}
	s, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	if opt.ID, err = s.resolve(ctx, opt.ID); err != nil {
		return err
	}
	opt.Warn = a.warn
	p, err := s.PreviewRestore(ctx, opt, func(path string, isDir bool, d client.Difference) {
		printDifference(a.console, path, isDir, d)
	})
	if errors.Is(err, fs.ErrExist) {
		return a.withHint(err, a.t("download.exists-hint"))
	}
	if err != nil {
		return err
	}
	if err := printRestorePreview(a.console, p, opt.To); err != nil {
		return err
	}
	var reasons []error
	if err := savedIncomplete(a.console, &p.Version); err != nil {
		reasons = append(reasons, err)
	}
	if p.Failed > 0 {
		reasons = append(reasons, a.partial("download.partial", p.Failed))
	}
	return lastOf(a.console, reasons)
}

// jsonRestorePreview is the JSON of what a restore would do.
type jsonRestorePreview struct {
	DryRun  bool   `json:"dry_run"`
	ID      string `json:"id"`
	To      string `json:"to"`
	Files   int64  `json:"files"`
	Bytes   int64  `json:"bytes"`
	New     int64  `json:"new"`
	Changed int64  `json:"changed"`
	Same    int64  `json:"same"`
	Fetch   int64  `json:"fetch"` // at most so many bytes are fetched, before compression
	Failed  int64  `json:"failed"`
	Partial bool   `json:"partial"`
}

func printRestorePreview(c *console, p *client.RestorePreview, to string) error {
	if c.json {
		return c.printJSON(jsonRestorePreview{
			DryRun: true, ID: p.Version.ID, To: to, Files: p.Files, Bytes: p.Bytes, New: p.New, Changed: p.Replaced,
			Same: p.Same, Fetch: p.Fetch, Failed: p.Failed, Partial: p.Version.Partial,
		})
	}
	if c.quiet {
		return nil
	}
	c.println(c.n("dry-run.download", p.Files, "ID", c.show(p.Version.ID), "Size", c.size(p.Bytes), "To", c.show(to),
		"New", p.New, "Changed", p.Replaced, "Same", p.Same, "Fetch", c.size(p.Fetch)))
	c.println(c.t("dry-run.nothing-restored"))
	return nil
}
