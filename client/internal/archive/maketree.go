package archive

import (
	"context"
	"errors"
	"fmt"

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
		if err := s.addToTree(w, p); err != nil {
			return root, err
		}
	}
	if ctx.Err() != nil {
		return root, context.Cause(ctx)
	}
	return w.Finish()
}

// addToTree adds one entry, unless it could not be read.
func (s *saver) addToTree(w *tree.Writer, p *pendingEntry) error {
	e := p.Entry
	if _, dropped := s.dropped[e.HardLink]; dropped && e.HardLink != "" {
		s.reportUnreadable(e.Path, fmt.Errorf("it is another name of %q, which could not be read", e.HardLink))
		return nil
	}
	if p.drop {
		s.noteDropped(p)
		return nil
	}
	err := w.Reuse(e, p.reused)
	if errors.Is(err, tree.ErrBadEntry) {
		s.reportUnreadable(e.Path, err)
		s.noteDropped(p)
		return nil
	}
	if err != nil {
		return err
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

// noteDropped remembers a file that is not in the version, if it may have further names.
func (s *saver) noteDropped(p *pendingEntry) {
	if p.Nlink > 1 {
		s.dropped[p.Path] = struct{}{}
	}
}
