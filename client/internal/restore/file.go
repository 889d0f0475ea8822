package restore

import (
	"bytes"
	"servidor-backup/client/internal/download"
	"servidor-backup/client/internal/target"
	"servidor-backup/client/internal/tree"
	"sync"
	"sync/atomic"
)

// fileJob is a file, or a further name of one, on its way back. Its folder waits
// for it.
type fileJob struct {
	entry *tree.Entry
	dir   *target.Dir // nil at the top
	left  atomic.Int64

	whole bool // it was placed at once, with all its content

	mu     sync.Mutex
	file   *target.File // made when the first piece has come
	failed bool
}

func newFileJob(e *tree.Entry, dir *target.Dir) *fileJob {
	j := &fileJob{entry: e, dir: dir}
	j.left.Store(1)
	dir.Hold()
	return j
}

// pieces asks for a file's content. A failure that ends the restore leaves the
// file unfinished: it must not get its name with bytes missing.
func (r *restorer) pieces(job *fileJob) error {
	it := r.src.Entries.Pieces(r.ctx, job.entry.Content, job.entry.Size)
	for {
		p, ok, err := it.Next()
		if err != nil && !download.IsDamage(err) {
			return err
		}
		if err != nil {
			job.fail(r, err)
		}
		if err != nil || !ok {
			r.release(job)
			return nil
		}
		job.left.Add(1)
		r.window.add(pieceRequest{job, p})
		if err := r.dispatch(false); err != nil {
			return err
		}
	}
}

// open is the file to write to, made when it is first asked for; nil if the
// file was given up.
func (j *fileJob) open(r *restorer) (*target.File, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.failed || j.file != nil {
		return j.file, nil
	}
	var err error
	j.file, err = r.to.Create(j.entry)
	return j.file, err
}

// put writes a piece of the file's content.
func (j *fileJob) put(r *restorer, plain []byte, off int64) error {
	if j.entry.Size == int64(len(plain)) { // there are no others
		j.whole = true
		return r.to.PutFile(j.entry, plain)
	}
	f, err := j.open(r)
	if err != nil || f == nil {
		return err
	}
	return j.write(f, plain, off)
}

// write writes a piece. In a file with holes, zeros are left out: small holes
// were saved as such.
func (j *fileJob) write(f *target.File, plain []byte, off int64) error {
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

// zeroSize is the unit of file systems, below which nothing can be left out.
const zeroSize = 4096

var zeroes [zeroSize]byte

// run is the length of the longest beginning of b, which stands at off in its
// file, that is all zero blocks or has none.
func run(b []byte, off int64) (n int, zero bool) {
	for n < len(b) {
		size := min(zeroSize-int(off+int64(n))%zeroSize, len(b)-n)
		z := bytes.Equal(b[n:n+size], zeroes[:size])
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
	defer j.dir.Unhold()
	if !j.failed {
		if err := j.finish(r); err != nil {
			j.fail(r, err)
			return
		}
		r.count(j.entry.Size)
	} else if j.file != nil {
		if err := j.file.Abort(); err != nil {
			r.warn(j.entry.Path, err)
		}
	}
}

// finish ends a file that has all its content; one without pieces is made.
func (j *fileJob) finish(r *restorer) error {
	switch {
	case j.whole:
		return nil
	case j.entry.Size == 0:
		return r.to.PutFile(j.entry, nil)
	}
	f, err := j.open(r)
	if err != nil {
		return err
	}
	return f.Finish()
}

// placeLinks makes the further names of files.
func (r *restorer) placeLinks() {
	for _, job := range r.links {
		if err := r.to.Link(job.entry); err != nil {
			r.fail(job.entry.Path, err)
		} else {
			r.count(0)
		}
		job.dir.Unhold()
	}
}
