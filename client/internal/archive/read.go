package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"servidor-backup/client/internal/chunk"
	"servidor-backup/client/internal/download"
	"servidor-backup/client/internal/osfs"
	"servidor-backup/client/internal/seal"
	"servidor-backup/client/internal/tree"
	"servidor-backup/client/internal/upload"
	"servidor-backup/schemas"
)

// Every chunk can be sealed. (The constant is negative, and this does not compile, if not.)
const _ = uint(seal.MaxPlain - chunk.MaxSize)

// reader reads files, one bundle after the other.
type reader struct {
	s      *saver
	ctx    context.Context
	in     *chunk.Intake
	cutter *chunk.Cutter
	// shared are the small files whose contents are gathered for one chunk.
	shared []*tree.Entry
}

// readAll is one reader.
func (s *saver) readAll(ctx context.Context) error {
	in := chunk.NewIntake(ctx, s.blocks)
	defer in.Close()
	r := &reader{s: s, ctx: ctx, in: in, cutter: chunk.NewCutter(nil, s.gear, in)}
	for b := range s.toRead {
		if ctx.Err() != nil {
			return nil // whoever ended it says why
		}
		err := r.bundle(ctx, b)
		for _, sv := range b {
			close(sv.ready)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// bundle makes the entries of a bundle whole. Only a failure that ends the backup
// is an error.
func (r *reader) bundle(ctx context.Context, files bundle) error {
	for _, sv := range files {
		if err := r.one(ctx, sv); err != nil {
			return err
		}
	}
	return r.flush()
}

// one makes an entry whole, but for the chunk that it shares with others.
func (r *reader) one(ctx context.Context, sv *saving) error {
	s, e := r.s, sv.Entry
	if e.Type != tree.TypeFile {
		return s.moveXattrs(e)
	}
	if s.Roots == nil {
		return r.stdin(ctx, e)
	}
	if sv.before != nil {
		held, err := s.canBeHad(ctx, sv.before)
		if err != nil {
			return err
		}
		if held {
			s.reuseContent(e, sv.before)
			return nil
		}
	}
	for attempt := 1; ; attempt++ {
		again, err := r.file(sv, attempt == attempts)
		var unreadable *readError
		if errors.As(err, &unreadable) {
			sv.drop = true
			s.giveUp(e.Path, unreadable.err)
			return nil
		}
		if err != nil {
			return err
		}
		if !again {
			if sv.Err != nil {
				s.giveUp(e.Path, sv.Err)
				e.Ctime = 0 // so that the next backup looks again
			}
			return s.moveXattrs(e)
		}
	}
}

// canBeHad reports whether the nodes have all of an entry's content.
func (s *saver) canBeHad(ctx context.Context, e *tree.Entry) (bool, error) {
	pieces := tree.NewPieces(ctx, s.Get, e.Content, e.Size)
	for more := true; more; {
		var ids []schemas.ChunkID
		for more && len(ids) < upload.MaxIDs {
			p, ok, err := pieces.Next()
			if download.IsDamage(err) {
				return false, nil
			}
			if err != nil {
				return false, err
			}
			if more = ok; ok {
				ids = append(ids, p.ID)
			}
		}
		if all, err := s.up.Recoverable(ctx, ids); err != nil || !all {
			return false, err
		}
	}
	return true, nil
}

// readError is a failure to read a file that is being saved; the backup goes on
// without the file.
type readError struct{ err error }

func (e *readError) Error() string { return e.err.Error() }

// file reads the file once. again means that it changed meanwhile; the last
// attempt keeps what it got.
func (r *reader) file(sv *saving, last bool) (again bool, err error) {
	e := sv.Entry
	f, before, err := sv.Open()
	if err != nil {
		return false, &readError{err}
	}
	defer f.Close()
	fresh := osfs.IsFresh(e.Ctime)
	small := e.Size <= chunk.MinSize
	if small && len(r.in.Gathered())+int(e.Size) > chunk.MaxSize { // it has grown since it was bundled
		if err := r.flush(); err != nil {
			return false, err
		}
	}
	gathered := len(r.in.Gathered())
	var end int64
	if small {
		end, err = r.small(e, f)
	} else {
		end, err = r.large(e, f)
	}
	if err == nil {
		again, err = r.stayed(e, f, before, end, fresh, last)
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

// stayed sees whether the file is still what it was before it was read to end.
func (r *reader) stayed(e *tree.Entry, f *os.File, before os.FileInfo, end int64, fresh, last bool) (again bool, err error) {
	after, err := f.Stat()
	if err != nil {
		return false, &readError{err}
	}
	if osfs.Changed(before, after) {
		if !last {
			return true, nil
		}
		r.s.giveUp(e.Path, errors.New("the file changed while it was read; what was read of it is saved"))
		// A file that shrank must not gain zeros; what was cut off is gone.
		e.Size = max(end, min(e.Size, after.Size()))
		fresh = true
	}
	if fresh {
		e.Ctime = 0 // so that the next backup reads it again
	}
	return false, nil
}

// small gathers a file of one chunk with one call. Others may share the chunk.
func (r *reader) small(e *tree.Entry, f *os.File) (end int64, err error) {
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
	if n > 0 { // a file that has shrunk is noticed by its times
		e.Content = tree.Content{Bytes: int64(n), Pieces: []tree.Piece{{Len: int64(n), Skip: int64(len(r.in.Gathered()))}}}
		r.in.Extend(n)
	}
	return int64(n), nil
}

// flush sends what is gathered as one chunk.
func (r *reader) flush() error {
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
	r.s.wasRead(int64(n))
	return r.s.up.PutData(id, plain)
}

// large sends the first e.Size bytes of f, but for holes and zeros. A failure of f
// is a *readError.
func (r *reader) large(e *tree.Entry, f *os.File) (end int64, err error) {
	if err := r.flush(); err != nil {
		return 0, err
	}
	w := tree.NewFileWriter(r.s.Keys, r.s.up.PutTree)
	for region, err := range osfs.Regions(f, e.Size, chunk.MinZeros) {
		if err != nil {
			return 0, &readError{err}
		}
		r.cutter.Reset(io.NewSectionReader(f, region.Off, region.Len), region.Off > 0, region.Off+region.Len < e.Size)
		got, err := r.pieces(w, region.Off, region.Len < e.Size)
		if got > region.Off {
			end = got // the file has not shrunk to less
		}
		if err != nil {
			return 0, err
		}
	}
	e.Content, err = w.Finish()
	return end, err
}

// pieces sends what the cutter yields, and returns the offset behind it. Long runs
// of zeros become holes of a sparse file; in one without holes, which comes back
// without, they are pieces of one chunk of zeros.
func (r *reader) pieces(w *tree.FileWriter, off int64, sparse bool) (int64, error) {
	for {
		plain, zeros, err := r.cutter.Next()
		if err == io.EOF {
			return off, nil
		}
		if r.ctx.Err() != nil {
			return off, context.Cause(r.ctx) // no fault of the file
		}
		if err != nil {
			return off, &readError{err}
		}
		n := int64(len(plain.Bytes) + zeros)
		r.s.wasRead(n)
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

// wasRead counts bytes that were read.
func (s *saver) wasRead(n int64) {
	s.read.Add(n)
	s.Progress.Bytes.Add(n)
	s.Progress.Sent.Store(s.up.Stats().Sent)
}

// sendZeros sends the chunk that all long runs of zeros are made of.
func (s *saver) sendZeros() (schemas.ChunkID, error) {
	plain, err := s.up.CopyPlain(make([]byte, chunk.MaxSize))
	if err != nil {
		return schemas.ChunkID{}, err
	}
	id := s.Keys.DataID(plain.Bytes)
	return id, s.up.PutData(id, plain)
}

// stdin reads to the end of standard input, or until ctx ends.
func (r *reader) stdin(ctx context.Context, e *tree.Entry) error {
	in := abandonable(ctx, r.s.Stdin)
	defer in.Close()
	w := tree.NewFileWriter(r.s.Keys, r.s.up.PutTree)
	r.cutter.Reset(in, false, false)
	size, err := r.pieces(w, 0, false)
	var failed *readError
	if errors.As(err, &failed) {
		return fmt.Errorf("read standard input: %w", failed.err)
	}
	if err != nil {
		return err
	}
	e.Size = size
	e.Content, err = w.Finish()
	return err
}

// abandonable is r, except that reads fail as soon as ctx ends or it is closed.
// A read of a pipe or terminal cannot be called off, so the goroutine that waits
// in one is left behind, until its read returns, or with the process.
func abandonable(ctx context.Context, r io.Reader) io.ReadCloser {
	out, in := io.Pipe()
	go func() {
		_, err := io.Copy(in, r)
		in.CloseWithError(err) // nil is the end of the stream
	}()
	context.AfterFunc(ctx, func() { in.CloseWithError(context.Cause(ctx)) })
	return out
}

// moveXattrs puts attributes that are too many for a tree's leaf into chunks.
func (s *saver) moveXattrs(e *tree.Entry) error {
	if tree.XattrSize(e.Xattrs) <= tree.MaxInlineXattrs {
		return nil
	}
	b, err := tree.EncodeXattrs(e.Xattrs)
	if err != nil {
		s.giveUp(e.Path, fmt.Errorf("its extended attributes are left out: %w", err))
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
