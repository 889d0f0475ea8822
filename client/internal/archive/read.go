package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"servidor-backup/client/internal/chunk"
	"servidor-backup/client/internal/osfs"
	"servidor-backup/client/internal/seal"
	"servidor-backup/client/internal/tree"
	"servidor-backup/schemas"
)

// Every chunk can be sealed. (If not, this constant is negative and does not compile.)
const _ = uint(seal.MaxPlain - chunk.MaxSize)

// reader reads groups of entries, one after the other.
type reader struct {
	s      *saver
	ctx    context.Context
	in     *chunk.Intake
	cutter *chunk.Cutter
	// shared are the small files whose contents are gathered for one chunk.
	shared []*tree.Entry
}

// newReader returns a reader. Its intake must be closed.
func (s *saver) newReader(ctx context.Context) *reader {
	in := chunk.NewIntake(ctx, s.blocks)
	return &reader{s: s, ctx: ctx, in: in, cutter: chunk.NewCutter(nil, s.gear, in)}
}

// readGroups is what one reader does.
func (s *saver) readGroups(ctx context.Context) error {
	r := s.newReader(ctx)
	defer r.in.Close()
	for b := range s.toRead {
		if ctx.Err() != nil {
			return nil // the step that ended ctx says why
		}
		err := r.readEntries(ctx, b)
		for _, p := range b {
			close(p.ready)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readEntries completes the entries of a group. An error ends the backup; a file that cannot be
// read is not an error.
func (r *reader) readEntries(ctx context.Context, files readGroup) error {
	for _, p := range files {
		if err := r.readEntry(ctx, p); err != nil {
			return err
		}
	}
	return r.flushShared()
}

// readEntry completes an entry, except for the id of a chunk that it shares.
func (r *reader) readEntry(ctx context.Context, p *pendingEntry) error {
	s, e := r.s, p.Entry
	if e.Type != tree.TypeFile {
		return s.moveXattrs(e)
	}
	if s.Roots == nil {
		return r.readStdin(ctx, e)
	}
	if p.recheck != nil {
		recoverable, err := s.isRecoverable(ctx, p.recheck)
		if err != nil {
			return err
		}
		if recoverable {
			s.reuseContent(e, p.recheck)
			return nil
		}
	}
	for attempt := 1; ; attempt++ {
		again, err := r.readFile(p, attempt == maxAttempts)
		var unreadable *readError
		if errors.As(err, &unreadable) {
			p.drop = true
			s.reportUnreadable(e.Path, unreadable.err)
			return nil
		}
		if err != nil {
			return err
		}
		if !again {
			if p.Err != nil {
				s.reportUnreadable(e.Path, p.Err)
				e.Ctime = 0 // so that the next backup tries again
			}
			return s.moveXattrs(e)
		}
	}
}

// readError is a failure to read a file. The backup goes on without the file.
type readError struct{ err error }

func (e *readError) Error() string { return e.err.Error() }

// readFile reads a file once. again means that the file changed meanwhile and has to be read
// again; the last attempt keeps what it read.
func (r *reader) readFile(p *pendingEntry, last bool) (again bool, err error) {
	e := p.Entry
	f, before, err := p.Open()
	if err != nil {
		return false, &readError{err}
	}
	defer f.Close()
	fresh := osfs.ChangedJustNow(e.Ctime)
	small := e.Size <= chunk.MinSize
	if small && len(r.in.Gathered())+int(e.Size) > chunk.MaxSize { // it has grown since it was bundled
		if err := r.flushShared(); err != nil {
			return false, err
		}
	}
	gathered := len(r.in.Gathered())
	var end int64
	if small {
		end, err = r.readSmall(e, f)
	} else {
		end, err = r.readLarge(e, f)
	}
	if err == nil {
		again, err = r.checkAfterRead(e, f, before, end, fresh, last)
	}
	if small && (err != nil || again) {
		r.in.Truncate(gathered)
		return again, err
	}
	if small && end > 0 {
		r.shared = append(r.shared, e)
	}
	return again, err
}

// checkAfterRead checks whether a file, which was read up to the offset end, has changed since
// it was opened. fresh says that its change time was too recent to show every change.
func (r *reader) checkAfterRead(e *tree.Entry, f *os.File, before os.FileInfo, end int64, fresh, last bool) (again bool, err error) {
	after, err := f.Stat()
	if err != nil {
		return false, &readError{err}
	}
	if osfs.ChangedBetween(before, after) {
		if !last {
			return true, nil
		}
		r.s.reportUnreadable(e.Path, errors.New("the file changed while it was read; what was read of it is saved"))
		// A file that shrank must not gain zeros at its end.
		e.Size = max(end, min(e.Size, after.Size()))
		fresh = true
	}
	if fresh {
		e.Ctime = 0 // so that the next backup reads it again
	}
	return false, nil
}

// readSmall reads a file of at most one chunk, and gathers its content, perhaps behind that of
// others.
func (r *reader) readSmall(e *tree.Entry, f *os.File) (end int64, err error) {
	size := int(e.Size)
	e.Content = tree.Content{}
	if size == 0 {
		return 0, nil
	}
	free, err := r.in.Reserve(size)
	if err != nil {
		return 0, err
	}
	n, err := io.ReadFull(f, free[:size])
	if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
		return 0, &readError{err}
	}
	if n > 0 { // the times of a file that has shrunk show it later
		e.Content = tree.Content{Bytes: int64(n), Pieces: []tree.Piece{{Len: int64(n), Skip: int64(len(r.in.Gathered()))}}}
		r.in.Extend(n)
	}
	return int64(n), nil
}

// flushShared sends the gathered contents as one chunk, and sets its id in their entries.
func (r *reader) flushShared() error {
	n := len(r.in.Gathered())
	if n == 0 {
		return nil
	}
	plain := r.in.Detach(n)
	id := r.s.Keys.DataID(plain.Bytes)
	for _, e := range r.shared {
		e.Content.Pieces[0].ID = id
	}
	clear(r.shared)
	r.shared = r.shared[:0]
	r.s.countRead(int64(n))
	return r.s.up.PutData(id, plain)
}

// readLarge sends the first e.Size bytes of f, except for holes and long runs of zeros. It
// returns the offset up to which there was content. A failure to read f is a *readError.
func (r *reader) readLarge(e *tree.Entry, f *os.File) (end int64, err error) {
	if err := r.flushShared(); err != nil {
		return 0, err
	}
	w := tree.NewFileWriter(r.s.Keys, r.s.up.PutTree)
	for region, err := range osfs.DataRegions(f, e.Size, chunk.MinZeros) {
		if err != nil {
			return 0, &readError{err}
		}
		r.cutter.Reset(io.NewSectionReader(f, region.Off, region.Len), region.Off > 0, region.Off+region.Len < e.Size)
		got, err := r.sendPieces(w, region.Off, region.Len < e.Size)
		if got > region.Off {
			end = got // the file has at least this size
		}
		if err != nil {
			return 0, err
		}
	}
	e.Content, err = w.Finish()
	return end, err
}

// sendPieces sends the chunks that the cutter yields for content from off on, and returns the
// offset of its end. In a sparse file, long runs of zeros become holes. In a file without
// holes, which must be restored without holes, they become pieces of one chunk of zeros.
func (r *reader) sendPieces(w *tree.FileWriter, off int64, sparse bool) (int64, error) {
	for {
		plain, zeros, err := r.cutter.Next()
		if err == io.EOF {
			return off, nil
		}
		if r.ctx.Err() != nil {
			return off, context.Cause(r.ctx) // the file is not to blame
		}
		if err != nil {
			return off, &readError{err}
		}
		n := int64(len(plain.Bytes) + zeros)
		r.s.countRead(n)
		var id schemas.ChunkID
		if zeros > 0 && !sparse {
			id, err = r.s.zeros()
		} else if zeros == 0 {
			id = r.s.Keys.DataID(plain.Bytes)
			err = r.s.up.PutData(id, plain)
		}
		if err == nil && !id.IsZero() {
			err = w.Add(off, n, id)
		}
		if err != nil {
			return off, err
		}
		off += n
	}
}

// countRead counts bytes that were read.
func (s *saver) countRead(n int64) {
	s.read.Add(n)
	s.Progress.Bytes.Add(n)
	s.Progress.Sent.Store(s.up.Stats().Sent)
}

// sendZeros sends the chunk of zeros of which all long runs of zeros are pieces.
func (s *saver) sendZeros() (schemas.ChunkID, error) {
	plain, err := s.up.CopyPlain(make([]byte, chunk.MaxSize))
	if err != nil {
		return schemas.ChunkID{}, err
	}
	id := s.Keys.DataID(plain.Bytes)
	return id, s.up.PutData(id, plain)
}

// moveXattrs moves attributes that are too large for a leaf of the tree into chunks.
func (s *saver) moveXattrs(e *tree.Entry) error {
	if tree.XattrSize(e.Xattrs) <= tree.MaxInlineXattrs {
		return nil
	}
	b, err := tree.EncodeXattrs(e.Xattrs)
	if err != nil {
		s.reportUnreadable(e.Path, fmt.Errorf("its extended attributes are left out: %w", err))
		e.Xattrs, e.Ctime = nil, 0
		return nil
	}
	w := tree.NewFileWriter(s.Keys, s.up.PutTree)
	for off := 0; off < len(b); off += chunk.MaxSize {
		part := b[off:min(off+chunk.MaxSize, len(b))]
		plain, err := s.up.CopyPlain(part)
		if err != nil {
			return err
		}
		id := s.Keys.DataID(part)
		if err := s.up.PutData(id, plain); err != nil {
			return err
		}
		if err := w.Add(int64(off), int64(len(part)), id); err != nil {
			return err
		}
	}
	e.Xattrs = nil
	e.XattrContent, err = w.Finish()
	return err
}
