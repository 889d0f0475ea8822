package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
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

const (
	// fetchBatch is how many bytes of plaintext one request to the nodes is
	// about: sealed, they still fit one message.
	fetchBatch = 900_000
	// fetchPieces bounds the pieces of one request.
	fetchPieces = 1024
	// fetchSlots is how many requests are under way; with what was received
	// and is being written they bound a restore's memory.
	fetchSlots = 12
)

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
	if v.holders != nil {
		res.Received = v.holders.Received()
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

	work    *errgroup.Group
	ctx     context.Context
	batch   []want
	bytesIn int64
	stack   []*openDir
	links   []*fileJob        // further names of files, made when all files are there
	heads   map[string]string // first names that are not asked for → what stands for them

	files, bytes, failed atomic.Int64
	mu                   sync.Mutex
	first                error // the first failure of a path
}

// want is a piece that is needed for a file.
type want struct {
	job   *fileJob
	piece Piece
}

// openDir is a folder that was placed; it is left when nothing in it is open.
type openDir struct {
	entry  *Entry
	parent *openDir // nil at the top
	open   atomic.Int64
}

// fileJob is a file, or another entry of a folder, on its way back.
type fileJob struct {
	entry *Entry
	dir   *openDir // nil at the top
	left  atomic.Int64

	mu     sync.Mutex
	file   *placedFile // made when the first piece has come
	failed bool
}

// part is a part of the version that is asked for: the entries at from and
// below, which appear as to.
type part struct{ from, to string }

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
	r.work.SetLimit(fetchSlots)
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

func (r *restorer) descendAll(parts []part) error {
	if r.v.plain != nil {
		return r.placePlain()
	}
	for _, p := range parts {
		entries := r.v.tree.iterate(r.ctx, ".")
		if p.from != "." {
			entries = r.v.tree.subtree(r.ctx, p.from)
		}
		if err := r.descend(entries, p); err != nil {
			return err
		}
		r.climb("")
	}
	return r.flush()
}

// descend places folders and small things as it meets them, and asks for the
// pieces of files.
func (r *restorer) descend(entries *entryIter, p part) error {
	for {
		e, ok, err := entries.Next()
		if err != nil || !ok {
			return err
		}
		at := e.Path
		e.Path = p.place(at)
		if e.HardLink != "" {
			if err := r.linkTo(e, p); err != nil {
				return err
			}
		}
		if e.Path == "" { // the top of a version has no name of its own here
			continue
		}
		if p.to == "" && !strings.Contains(e.Path, "/") {
			r.tops = append(r.tops, e.Path)
		}
		if err := r.meet(e); err != nil {
			return err
		}
	}
}

// linkTo makes e's first name what it is in the target. If that is not part of
// what is asked for, the first of its names that is takes its place, with the
// content.
func (r *restorer) linkTo(e *Entry, p part) error {
	first := e.HardLink
	if e.HardLink = p.place(first); e.HardLink != "" {
		return nil
	}
	if stands, ok := r.heads[first]; ok {
		e.HardLink = stands
		return nil
	}
	r.heads[first] = e.Path
	head, err := r.v.tree.lookup(r.ctx, first)
	if err != nil {
		return fmt.Errorf("%q is another name of %q: %w", e.Path, first, err)
	}
	e.Content, e.Size = head.Content, head.Size
	return nil
}

// place is where the path p.from, or one below it, appears; "" if the path is
// outside.
func (p part) place(at string) string {
	switch {
	case p.from == "." && at == ".":
		return p.to
	case p.from == ".":
		return joinPath(p.to, at)
	case at == p.from:
		return p.to
	}
	if rest, ok := strings.CutPrefix(at, p.from+"/"); ok {
		return p.to + "/" + rest
	}
	return ""
}

