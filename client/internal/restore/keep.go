package restore

import (
	"bytes"

	"servidor-backup/client/internal/chunk"
	"servidor-backup/client/internal/download"
	"servidor-backup/client/internal/tree"
)

// keep keeps the file that the target has already if it is that of the job, and reports whether it
// does. By default the file's type, size and time tell. With Verify, its content must match the
// chunks of the version; a small file, which is only a part of its chunk, is compared when the
// chunk arrives.
func (r *restorer) keep(job *fileJob) (bool, error) {
	e := job.entry
	job.old = r.to.Look(e, job.dir)
	switch {
	case !job.old.SameSize, !r.opt.Verify && !job.old.SameTime:
		return false, nil
	case r.opt.Verify:
		if same, err := r.matches(e); err != nil || !same {
			return false, err
		}
	}
	return r.keepOld(job), nil
}

// keepOld gives the file that is there its metadata and counts it. It reports false, and the file
// is written again, if it cannot be used.
func (r *restorer) keepOld(job *fileJob) bool {
	if r.to.Keep(job.entry, job.dir) != nil {
		return false
	}
	r.same.Add(1)
	r.count(job.entry.Size)
	return true
}

// matches reports whether the file in the target has the content of e. It reads nothing from nodes
// but the tree nodes that list the chunks.
func (r *restorer) matches(e *tree.Entry) (bool, error) {
	lent := chunk.Buffers.Get()
	defer chunk.Buffers.Put(lent)
	buf := lent[:cap(lent)]
	pieces := r.src.Entries.Pieces(r.ctx, e.Content, e.Size)
	for at := int64(0); ; {
		p, ok, err := pieces.Next()
		switch {
		case download.IsDamage(err): // requesting the pieces tells of it
			return false, nil
		case err != nil:
			return false, err
		case !ok:
			return r.readsZeros(e.Path, buf, at, e.Size), nil
		case p.Skip != 0 || p.Len > int64(len(buf)) || !r.readsZeros(e.Path, buf, at, p.Off):
			return false, nil
		}
		plain := buf[:p.Len]
		if r.to.ReadOld(e.Path, plain, p.Off) != nil || !r.src.Chunks.Matches(p.ID, plain) {
			return false, nil
		}
		at = p.Off + p.Len
	}
}

// readsZeros reports whether the file at path has zeros from byte from up to byte to.
func (r *restorer) readsZeros(path string, buf []byte, from, to int64) bool {
	for from < to {
		part := buf[:min(int64(len(buf)), to-from)]
		if r.to.ReadOld(path, part, from) != nil || len(bytes.Trim(part, "\x00")) > 0 {
			return false
		}
		from += int64(len(part))
	}
	return true
}

// equals reports whether the file in the target has this content, which is all of the job's.
func (r *restorer) equals(job *fileJob, plain []byte) bool {
	if !r.opt.Verify || !job.old.SameSize {
		return false
	}
	got := make([]byte, len(plain))
	return r.to.ReadOld(job.entry.Path, got, 0) == nil && bytes.Equal(got, plain)
}

// hint says that a piece may be in the file that the job replaces, so that only what differs is
// fetched. The content is checked against the chunk's id before it is used.
func (r *restorer) hint(job *fileJob, p tree.Piece) {
	if job.old.Is && p.Skip == 0 && p.Len >= writtenMin {
		r.written.hint(p.ID, writtenChunk{path: job.entry.Path, off: p.Off, len: int(p.Len), old: true})
	}
}
