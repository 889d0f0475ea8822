package client

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"servidor-backup/client/internal/restore"
	"servidor-backup/client/internal/target"
	"servidor-backup/client/internal/transfer"
	"servidor-backup/schemas"
)

// RestoreOptions says what to bring back, and where to.
type RestoreOptions struct {
	// ID is NAME or NAME@NUMBER.
	ID string
	// Inside are paths inside the version; none means all of it.
	Inside []string
	// To is the folder in which what is asked for appears under its own name;
	// default: the working folder.
	To string
	// Force lets existing files be replaced.
	Force    bool
	Progress *Progress
	Warn     func(path string, err error)
}

// RestoreResult is what a restore did.
type RestoreResult struct {
	Version  schemas.Version
	Files    int64 // entries that are not folders
	Bytes    int64 // their content
	Received int64 // bytes that came from nodes
	Failed   int64 // paths that could not be brought back whole
	// Top are the names that were made in To.
	Top []string
}

// Restore brings a version, or parts of it, back. What is damaged is left out,
// warned of and counted; if nothing at all could be brought back, that is an
// error.
func (c *Client) Restore(ctx context.Context, opt RestoreOptions) (*RestoreResult, error) {
	if opt.Progress == nil {
		opt.Progress = &Progress{}
	}
	if opt.Warn == nil {
		opt.Warn = func(string, error) {}
	}
	if opt.To == "" {
		opt.To = "."
	}
	ctx, cancel := c.watchServer(ctx)
	defer cancel(nil)
	v, err := c.open(ctx, opt.ID)
	if err != nil {
		return nil, err
	}
	done, err := c.restore(ctx, v, opt)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	if err != nil {
		return nil, unreachable(err)
	}
	if done.First != nil && done.Files == 0 {
		return nil, fmt.Errorf("nothing could be brought back to %s: %w", opt.To, done.First)
	}
	res := &RestoreResult{Version: v.Version, Files: done.Files, Bytes: done.Bytes, Failed: done.Failed, Top: done.Tops}
	if v.chunks != nil {
		res.Received = v.chunks.Received()
	}
	return res, nil
}

func (c *Client) restore(ctx context.Context, v *version, opt RestoreOptions) (restore.Result, error) {
	opt.Progress.TotalFiles.Store(v.Files)
	opt.Progress.TotalBytes.Store(v.Bytes)
	opt.Progress.Counted.Store(len(opt.Inside) == 0)
	parts, err := v.parts(ctx, opt.Inside)
	if err != nil {
		return restore.Result{}, err
	}
	if err := opt.checkTops(parts); err != nil {
		return restore.Result{}, err
	}
	to, err := target.Open(opt.To, target.Options{Overwrite: opt.Force, Owner: os.Geteuid() == 0, Warn: opt.Warn})
	if err != nil {
		return restore.Result{}, err
	}
	if v.plain != nil {
		return v.restorePlain(to, opt.Progress)
	}
	return restore.Run(ctx, restore.Source{Entries: v.entries, Chunks: v.chunks}, to, parts, restore.Options{
		Slots: transfer.Budget(c.opt.Room).Slots(restore.Slots), Progress: opt.Progress, Warn: opt.Warn,
	})
}

// parts finds what is asked for.
func (v *version) parts(ctx context.Context, inside []string) ([]restore.Part, error) {
	if v.plain != nil {
		if len(inside) > 0 {
			return nil, fmt.Errorf("%s is one file, there is no %q inside", v.ID, inside[0])
		}
		return []restore.Part{{To: v.Record}}, nil
	}
	if len(inside) == 0 {
		return []restore.Part{{From: ".", To: v.label.Top}}, nil
	}
	var parts []restore.Part
	for _, p := range inside {
		e, err := v.inside(ctx, p)
		if err != nil {
			return nil, err
		}
		to := path.Base(e.Path)
		if e.Path == "." {
			to = v.label.Top
		}
		for _, other := range parts {
			if other.To == to {
				return nil, fmt.Errorf("%q and %q would both appear as %q: bring them back one after the other, with --to", other.From, e.Path, to)
			}
		}
		parts = append(parts, restore.Part{From: e.Path, To: to})
	}
	return parts, nil
}

// checkTops refuses early to write into what is there already: a merge of two
// folders is nothing that anyone should get by accident.
func (opt *RestoreOptions) checkTops(parts []restore.Part) error {
	for _, p := range parts {
		if p.To == "" { // several tops, known only from the tree
			continue
		}
		top := filepath.Join(opt.To, p.To)
		if _, err := os.Lstat(top); err == nil && !opt.Force {
			return fmt.Errorf("%s is there already: choose another folder with --to, or replace it with --force: %w", top, fs.ErrExist)
		}
	}
	return nil
}

// restorePlain writes the one file of a version that came unsealed.
func (v *version) restorePlain(to *target.Target, progress *Progress) (restore.Result, error) {
	e := v.plainEntry()
	if err := to.PutFile(e, *v.plain); err != nil {
		return restore.Result{}, errors.Join(err, to.Abandon())
	}
	progress.Files.Add(1)
	progress.Bytes.Add(e.Size)
	to.Close()
	return restore.Result{Files: 1, Bytes: e.Size, Tops: []string{e.Path}}, to.Sync()
}
