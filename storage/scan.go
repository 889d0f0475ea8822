package storage

import (
	"bytes"
	"errors"
	"io"
)

// readAhead is how much a scan reads at once, in bytes: enough that a spinning
// disk streams, little enough to be of no weight beside a batch.
const readAhead = 1 << 20

// recordState is what a scan found out about a record.
type recordState uint8

const (
	good       recordState = iota
	badBody                // the header is right, the body is not or is cut short
	unreadable             // bytes that no valid header claims
)

// record is one step of a scan: a record or a stretch of unreadable bytes.
type record struct {
	at    location
	size  int64 // bytes, header included
	state recordState
	head  recordHeader // zero if unreadable
}

// end is the offset behind the record.
func (r *record) end() int64 { return r.at.offset + r.size }

// key is that of a chunk's record.
func (r *record) key() indexKey { return partKey(r.head.vault, r.head.id, r.head.part()) }

// scanner walks the records of one segment in order and checks every byte.
type scanner struct {
	codec *codec
	file  io.ReaderAt
	at    location // where the next record begins
	end   int64    // the scan's end: an offset, at most the file's size

	// skipBad makes a sector that the disk cannot read count as damaged bytes.
	// Recovery does not set it: it must not take a disk that is out of reach
	// for one that was never written.
	skipBad bool

	buf   []byte // bytes of the file from start on
	start int64
}

// next is the next record; ok is false at the end. An error is the disk's: it
// says nothing about the records.
func (s *scanner) next() (r record, ok bool, err error) {
	if s.at.offset >= s.end {
		return r, false, nil
	}
	r = record{at: s.at}
	b, err := s.window(s.at.offset, recordHeaderSize)
	if err != nil {
		return r, false, err
	}
	if r.head, err = s.codec.decodeHeader(b, s.at); err != nil {
		r.state, r.head = unreadable, recordHeader{}
		r.size, err = s.findHeader()
	} else {
		err = s.checkBody(&r)
	}
	s.at.offset = r.end()
	return r, err == nil, err
}

// checkBody fills size and state of a record whose header is valid.
func (s *scanner) checkBody(r *record) error {
	r.size = min(r.head.size(), s.end-r.at.offset)
	if r.size < r.head.size() {
		r.state = badBody
		return nil
	}
	if !r.head.isChunk() {
		return nil
	}
	b, err := s.window(r.at.offset, int(r.size))
	if err != nil {
		return err
	}
	c := chunkOf(&r.head, b[recordHeaderSize:])
	if !bodyOK(&r.head, &c) || !edgesOK(&r.head, &c) {
		r.state = badBody
	}
	return nil
}

// findHeader is the distance to the next valid header, or to the scan's end.
func (s *scanner) findHeader() (int64, error) {
	pos := s.at.offset + 1
	for pos+recordHeaderSize <= s.end {
		b, err := s.window(pos, readAhead)
		if err != nil {
			return 0, err
		}
		i := bytes.Index(b, []byte(recordMagic))
		switch {
		case i < 0:
			// The last bytes may be the beginning of a magic.
			pos += int64(len(b) - len(recordMagic) + 1)
		case len(b)-i < recordHeaderSize && i > 0:
			pos += int64(i)
		default:
			at := location{s.at.segment, pos + int64(i)}
			if _, err := s.codec.decodeHeader(b[i:], at); err == nil {
				return at.offset - s.at.offset, nil
			}
			pos += int64(i) + 1
		}
	}
	return s.end - s.at.offset, nil
}

// window is the file's bytes from off, n of them or fewer at the scan's end.
// They are valid until the next call.
func (s *scanner) window(off int64, n int) ([]byte, error) {
	n = int(min(int64(n), s.end-off))
	if off < s.start || off > s.start+int64(len(s.buf)) {
		s.buf, s.start = s.buf[:0], off
	}
	if have := int(s.start + int64(len(s.buf)) - off); have < n {
		if err := s.fill(off, have, n); err != nil {
			return nil, err
		}
	}
	return s.buf[off-s.start:][:n], nil
}

// fill moves the have bytes that the buffer holds of off to its front and reads
// on, so that at least n are there.
func (s *scanner) fill(off int64, have, n int) error {
	want := int(min(int64(max(n, readAhead)), s.end-off))
	old := s.buf[len(s.buf)-have:]
	if cap(s.buf) < want {
		s.buf = make([]byte, want)
	}
	s.buf = s.buf[:want]
	copy(s.buf, old)
	s.start = off
	err := readFull(s.file, s.buf[have:], off+int64(have))
	if err != nil && s.skipBad {
		readAround(s.file, s.buf[have:], off+int64(have))
		err = nil
	}
	if err != nil {
		s.buf = s.buf[:0]
	}
	return err
}

// readFull is ReadAt where reading up to the end of the file is no error, but
// reading less is.
func readFull(f io.ReaderAt, b []byte, off int64) error {
	n, err := f.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// readAround reads what can be read, by sectors, and leaves zeros for the rest:
// no checksum fits them.
func readAround(f io.ReaderAt, b []byte, off int64) {
	const sector = 4096
	for len(b) > 0 {
		part := b[:min(sector-off%sector, int64(len(b)))]
		if err := readFull(f, part, off); err != nil {
			clear(part)
		}
		b, off = b[len(part):], off+int64(len(part))
	}
}

// scan makes a scanner of the file's bytes from at on, up to end or the file's
// end, whichever comes first.
func (s *Store) scan(f segmentFile, at location, end int64) (*scanner, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return &scanner{codec: s.codec, file: f, at: at, end: min(end, info.Size())}, nil
}
