package archive

import (
	"context"

	"servidor-backup/client/internal/download"
	"servidor-backup/client/internal/tree"
	"servidor-backup/client/internal/upload"
	"servidor-backup/schemas"
)

// isUnchanged decides whether a file is unchanged since the parent version. before is its
// entry there, or nil; e is what lstat tells now. Any change sets the change time. A change
// time of 0 in e or before never counts as equal: it was not trustworthy, or the system has
// none.
func isUnchanged(e, before *tree.Entry) bool {
	return before != nil && before.Type == e.Type && before.HardLink == "" &&
		before.Size == e.Size && before.Mtime == e.Mtime && before.Ino == e.Ino &&
		before.Ctime == e.Ctime && e.Ctime != 0
}

// reuseContent takes the content of an unchanged file from the parent's entry.
func (s *saver) reuseContent(e, before *tree.Entry) {
	e.Content = before.Content
	s.unchanged.Add(1)
	s.Progress.Bytes.Add(e.Size)
}

// isRecoverable reports whether the nodes hold enough of all chunks of the content of a
// parent's entry.
func (s *saver) isRecoverable(ctx context.Context, e *tree.Entry) (bool, error) {
	pieces := tree.NewPieces(ctx, s.Parent.Get, e.Content, e.Size)
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
