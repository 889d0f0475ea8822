package storage

import (
	"fmt"
	"time"
)

// How far a scrub has come is in a file of its own, SCRUB. One that cannot be read
// costs a scrub that begins anew.

// ScrubPlace is what was given to SetScrubPlace last: the segment to go on with, and
// when the last whole round ended. Both are zero if nothing is known.
func (s *Store) ScrubPlace() (from uint32, ended time.Time) {
	b, err := readFile(s.fs, s.fs.PathJoin(s.dir, scrubName))
	if err != nil {
		return 0, time.Time{}
	}
	h, err := decodeFileHeader(b, scrubMagic)
	if err != nil || h.salt != s.identity.salt {
		return 0, time.Time{}
	}
	if h.created.Unix() > 0 {
		ended = h.created
	}
	return h.number, ended
}

// SetScrubPlace remembers how far a scrub has come.
func (s *Store) SetScrubPlace(from uint32, ended time.Time) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	h := s.identity
	h.magic, h.number, h.created = scrubMagic, from, ended
	if ended.IsZero() {
		h.created = time.Unix(0, 0)
	}
	if err := replaceFile(s.fs, s.dir, scrubName, h.encode()); err != nil {
		return fmt.Errorf("write %s: %w", scrubName, err)
	}
	return nil
}