// meet begins the restore of one entry, whose path is where it goes.
func (r *restorer) meet(e *Entry) error {
	if err := r.ctx.Err(); err != nil {
		return context.Cause(r.ctx)
	}
	above, _ := splitPath(e.Path)
	dir := r.climb(above)
	if err := r.v.wholeXattrs(r.ctx, e); err != nil {
		if !isDamage(err) {
			return err
		}
		r.warn(e.Path, fmt.Errorf("its extended attributes are lost: %w", err))
	}
	job := &fileJob{entry: e, dir: dir}
	switch {
	case e.Type == TypeDir:
		r.enterDir(e, dir)
		return nil
	case e.HardLink != "":
		job.open()
		r.links = append(r.links, job)
		return nil
	case e.Type == TypeFile:
		job.open()
		return r.pieces(job)
	}
	if err := r.placer.place(e); err != nil {
		r.fail(e.Path, err)
		return nil
	}
	r.count(0)
	return nil
}

func (r *restorer) enterDir(e *Entry, parent *openDir) {
	if err := r.placer.place(e); err != nil {
		r.fail(e.Path, err)
	}
	d := &openDir{entry: e, parent: parent}
	d.open.Store(1)
	if parent != nil {
		parent.open.Add(1)
	}
	r.stack = append(r.stack, d)
}

// climb leaves the folders that the descent has passed, up to the one at above,
// and returns that; nil for the top.
func (r *restorer) climb(above string) *openDir {
	for n := len(r.stack); n > 0; n-- {
		d := r.stack[n-1]
		if above != "" && above != "." && d.entry.Path == above {
			return d
		}
		r.stack = r.stack[:n-1]
		r.close(d)
	}
	return nil
}

// close counts one thing in d as done.
func (r *restorer) close(d *openDir) {
	for d != nil && d.open.Add(-1) == 0 {
		r.placer.leaveDir(d.entry)
		d = d.parent
	}
}

func (j *fileJob) open() {
	j.left.Store(1)
	if j.dir != nil {
		j.dir.open.Add(1)
	}
}

// pieces asks for a file's content.
func (r *restorer) pieces(job *fileJob) error {
	it := newPieceIter(r.ctx, r.v.get, job.entry.Content, job.entry.Size)
	for {
		p, ok, err := it.Next()
		if err != nil && !isDamage(err) {
			return err
		}
		if err != nil {
			job.fail(r, err)
		}
		if err != nil || !ok {
			r.work.Go(func() error {
				r.release(job)
				return nil
			})
			return nil
		}
		if r.bytesIn+p.Len+sealOverhead > fetchBatch && len(r.batch) > 0 || len(r.batch) == fetchPieces {
			if err := r.flush(); err != nil {
				return err
			}
		}
		job.left.Add(1)
		r.batch = append(r.batch, want{job, p})
		r.bytesIn += p.Len + sealOverhead + 200
	}
}

// flush sends the gathered pieces' request on its way.
func (r *restorer) flush() error {
	if len(r.batch) == 0 {
		return nil
	}
	batch := r.batch
	r.batch, r.bytesIn = nil, 0
	r.work.Go(func() error { return r.fetch(batch) })
	return r.ctx.Err()
}

// fetch gets a batch of pieces and writes them.
func (r *restorer) fetch(batch []want) error {
	ids := make([]schemas.ChunkID, len(batch))
	for i, w := range batch {
		ids[i] = w.piece.ID
	}
	came := make([]atomic.Bool, len(batch))
	err := r.v.holders.Chunks(r.ctx, r.v.Vault, ids, false, func(place int, c *schemas.Chunk) error {
		came[place].Store(true)
		return r.arrived(batch[place], c)
	})
	r.opt.Progress.Sent.Store(r.v.holders.Received())
	if err == nil || !isDamage(err) {
		return err
	}
	// At least one chunk is damaged; each that has not come is asked for by
	// itself, so that every file learns its own fate.
	for i, w := range batch {
		if came[i].Load() {
			continue
		}
		err := r.v.holders.Chunks(r.ctx, r.v.Vault, ids[i:i+1], false, func(_ int, c *schemas.Chunk) error {
			return r.arrived(w, c)
		})
		if err != nil && !isDamage(err) {
			return err
		}
		if err != nil {
			w.job.fail(r, err)
			r.release(w.job)
		}
	}
	return nil
}

