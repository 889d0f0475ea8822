package restore

import (
	"context"
	"errors"
	"fmt"

	"servidor-backup/client/internal/download"
	"servidor-backup/client/internal/target"
	"servidor-backup/client/internal/tree"
)

// linkJob is another name of a file, which is made when all files are complete.
type linkJob struct {
	*fileJob
	first string // the file's first name, in the version
}

// makeLinks makes the other names of files. A name that cannot be a link, because its first name
// was not restored or the target has no hard links, becomes a file of its own, to which the
// further names are linked if possible.
func (r *restorer) makeLinks(ctx context.Context) error {
	files := map[string]string{} // by first name: the name that became a file of its own
	var copies, rest []linkJob
	for _, job := range r.links {
		e := job.entry
		switch err := r.to.Link(e); {
		case !canCopy(err):
			r.endLink(job, err)
		case files[e.HardLink] != "":
			e.HardLink = files[e.HardLink]
			rest = append(rest, job)
		default:
			r.tellCopies(e.Path, err)
			files[e.HardLink] = e.Path
			copies = append(copies, job)
		}
	}
	if err := r.writeCopies(ctx, copies); err != nil {
		return err
	}
	copies = nil
	for _, job := range rest {
		if err := r.to.Link(job.entry); canCopy(err) {
			copies = append(copies, job)
		} else {
			r.endLink(job, err)
		}
	}
	return r.writeCopies(ctx, copies)
}

// canCopy reports whether a name that could not be made a link can be made a file of its own.
func canCopy(err error) bool {
	return errors.Is(err, target.ErrNoLink) || errors.Is(err, target.ErrNoFirst)
}

// endLink ends the job of a link that was made or failed.
func (r *restorer) endLink(job linkJob, err error) {
	if err != nil {
		r.fail(job.entry.Path, err)
	} else {
		r.count(0)
	}
	job.dir.Release()
}

// tellCopies says once that the target has no hard links.
func (r *restorer) tellCopies(path string, err error) {
	if errors.Is(err, target.ErrNoLink) && !r.toldCopies {
		r.toldCopies = true
		r.opt.Incomplete(path, fmt.Errorf("names of one file become files of their own where no hard link can be made: %w", err))
	}
}

// writeCopies writes names that cannot be links as files of their own.
func (r *restorer) writeCopies(ctx context.Context, copies []linkJob) error {
	if len(copies) == 0 {
		return nil
	}
	return r.fetchDuring(ctx, func() error {
		for _, job := range copies {
			if err := r.writeCopy(job); err != nil {
				return err
			}
		}
		return r.dispatch(true)
	})
}

func (r *restorer) writeCopy(job linkJob) error {
	e := job.entry
	err := r.completeLink(e, job.first)
	if err == nil && len(e.Xattrs) == 0 {
		err = r.completeXattrs(e)
	}
	if err != nil && !download.IsDamage(err) {
		return err
	}
	e.HardLink = ""
	if err == nil && e.Type == tree.TypeFile {
		return r.requestPieces(job.fileJob)
	}
	if err == nil {
		err = r.to.Put(e)
	}
	if err != nil {
		job.fail(r, err)
	} else {
		r.count(0)
	}
	job.dir.Release()
	return nil
}
