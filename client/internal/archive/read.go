package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"time"

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
	again  bool // what is read was counted before
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
		return s.moveXattrs(p)
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
				s.reportIncomplete(e.Path, p.Err)
				e.Ctime = 0 // so that the next backup tries again
			}
			return s.moveXattrs(p)
		}
	}
}

// readError is a failure to read a file. The backup goes on without the file.
type readError struct{ err error }

func (e *readError) Error() string { return e.err.Error() }

// extent is what was read of a file.
type extent struct {
	end int64 // the offset up to which there was content
	// short says that the file ended where stat or the map of its holes promised more.
	short bool
}

// size returns the size of a file as it was read. said is what stat said.
func (x extent) size(said int64) int64 {
	if x.short {
		return x.end // nothing is padded
	}
	return max(x.end, said) // it may end with a hole
}

// readFile reads a file once, to its end: its size, as stat says it, is a hint. again means that
// the file changed meanwhile or has another size, and has to be read again; the last attempt keeps
// what it read.
func (r *reader) readFile(p *pendingEntry, last bool) (again bool, err error) {
	e := p.Entry
	f, before, err := p.Open()
	if err != nil {
		return false, &readError{err}
	}
	defer f.Close()
	if p.Kind == osfs.Pseudo {
		// Some of these files wait for something to happen. Those that cannot are not asked to.
		_ = f.SetReadDeadline(time.Now().Add(pseudoTime))
	}
	opened := time.Now()
	fresh := osfs.MayRepeat(e.Ctime, p.Kind, opened)
	gathered := -1
	var got extent
	if small := e.Size <= chunk.MinSize; small {
		if len(r.in.Gathered())+int(e.Size) > chunk.MaxSize { // it has grown since it was bundled
			if err := r.flushShared(); err != nil {
				return false, err
			}
		}
		gathered = len(r.in.Gathered())
		got, err = r.readSmall(e, f, p.Kind)
	} else {
		got, err = r.readLarge(e, f, p.Kind)
	}
	shares := gathered >= 0 && len(r.in.Gathered()) > gathered
	same := true
	if err == nil && p.Kind != osfs.Pseudo && osfs.MayRepeat(e.Ctime, osfs.Ordinary, opened) {
		if shares {
			same, err = readsAs(f, r.in.Gathered()[gathered:])
		} else {
			same, err = r.readsSame(e, f, p.Kind)
		}
		same = same && (p.Err != nil || hasXattrs(f, e))
	}
	if err == nil {
		again, err = r.checkAfterRead(p, f, before, got, fresh, !same, last)
	}
	if shares && (err != nil || again) {
		r.in.Truncate(gathered)
		return again, err
	}
	if shares {
		r.shared = append(r.shared, e)
	}
	return again, err
}

// pseudoTime is how long a file that shows the kernel's state may keep a reader waiting.
const pseudoTime = 10 * time.Second

// A file that changed just now may change again within the same tick of the file system's clock:
// its times do not show that, and what is read may be of two moments. So it is read twice, and what
// reads the same is of one moment. readsAs reports whether a file still has the content b.
func readsAs(f *os.File, b []byte) (bool, error) {
	now := make([]byte, len(b)+1)
	n, err := f.ReadAt(now, 0)
	if err != nil && err != io.EOF {
		return false, &readError{osfs.WithoutPath(err)}
	}
	return bytes.Equal(now[:n], b), nil
}

// readsSame reports whether a file, whose content was sent as the entry has it, still has it.
func (r *reader) readsSame(e *tree.Entry, f *os.File, kind osfs.Kind) (bool, error) {
	if e.Size <= chunk.MinSize {
		if kind != osfs.Ordinary {
			return true, nil // it has a size that is only a hint, or no time to rely on
		}
		return readsAs(f, nil)
	}
	before := *e
	r.again = true
	_, err := r.readLarge(e, f, kind)
	r.again = false
	return err == nil && before.Equal(e), err
}

// hasXattrs reports whether a file still has the attributes that its entry has.
func hasXattrs(f *os.File, e *tree.Entry) bool {
	var now tree.Entry
	err := osfs.ReadFileXattrs(f, now.AddXattr)
	return err == nil && now.Equal(&tree.Entry{Xattrs: e.Xattrs})
}

// checkAfterRead checks whether a file, of which got was read, has changed since it was opened, and
// sets the entry's size. fresh says that its change time was too recent to show every change, torn
// that its content did change.
func (r *reader) checkAfterRead(p *pendingEntry, f *os.File, before os.FileInfo, got extent, fresh, torn, last bool) (again bool, err error) {
	after, err := osfs.Stat(f)
	if err != nil {
		return false, &readError{err}
	}
	e := p.Entry
	said, size := e.Size, got.size(e.Size)
	changed := torn || osfs.ChangedBetween(before, after)
	// Sizes that mean nothing are no sign of a change.
	differs := size != said && p.Kind != osfs.Pseudo && (p.Kind == osfs.Ordinary || said != 0)
	if (changed || differs) && !last {
		return true, nil
	}
	switch {
	case changed:
		r.s.reportTorn(p, schemas.Explain("", "file-changed", "the file changed while it was read; what was read of it is saved"))
	case differs:
		r.s.reportTorn(p, schemas.Explain("", "file-size-changed", "the file changed while it was read, or its size is not what the system says: {bytes} bytes were read and are saved, it says {said-bytes}", "bytes", size, "said-bytes", said))
	}
	e.Size = size
	if fresh || changed || differs {
		e.Ctime = 0 // so that the next backup reads it again
	}
	return false, nil
}

