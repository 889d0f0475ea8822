package client

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

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

// fetchSlots is how many requests are under way; with what was received and is
// being written they bound a restore's memory.
const fetchSlots = 12

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
	ctx, cancel := c.watched(ctx)
	defer cancel(nil)
	v, err := c.open(ctx, opt.ID)
	if err != nil {
		return nil, err
	}
	r := &restorer{v: v, opt: opt}
	err = r.run(ctx)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	if err != nil {
		return nil, unreachable(err)
	}
	if r.first != nil && r.files.Load() == 0 {
		return nil, fmt.Errorf("nothing could be brought back to %s: %w", opt.To, r.first)
	}
	res := &RestoreResult{Version: v.Version, Files: r.files.Load(), Bytes: r.bytes.Load(), Failed: r.failed.Load(), Top: r.tops}
	if v.source != nil {
		res.Received = v.source.holders.BytesReceived()
	}
	return res, nil
}

// restorer is one restore. One goroutine descends the tree and gathers pieces
// into requests; several fetch, open and write. A folder's metadata is set when
// everything in it is done.
type restorer struct {
	v      *opened
	opt    RestoreOptions
	placer *placer
	tops   []string

	work   *errgroup.Group
	ctx    context.Context
	window window
	copies copies
	stack  []*openDir
	links  []*fileJob        // further names of files, made when all files are there
	heads  map[string]string // first names that are not asked for → what stands for them

	files, bytes, failed atomic.Int64
	mu                   sync.Mutex
	first                error // the first failure of a path
}

func (r *restorer) run(ctx context.Context) error {
	parts, err := r.parts(ctx)
	if err != nil {
		return err
	}
	if err := r.checkTops(parts); err != nil {
		return err
	}
	r.placer, err = newPlacer(r.opt.To, placeOptions{Overwrite: r.opt.Force, Owner: os.Geteuid() == 0, Warn: r.warn})
	if err != nil {
		return err
	}
	r.work, r.ctx = errgroup.WithContext(ctx)
	r.work.SetLimit(r.v.room.slots(fetchSlots))
	r.heads = map[string]string{}
	err = r.descendAll(parts)
	if failed := r.work.Wait(); failed != nil {
		err = failed // the descent only noticed that it was over
	}
	if err != nil {
		return errors.Join(err, r.placer.abandon())
	}
	r.placeLinks()
	r.climb("")
	r.placer.close()
	return r.placer.sync()
}

// parts finds what is asked for.
func (r *restorer) parts(ctx context.Context) ([]part, error) {
	r.opt.Progress.TotalFiles.Store(r.v.Files)
	r.opt.Progress.TotalBytes.Store(r.v.Bytes)
	r.opt.Progress.Counted.Store(len(r.opt.Inside) == 0)
	if r.v.plain != nil {
		if len(r.opt.Inside) > 0 {
			return nil, fmt.Errorf("%s is one file, there is no %q inside", r.v.ID, r.opt.Inside[0])
		}
		return []part{{to: r.v.Record}}, nil
	}
	if len(r.opt.Inside) == 0 {
		return []part{{from: ".", to: r.v.label.Top}}, nil
	}
	var parts []part
	for _, p := range r.opt.Inside {
		e, err := r.v.inside(ctx, p)
		if err != nil {
			return nil, err
		}
		to := path.Base(e.Path)
		if e.Path == "." {
			to = r.v.label.Top
		}
		for _, other := range parts {
			if other.to == to {
				return nil, fmt.Errorf("%q and %q would both appear as %q: bring them back one after the other, with --to", other.from, e.Path, to)
			}
		}
		parts = append(parts, part{from: e.Path, to: to})
	}
	return parts, nil
}

// checkTops refuses early to write into what is there already: a merge of two
// folders is nothing that anyone should get by accident.
func (r *restorer) checkTops(parts []part) error {
	for _, p := range parts {
		if p.to == "" { // several tops, known only from the tree
			continue
		}
		r.tops = append(r.tops, p.to)
		top := filepath.Join(r.opt.To, p.to)
		if _, err := os.Lstat(top); err == nil && !r.opt.Force {
			return fmt.Errorf("%s is there already: choose another folder with --to, or replace it with --force: %w", top, fs.ErrExist)
		}
	}
	return nil
}

func (r *restorer) count(size int64) {
	r.files.Add(1)
	r.bytes.Add(size)
	r.opt.Progress.Files.Add(1)
}

// fail notes a path that is not brought back.
func (r *restorer) fail(path string, err error) {
	r.failed.Add(1)
	r.mu.Lock()
	if r.first == nil {
		r.first = err
	}
	r.mu.Unlock()
	r.opt.Warn(path, err)
}

// warn tells what of a path could not be set.
func (r *restorer) warn(path string, err error) { r.opt.Warn(path, err) }