// arrived opens one chunk and writes it into its file. What is wrong with the
// chunk or the file is the file's failure, not the restore's.
func (r *restorer) arrived(w want, c *schemas.Chunk) error {
	defer r.release(w.job)
	err := r.v.openPiece(w.piece, c, func(plain []byte) error {
		f, err := w.job.target(r)
		if err != nil || f == nil {
			return err
		}
		err = w.job.write(f, plain, w.piece.Off)
		r.opt.Progress.Bytes.Add(int64(len(plain)))
		return err
	})
	if err != nil {
		w.job.fail(r, err)
	}
	return nil
}

// target is the file to write to, made when it is first asked for; nil if the
// file was given up.
func (j *fileJob) target(r *restorer) (*placedFile, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.failed || j.file != nil {
		return j.file, nil
	}
	var err error
	j.file, err = r.placer.create(j.entry)
	return j.file, err
}

// hole is the unit of file systems, below which nothing can be left out.
const hole = 4096

// write writes a piece. In a file with holes, zeros are left out: small holes
// were saved as such.
func (j *fileJob) write(f *placedFile, plain []byte, off int64) error {
	if j.entry.Content.Bytes == j.entry.Size {
		_, err := f.WriteAt(plain, off)
		return err
	}
	for len(plain) > 0 {
		n, zero := run(plain, off)
		if !zero {
			if _, err := f.WriteAt(plain[:n], off); err != nil {
				return err
			}
		}
		plain, off = plain[n:], off+int64(n)
	}
	return nil
}

var zeroBlock [hole]byte

// run is the length of the longest beginning of b, which stands at off in its
// file, that is all zero blocks or has none.
func run(b []byte, off int64) (n int, zero bool) {
	for n < len(b) {
		size := min(hole-int(off+int64(n))%hole, len(b)-n)
		z := bytes.Equal(b[n:n+size], zeroBlock[:size])
		if n > 0 && z != zero {
			break
		}
		n, zero = n+size, z
	}
	return n, zero
}

// fail gives the file up; the first reason is told.
func (j *fileJob) fail(r *restorer, err error) {
	j.mu.Lock()
	again := j.failed
	j.failed = true
	j.mu.Unlock()
	if !again {
		r.fail(j.entry.Path, err)
	}
}

// release counts one piece, or the descent, as done with the file; the last one
// finishes it.
func (r *restorer) release(j *fileJob) {
	if j.left.Add(-1) > 0 {
		return
	}
	defer r.close(j.dir)
	f, err := j.target(r) // an empty file has no piece that would have made it
	if err == nil && f != nil && !j.failed {
		if err = f.finish(); err == nil {
			r.count(j.entry.Size)
			return
		}
	}
	if err != nil {
		j.fail(r, err)
		return
	}
	if j.file != nil {
		if err := j.file.abort(); err != nil {
			r.warn(j.entry.Path, err)
		}
	}
}

// placeLinks makes the further names of files.
func (r *restorer) placeLinks() {
	for _, job := range r.links {
		if err := r.placer.place(job.entry); err != nil {
			r.fail(job.entry.Path, err)
		} else {
			r.count(0)
		}
		r.close(job.dir)
	}
}

// placePlain writes the one file of a version that came unsealed.
func (r *restorer) placePlain() error {
	e := r.v.plainEntry()
	f, err := r.placer.create(e)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(*r.v.plain, 0); err != nil {
		return errors.Join(err, f.abort())
	}
	r.count(e.Size)
	r.opt.Progress.Bytes.Add(e.Size)
	return f.finish()
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
