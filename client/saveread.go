package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// readAll is one reader.
func (s *saver) readAll(ctx context.Context) error {
	cutter := newChunker(nil, s.up.k.gear, nil)
	for sv := range s.toRead {
		if ctx.Err() != nil {
			return nil // whoever ended it says why
		}
		err := s.readOne(ctx, sv, cutter)
		close(sv.ready)
		if err != nil {
			return err
		}
	}
	return nil
}

// readOne makes the entry whole. Only a failure that ends the backup is an error.
func (s *saver) readOne(ctx context.Context, sv *saving, cutter *chunker) error {
	e := sv.Entry
	if e.Type != TypeFile {
		return s.moveXattrs(e)
	}
	if s.p.roots == nil {
		return s.readStdin(ctx, e, cutter)
	}
	if sv.same != nil {
		held, err := s.up.holds(ctx, sv.same)
		if err != nil {
			return err
		}
		if held {
			s.reuse(e, sv.same)
			return nil
		}
	}
	for attempt := 1; ; attempt++ {
		again, err := s.readFile(sv, cutter, attempt == attempts)
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
			}
			return s.moveXattrs(e)
		}
	}
}

// readError is a failure to read a file that is being saved; the backup goes on
// without the file.
type readError struct{ err error }

func (e *readError) Error() string { return e.err.Error() }

// readFile reads the file once. again means that it changed meanwhile; the last
// attempt keeps what it got.
func (s *saver) readFile(sv *saving, cutter *chunker, last bool) (again bool, err error) {
	e := sv.Entry
	f, before, err := sv.open()
	if err != nil {
		return false, &readError{err}
	}
	defer f.Close()
	fresh := time.Since(time.Unix(0, e.Ctime)) < trust
	w := newFileWriter(s.up.k, s.up.tree)
	if err := s.content(w, f, e.Size, cutter); err != nil {
		return false, err
	}
	end := w.end
	if e.Content, err = w.finish(); err != nil {
		return false, err
	}
	after, err := f.Stat()
	if err != nil {
		return false, &readError{err}
	}
	if changed(before, after) {
		if !last {
			return true, nil
		}
		s.giveUp(e.Path, errors.New("the file changed while it was read; what was read of it is saved"))
		// A file that shrank must not gain zeros; what was cut off is gone.
		e.Size = max(end, min(e.Size, after.Size()))
		fresh = true
	}
	if fresh {
		e.Ctime = 0 // so that the next backup reads it again
	}
	return false, nil
}

// content sends the first size bytes of f, but for holes, and tells w. A failure
// of f is a *readError.
func (s *saver) content(w *fileWriter, f *os.File, size int64, cutter *chunker) error {
	if size <= minChunk {
		return s.smallContent(w, f, size)
	}
	extents := dataExtents(f, size)
	for region, more := (extent{}), true; more; {
		var next extent
		var err error
		if next, more, err = extents.next(); err != nil {
			return &readError{err}
		}
		if end := region.Off + region.Len; more && region.Len > 0 && next.Off-end < smallHole {
			region.Len = next.Off + next.Len - region.Off
			continue
		}
		cutter.reset(io.NewSectionReader(f, region.Off, region.Len))
		if _, err := s.pieces(w, cutter, region.Off); err != nil {
			return err
		}
		region = next
	}
	return nil
}

// smallContent reads a file of one chunk with one call.
func (s *saver) smallContent(w *fileWriter, f *os.File, size int64) error {
	if size > 0 {
		if err := s.up.reserve(int(size)); err != nil {
			return err
		}
		plain := newPlain(int(size))
		n, err := io.ReadFull(f, plain)
		s.up.release(int(size) - n)
		if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
			s.up.release(n)
			return &readError{err}
		}
		if n > 0 { // a file that has shrunk is noticed by its times
			if err := s.piece(w, 0, plain[:n]); err != nil {
				return err
			}
		}
	}
	return nil
}

// pieces cuts until the cutter's reader ends, and returns the offset behind it.
func (s *saver) pieces(w *fileWriter, cutter *chunker, off int64) (int64, error) {
	for {
		chunk, err := cutter.next()
		if err == io.EOF {
			return off, nil
		}
		if err != nil {
			return off, &readError{err}
		}
		if err := s.up.reserve(len(chunk)); err != nil {
			return off, err
		}
		plain := newPlain(len(chunk))
		copy(plain, chunk)
		if err := s.piece(w, off, plain); err != nil {
			return off, err
		}
		off += int64(len(chunk))
	}
}

// piece sends one chunk whose room was reserved. plain becomes the uploader's.
func (s *saver) piece(w *fileWriter, off int64, plain []byte) error {
	n := int64(len(plain))
	s.read.Add(n)
	s.p.Progress.Bytes.Add(n)
	s.p.Progress.Sent.Store(s.up.sent.Load())
	id := s.up.k.dataID(plain)
	if err := s.up.data(id, plain); err != nil {
		return err
	}
	return w.add(off, n, id)
}

// readStdin reads to the end of standard input, or until ctx ends.
func (s *saver) readStdin(ctx context.Context, e *Entry, cutter *chunker) error {
	in := abandonable(ctx, s.p.Stdin)
	defer in.Close()
	cutter.reset(in)
	w := newFileWriter(s.up.k, s.up.tree)
	size, err := s.pieces(w, cutter, 0)
	var failed *readError
	if errors.As(err, &failed) {
		return fmt.Errorf("read standard input: %w", failed.err)
	}
	if err != nil {
		return err
	}
	e.Size = size
	e.Content, err = w.finish()
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
func (s *saver) moveXattrs(e *Entry) error {
	if xattrSize(e.Xattrs) <= maxInlineXattrs {
		return nil
	}
	b, err := encodeXattrs(e.Xattrs)
	if err != nil {
		s.giveUp(e.Path, fmt.Errorf("its extended attributes are left out: %w", err))
		e.Xattrs = nil
		return nil
	}
	w := newFileWriter(s.up.k, s.up.tree)
	for off := 0; off < len(b); off += maxChunk {
		part := b[off:min(off+maxChunk, len(b))]
		if err := s.up.reserve(len(part)); err != nil {
			return err
		}
		plain := newPlain(len(part))
		copy(plain, part)
		id := s.up.k.dataID(plain)
		if err := s.up.data(id, plain); err != nil {
			return err
		}
		if err := w.add(int64(off), int64(len(part)), id); err != nil {
			return err
		}
	}
	e.Xattrs = nil
	e.XattrContent, err = w.finish()
	return err
}
