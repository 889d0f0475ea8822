// Package restore writes parts of a version to a target.
//
// One goroutine descends the tree of the version. It makes folders and small entries at once, and
// turns the content of files into piece requests, which it gathers by chunk, up to 8 MiB of chunks
// or 4096 pieces. Beyond that, the oldest chunks are taken out as a batch, and one of several
// goroutines fetches the batch from the nodes, opens each chunk and writes every requested piece
// of it. So a chunk that files share, or that repeats, is fetched and opened once as long as
// requests for it are being gathered. Large chunks that were fetched before are read back from the
// file they were written to (the written cache), and are checked against their id, because the
// file may have changed since then.
//
// A file is a job that counts its open pieces. The goroutine that delivers the last piece finishes
// the file. Other names of files are made when all files are complete, as links or, where that
// cannot be, as files of their own.
//
// Damage of a chunk costs exactly the files that need it, and damage of a tree chunk costs the
// paths in it: both are warned of and counted, and the restore goes on. Any other error ends the
// restore, and files that are not complete then do not get their names.
//
// Memory is bounded by the gathered requests, by the number of requests under way, and by the
// written cache.
package restore

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"servidor-backup/client/internal/download"
	"servidor-backup/client/internal/target"
	"servidor-backup/client/internal/transfer"
	"servidor-backup/client/internal/tree"
)

// slots is how many requests to the nodes are under way at a time. With the bytes that have
// arrived and are not written yet, they bound the memory of a restore.
const slots = 12

// Source is the version that is restored.
type Source struct {
	Entries *tree.Reader
	Chunks  *download.Reader
}

// Part is a part of the version: the entry at From and everything below it, restored as To. If From
// is "." and To is "", the entries at the top of the version are restored under their own names.
type Part struct{ From, To string }

// Options say how a restore works.
type Options struct {
	Budget transfer.Budget
	// Verify compares the content of files that the target has already with the version.
	// Otherwise a file of the same size and time is taken to be the same.
	Verify   bool
	Progress *transfer.Progress
	// Names, if not nil, maps names that the target cannot have. Mapped is called for each entry
	// whose own name is mapped, from one goroutine.
	Names  *target.Mapper
	Mapped func(path, as string)
	// Failed is called for every path whose content is not restored, and Incomplete for every
	// path that is restored without something that belongs to it, both from several goroutines.
	Failed, Incomplete func(path string, err error)
}

// Result says what a restore has done.
type Result struct {
	Files    int64    // entries that are not folders
	Bytes    int64    // their content
	Same     int64    // files that were there already
	Failed   int64    // paths whose content could not be restored
	FirstErr error    // why the first of them could not; nil if Failed is 0
	Tops     []string // the names that were made in the target
}

// restorer is one restore.
type restorer struct {
	src Source
	to  *target.Target
	opt Options

	work      *errgroup.Group
	ctx       context.Context
	gathering gathering
	written   writtenCache
	stack     []*target.Dir // the folders that the descent is in
	refused   string        // the last folder that could not be made
	parts     []Part
	links     []linkJob // other names of files, made when all files are complete
	// firstNames maps first names of files that are outside of the parts, in the version, to
	// the names in the target that take their place.
	firstNames map[string]string
	toldCopies bool // it was said that names of one file become files of their own
	tops       []string

	files, bytes, same, failed atomic.Int64
	mu                         sync.Mutex
	firstErr                   error // the first failure of a path
}

// Run writes parts of a version to a target, and closes the target.
func Run(ctx context.Context, src Source, to *target.Target, parts []Part, opt Options) (Result, error) {
	r := &restorer{src: src, to: to, opt: opt, parts: parts, firstNames: map[string]string{}}
	err := r.fetchDuring(ctx, func() error { return r.descendAll(parts) })
	if err == nil {
		err = r.makeLinks(ctx)
	}
	if err != nil {
		return Result{}, errors.Join(err, to.Abandon())
	}
	r.climb("")
	to.Close()
	done := Result{Files: r.files.Load(), Bytes: r.bytes.Load(), Same: r.same.Load(), Failed: r.failed.Load(), FirstErr: r.firstErr, Tops: r.tops}
	return done, to.Sync()
}

// fetchDuring runs step, which dispatches requests, and returns when all of them are done.
func (r *restorer) fetchDuring(ctx context.Context, step func() error) error {
	r.work, r.ctx = errgroup.WithContext(ctx)
	r.work.SetLimit(r.opt.Budget.Slots(slots))
	err := step()
	if failed := r.work.Wait(); failed != nil {
		return failed // the step only noticed the end of its context
	}
	return err
}

func (r *restorer) count(size int64) {
	r.files.Add(1)
	r.bytes.Add(size)
	r.opt.Progress.Files.Add(1)
}

// fail counts and reports a path whose content is not restored.
func (r *restorer) fail(path string, err error) {
	r.failed.Add(1)
	r.mu.Lock()
	if r.firstErr == nil {
		r.firstErr = err
	}
	r.mu.Unlock()
	r.opt.Failed(path, err)
}
