package restore

import (
	"bytes"
	"sync"
	"sync/atomic"

	"servidor-backup/client/internal/target"
	"servidor-backup/client/internal/tree"
)

// fileJob is a file that is being restored, or another name of a file that is to be made. It holds
// its folder until it is released.
type fileJob struct {
	entry   *tree.Entry
	dir     *target.Dir  // nil at the top
	pending atomic.Int64 // pieces not delivered yet, and 1 while the descent adds pieces

	old   target.Old // what the target has under the file's name; set by keep
	whole bool       // the file was written in one go, with all its content

	mu     sync.Mutex
	file   *target.File // nil before the first piece arrives
	failed bool
}

func newFileJob(e *tree.Entry, dir *target.Dir) *fileJob {
	j := &fileJob{entry: e, dir: dir}
	j.pending.Store(1)
	dir.Hold()
	return j
}

// create returns the file to write to, and makes it at the first call. It returns nil if the job
// has failed.
func (j *fileJob) create(r *restorer) (*target.File, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.failed || j.file != nil {
		return j.file, nil
	}
	var err error
	j.file, err = r.to.Create(j.entry)
	return j.file, err
}

// write writes a piece of the file's content.
func (j *fileJob) write(r *restorer, plain []byte, off int64) error {
	if j.entry.Size == int64(len(plain)) { // the only piece
		j.whole = true
		if r.equals(j, plain) && r.to.Keep(j.entry, j.dir) == nil {
			r.same.Add(1)
			return nil
		}
		return r.to.PutFile(j.entry, plain)
	}
	f, err := j.create(r)
	if err != nil || f == nil {
		return err
	}
	return j.writeAt(f, plain, off)
}

// writeAt writes a piece into f. In a file with holes it leaves out blocks of zeros, because small
// holes are saved as zeros.
func (j *fileJob) writeAt(f *target.File, plain []byte, off int64) error {
	if j.entry.Content.Bytes == j.entry.Size {
		_, err := f.WriteAt(plain, off)
		return err
	}
	for len(plain) > 0 {
		n, zero := zeroRun(plain, off)
		if !zero {
			if _, err := f.WriteAt(plain[:n], off); err != nil {
				return err
			}
		}
		plain, off = plain[n:], off+int64(n)
	}
	return nil
}

// blockSize is the usual unit of file systems, in bytes: holes are multiples of it.
const blockSize = 4096

var zeroBlock [blockSize]byte

// zeroRun returns the length of the longest prefix of b that has only zero blocks, or none. b is at
// byte off of its file.
func zeroRun(b []byte, off int64) (n int, zero bool) {
	for n < len(b) {
		size := min(blockSize-int(off+int64(n))%blockSize, len(b)-n)
		z := bytes.Equal(b[n:n+size], zeroBlock[:size])
		if n > 0 && z != zero {
			break
		}
		n, zero = n+size, z
	}
	return n, zero
}

// fail gives the file up. It reports only the first error.
func (j *fileJob) fail(r *restorer, err error) {
	j.mu.Lock()
	again := j.failed
	j.failed = true
	j.mu.Unlock()
	if !again {
		r.fail(j.entry.Path, err)
	}
}

// finish completes a file that has all its content. It makes a file that has no pieces.
func (j *fileJob) finish(r *restorer) error {
	switch {
	case j.whole:
		return nil
	case j.entry.Size == 0:
		return r.to.PutFile(j.entry, nil)
	}
	f, err := j.create(r)
	if err != nil {
		return err
	}
	return f.Finish()
}
