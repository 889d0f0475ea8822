package archive

import (
	"context"
	"errors"
	"math"

	"servidor-backup/client/internal/tree"
	"servidor-backup/schemas"
)

// makeTree adds the entries of the queue to the tree, in order, and returns its root.
func (s *saver) makeTree(ctx context.Context) (root schemas.ChunkID, err error) {
	w := tree.NewWriter(s.Keys, s.up.PutTree)
	for p := range s.queue {
		if p.ready != nil {
			select {
			case <-p.ready:
			case <-ctx.Done():
				return root, context.Cause(ctx)
			}
		}
		if err := s.addToTree(ctx, w, p); err != nil {
			return root, err
		}
	}
	if ctx.Err() != nil {
		return root, context.Cause(ctx)
	}
	return w.Finish()
}

// addToTree adds one entry, unless it could not be read.
func (s *saver) addToTree(ctx context.Context, w *tree.Writer, p *pendingEntry) error {
	if p.further {
		if err := s.completeFurther(ctx, p); err != nil {
			return err
		}
	}
	if p.drop {
		return nil
	}
	e := p.Entry
	err := w.Reuse(e, p.reused)
	if errors.Is(err, tree.ErrBadEntry) {
		s.reportUnreadable(e.Path, err)
		return nil
	}
	if err != nil {
		return err
	}
	if e.Mtime == math.MaxInt64 || e.Mtime == math.MinInt64 {
		s.reportIncomplete(e.Path, errors.New("its modification time is before 1678 or after 2262, which cannot be kept: the nearest that can be is saved"))
	}
	if p.file != nil && p.file.entry == nil {
		first := *e
		p.file.entry, p.file.torn, p.file.lacking = &first, p.torn, p.Err
	}
	if e.Type != tree.TypeDir {
		s.files.Add(1)
		s.Progress.Files.Add(1)
	}
	if e.HardLink == "" {
		s.bytes.Add(e.Size)
	}
	return nil
}

// completeFurther completes the entry of a further name from that of the first. If no earlier
// name could be saved, the file is read now.
func (s *saver) completeFurther(ctx context.Context, p *pendingEntry) error {
	first := p.file.entry
	if first == nil {
		return s.readNow(ctx, p)
	}
	p.Entry.BecomeNameOf(first)
	if p.file.torn != nil {
		s.reportUnreadable(p.Path, p.file.torn)
	}
	if p.file.lacking != nil {
		s.reportIncomplete(p.Path, p.file.lacking)
	}
	s.Progress.Bytes.Add(first.Size)
	if !s.recheck && p.Entry.Equal(p.before) {
		p.reused = p.at
	}
	return nil
}

// readNow reads an entry in the goroutine that makes the tree.
func (s *saver) readNow(ctx context.Context, p *pendingEntry) error {
	if p.Entry.Type != tree.TypeFile {
		if !s.readRest(&p.Item) {
			p.drop = true
			return nil
		}
		return s.moveXattrs(p)
	}
	r := s.newReader(ctx)
	defer r.in.Close()
	return r.readEntries(ctx, readGroup{p})
}
