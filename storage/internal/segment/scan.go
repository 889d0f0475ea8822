package segment

import (
	"bytes"
	"errors"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// readAhead is how many bytes a scan reads at once: enough that a spinning disk
// streams, and little beside the memory that a batch takes.
const readAhead = 1 << 20

// State is what a scan found out about a record.
type State uint8

const (
	Good       State = iota
	BadBody          // the header is valid, the body is damaged or cut off
	Unreadable       // bytes that belong to no valid header
)

// Record is one step of a scan: a record, or a stretch of unreadable bytes.
type Record struct {
	At    Location
	Size  int64 // bytes, header included
	State State
	Head  Header // zero if Unreadable
}

// End returns the offset behind the record.
func (r *Record) End() int64 { return r.At.Offset + r.Size }

// File is the part of a segment's file that a scan uses.
type File interface {
	io.ReaderAt
	Stat() (vfs.FileInfo, error)
}

// Scanner reads the records of one segment in order and checks every byte.
type Scanner struct {
	// SkipUnreadable makes a sector that the disk cannot read count as damaged
	// bytes. Recovery must not set it for the segment that it lets the writer go on with: it
	// would take the bytes of a disk that does not respond for bytes that were never written.
	SkipUnreadable bool

	codec *Codec
	file  io.ReaderAt
	at    Location // where the next record begins
	end   int64    // offset at which the scan ends

	buf   []byte // bytes of the file from offset start on
	start int64

	unread error // the first error of a sector that was skipped
}

// NewScanner returns a scanner of the file's records from at on, up to the offset
// end or to the file's end, whichever comes first.
func NewScanner(codec *Codec, f File, at Location, end int64) (*Scanner, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return &Scanner{codec: codec, file: f, at: at, end: min(end, info.Size())}, nil
}

// End returns the offset at which the scan ends.
func (s *Scanner) End() int64 { return s.end }

// Unread returns why the disk could not read bytes that were skipped, or nil.
func (s *Scanner) Unread() error { return s.unread }

// Next returns the next record; ok is false at the end. An error comes from the
// disk and says nothing about the records.
func (s *Scanner) Next() (r Record, ok bool, err error) {
	if s.at.Offset >= s.end {
		return r, false, nil
	}
	r = Record{At: s.at}
	b, err := s.Bytes(s.at.Offset, HeaderSize)
	if err != nil {
		return r, false, err
	}
	if r.Head, err = s.codec.DecodeHeader(b, s.at); err != nil {
		r.State, r.Head = Unreadable, Header{}
		r.Size, err = s.findHeader()
	} else {
		err = s.checkBody(&r)
	}
	s.at.Offset = r.End()
	return r, err == nil, err
}

// checkBody sets the size and the state of a record whose header is valid.
func (s *Scanner) checkBody(r *Record) error {
	r.Size = min(r.Head.Size(), s.end-r.At.Offset)
	if r.Size < r.Head.Size() {
		r.State = BadBody
		return nil
	}
	if !r.Head.IsChunk() {
		return nil
	}
	b, err := s.Bytes(r.At.Offset, int(r.Size))
	if err != nil {
		return err
	}
	c := r.Head.Chunk(b[HeaderSize:])
	if !r.Head.Matches(&c) || !r.Head.EdgesMatch(&c) {
		r.State = BadBody
	}
	return nil
}

// findHeader returns the distance to the next valid header, or to the scan's end.
func (s *Scanner) findHeader() (int64, error) {
	pos := s.at.Offset + 1
	for pos+HeaderSize <= s.end {
		b, err := s.Bytes(pos, readAhead)
		if err != nil {
			return 0, err
		}
		i := bytes.Index(b, []byte(recordMagic))
		switch {
		case i < 0:
			// The last bytes may be the beginning of a magic.
			pos += int64(len(b) - len(recordMagic) + 1)
		case len(b)-i < HeaderSize && i > 0:
			pos += int64(i)
		default:
			at := Location{s.at.Segment, pos + int64(i)}
			if _, err := s.codec.DecodeHeader(b[i:], at); err == nil {
				return at.Offset - s.at.Offset, nil
			}
			pos += int64(i) + 1
		}
	}
	return s.end - s.at.Offset, nil
}

// Bytes returns n bytes of the file from the offset on, or fewer at the scan's
// end. They are valid until the next call of Bytes or Next.
func (s *Scanner) Bytes(offset int64, n int) ([]byte, error) {
	n = int(min(int64(n), s.end-offset))
	if offset < s.start || offset > s.start+int64(len(s.buf)) {
		s.buf, s.start = s.buf[:0], offset
	}
	if have := int(s.start + int64(len(s.buf)) - offset); have < n {
		if err := s.fill(offset, have, n); err != nil {
			return nil, err
		}
	}
	return s.buf[offset-s.start:][:n], nil
}

// fill moves the have bytes that the buffer already holds from offset on to its
// front and reads on, until it holds at least n.
func (s *Scanner) fill(offset int64, have, n int) error {
	want := int(min(int64(max(n, readAhead)), s.end-offset))
	old := s.buf[len(s.buf)-have:]
	if cap(s.buf) < want {
		s.buf = make([]byte, want)
	}
	s.buf = s.buf[:want]
	copy(s.buf, old)
	s.start = offset
	err := ReadFull(s.file, s.buf[have:], offset+int64(have))
	if err != nil && s.SkipUnreadable {
		if unread := readSectors(s.file, s.buf[have:], offset+int64(have)); s.unread == nil {
			s.unread = unread
		}
		err = nil
	}
	if err != nil {
		s.buf = s.buf[:0]
	}
	return err
}

// ReadFull fills b from the offset on. Unlike ReadAt, it returns no error when b
// ends with the file, and io.ErrUnexpectedEOF when the file ends before b is full.
func ReadFull(f io.ReaderAt, b []byte, offset int64) error {
	n, err := f.ReadAt(b, offset)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// readSectors fills b sector by sector. It leaves zeros for a sector that cannot
// be read; no checksum matches them. It returns the first error.
func readSectors(f io.ReaderAt, b []byte, offset int64) (first error) {
	const sector = 4096
	for len(b) > 0 {
		part := b[:min(sector-offset%sector, int64(len(b)))]
		if err := ReadFull(f, part, offset); err != nil {
			clear(part)
			if first == nil {
				first = err
			}
		}
		b, offset = b[len(part):], offset+int64(len(part))
	}
	return first
}
