package storage

import (
	"context"
	"errors"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// ScrubOptions say how [Store.Scrub] goes about it. The zero value is good.
type ScrubOptions struct {
	// From is the segment to begin with, as Progress gave it; 0 is the first.
	From uint32
	// Pace is called after so many bytes were read, and may wait; nil is fine.
	Pace func(ctx context.Context, bytes int64) error
	// Progress is told now and then how much is done, from 0 to 1, and where to go on
	// if it ends here; nil is fine.
	Progress func(done float64, from uint32)
	// Found is called for each problem, unless it was known before; nil is fine.
	Found func(Problem)
}

// ScrubResult is what a scrub read and found.
type ScrubResult struct {
	Records int64
	Bytes   int64 // of records
	Found   int64 // problems that were not known before
}

// Scrub reads the store back, segment by segment, as it is when the scrub begins. Puts,
// reads, sweeps and compactions go on meanwhile. A part that it finds damaged is not
// held from then on, so the next Put replaces it. That is so as well where the disk does not read
// what a record begins with, if it reads what is behind it; a segment of which it reads
// nothing more is told of and nothing else, as the disk may come back.
//
// The error is ctx's, or the store was closed, or the index cannot be read. What was
// done stays done.
func (s *Store) Scrub(ctx context.Context, how ScrubOptions) (ScrubResult, error) {
	if err := s.enter(); err != nil {
		return ScrubResult{}, err
	}
	defer s.leave()
	c := &check{s: s, ctx: ctx, found: how.Found, news: true, until: s.index.snapshot().position, told: map[indexKey]bool{}}
	if c.found == nil {
		c.found = func(Problem) {}
	}
	var err error
	for n := max(how.From, 1); n <= c.until.segment && err == nil; n++ {
		c.after = func(r *record, end int64) error {
			if how.Progress != nil {
				how.Progress((float64(n-1)+float64(r.end())/float64(end))/float64(c.until.segment), n)
			}
			if how.Pace != nil {
				return how.Pace(ctx, r.size)
			}
			return nil
		}
		err = c.scrub(n)
	}
	return ScrubResult{Records: c.report.Records, Bytes: c.report.Bytes, Found: c.report.Problems}, err
}

// scrub checks one segment. If fewer bytes of records are found than entries pointed to
// at the beginning, some are at a place where no record is, and those that are left are
// followed there.
func (c *check) scrub(n uint32) error {
	if c.s.wasRemoved(n) {
		return nil
	}
	was := c.s.index.usage(n).live
	c.live, c.holes = 0, nil
	if err := c.bytes(cachedSegment{c.s, n}, n); err != nil || c.live >= was {
		return err
	}
	return c.eachEntry(func(k indexKey, e entry) error {
		if e.segment != n || e.corrupt {
			return nil
		}
		return c.follow(k, &e)
	})
}

// cachedSegment reads a segment that may be removed meanwhile: between two reads it is
// nobody's.
type cachedSegment struct {
	s *Store
	n uint32
}

func (c cachedSegment) ReadAt(b []byte, off int64) (n int, err error) {
	err = c.use(func(f vfs.File) error {
		n, err = f.ReadAt(b, off)
		return err
	})
	return n, err
}

func (c cachedSegment) Stat() (info vfs.FileInfo, err error) {
	err = c.use(func(f vfs.File) error {
		info, err = f.Stat()
		return err
	})
	return info, err
}

func (c cachedSegment) use(do func(vfs.File) error) error {
	c.s.moving.RLock()
	defer c.s.moving.RUnlock()
	f, err := c.s.files.acquire(c.n)
	if err != nil {
		return err
	}
	return errors.Join(do(f), c.s.files.release(f))
}