// readSmall reads a file that has at most the bytes of one chunk, as stat says, and gathers its
// content, perhaps behind that of others. The buffer has space for one byte more: a read that
// leaves it empty has met the end, so that the usual file takes one call. A longer file whose size
// is only a hint is sent like a stream.
func (r *reader) readSmall(e *tree.Entry, f *os.File, kind osfs.Kind) (got extent, err error) {
	size := int(e.Size)
	e.Content = tree.Content{}
	if size == 0 && kind == osfs.Ordinary {
		return extent{}, nil
	}
	free, err := r.in.Reserve(size + 1)
	if err != nil {
		return extent{}, err
	}
	free = free[:size+1]
	n := 0
	for n <= size {
		m, err := f.Read(free[n:])
		n += m
		if err == io.EOF || err == nil && n == size && kind == osfs.Ordinary {
			break
		}
		if err != nil {
			return extent{}, &readError{osfs.WithoutPath(err)}
		}
	}
	if n > size && kind != osfs.Ordinary {
		begin := bytes.Clone(free[:n])
		if err := r.flushShared(); err != nil {
			return extent{}, err
		}
		return r.readOn(e, io.MultiReader(bytes.NewReader(begin), f))
	}
	if n > 0 {
		e.Content = tree.Content{Bytes: int64(n), Pieces: []tree.Piece{{Len: int64(n), Skip: int64(len(r.in.Gathered()))}}}
		r.in.Extend(n)
	}
	return extent{int64(n), n < size}, nil
}

// readOn sends all that in yields as an entry's content.
func (r *reader) readOn(e *tree.Entry, in io.Reader) (got extent, err error) {
	w := tree.NewFileWriter(r.s.Keys, r.s.up.PutTree)
	r.cutter.Reset(in, false, false)
	if got.end, err = r.sendPieces(w, 0, false); err != nil {
		return got, err
	}
	e.Content, err = w.Finish()
	return got, err
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

// readLarge sends the content of f, to its end, except for holes and long runs of zeros. If the size
// that stat said is right unless the file grows, it reads one byte more at most, to notice that: a
// file may grow faster than it is read. A failure to read f is a *readError.
func (r *reader) readLarge(e *tree.Entry, f *os.File, kind osfs.Kind) (got extent, err error) {
	if err := r.flushShared(); err != nil {
		return got, err
	}
	w := tree.NewFileWriter(r.s.Keys, r.s.up.PutTree)
	longest := int64(math.MaxInt64)
	if kind == osfs.Ordinary {
		longest = e.Size + 1
	}
	in := io.NewSectionReader(f, 0, longest)
	var seen int64 // up to where the map of holes goes
	for region, err := range osfs.DataRegions(f, e.Size, chunk.MinZeros) {
		if err != nil {
			return got, &readError{err}
		}
		if err := r.readRegion(w, in, region, e.Size, &got); err != nil {
			return got, err
		}
		seen = region.Off + region.Len
	}
	if seen < e.Size { // it ends with a hole, or has grown since
		if err := r.readRegion(w, in, osfs.Extent{Off: e.Size}, e.Size, &got); err != nil {
			return got, err
		}
	}
	e.Content, err = w.Finish()
	return got, err
}

// readRegion sends a region of a file of the given size, or, if the region reaches its end, all of
// in that is left.
func (r *reader) readRegion(w *tree.FileWriter, in *io.SectionReader, region osfs.Extent, size int64, got *extent) error {
	end := region.Off + region.Len
	length := region.Len
	if end >= size {
		length = in.Size() - region.Off
	}
	r.cutter.Reset(io.NewSectionReader(in, region.Off, length), region.Off > 0, end < size)
	to, err := r.sendPieces(w, region.Off, region.Len < size)
	if to > region.Off {
		got.end = to // the file has at least this size
	}
	got.short = got.short || to < end
	return err
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
		if !r.again {
			r.s.countRead(n)
		}
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
func (s *saver) moveXattrs(p *pendingEntry) error {
	e := p.Entry
	if tree.XattrSize(e.Xattrs) <= tree.MaxInlineXattrs {
		return nil
	}
	b, err := tree.EncodeXattrs(e.Xattrs)
	if err != nil {
		p.Err = fmt.Errorf("its extended attributes are left out: %w", err)
		s.reportIncomplete(e.Path, p.Err)
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
