package restore

import (
	"context"
	"errors"
	"servidor-backup/client/internal/download"
	"servidor-backup/client/internal/target"
	"servidor-backup/client/internal/transfer"
	"servidor-backup/client/internal/tree"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// Slots is how many requests are under way at a time; with the bytes that were received
// and are not written yet, they bound a restore's memory.
const Slots = 12

// Source is the version that is restored.
type Source struct {
	Entries *tree.Reader
	Chunks  *download.Reader
}

// Part is a part of the version that is asked for: the entries at From and
// below, which appear as To. If From is "." and To is "", what is in the version's
// top appears under its own names.
type Part struct{ From, To string }

// Options is how a restore works.
type Options struct {
	// Slots is how many requests are under way at a time.
	Slots    int
	Progress *transfer.Progress
	// Warn is told of every path that is not brought back whole, from several
	// goroutines.
	Warn func(path string, err error)
}

// Result is what a restore did.
type Result struct {
	Files, Bytes int64    // entries that are not folders, and their content
	Failed       int64    // paths that could not be brought back whole
	First        error    // why the first of them could not
	Tops         []string // the names that were made in the target
}

// restorer is one restore. One goroutine descends the tree and gathers pieces
// into requests; several fetch, open and write.
type restorer struct {
	src Source
	to  *target.Target
	opt Options

	work    *errgroup.Group
	ctx     context.Context
	window  window
	written writtenChunks
	stack   []*target.Dir     // the folders that the descent is in
	links   []*fileJob        // further names of files, made when all files are there
	heads   map[string]string // first names that are not asked for → what stands for them
	tops    []string

	files, bytes, failed atomic.Int64
	mu                   sync.Mutex
	first                error // the first failure of a path
}

// Run writes parts of a version to a target, which it closes.
func Run(ctx context.Context, src Source, to *target.Target, parts []Part, opt Options) (Result, error) {
	r := &restorer{src: src, to: to, opt: opt, heads: map[string]string{}}
	r.work, r.ctx = errgroup.WithContext(ctx)
	r.work.SetLimit(opt.Slots)
	err := r.descendAll(parts)
	if failed := r.work.Wait(); failed != nil {
		err = failed // the descent only noticed that it was over
	}
	if err != nil {
		return Result{}, errors.Join(err, to.Abandon())
	}
	r.placeLinks()
	r.climb("")
	to.Close()
	done := Result{Files: r.files.Load(), Bytes: r.bytes.Load(), Failed: r.failed.Load(), First: r.first, Tops: r.tops}
	return done, to.Sync()
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
