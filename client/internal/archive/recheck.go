package archive

import (
	"context"

	"servidor-backup/client/internal/download"
	"servidor-backup/client/internal/tree"
	"servidor-backup/client/internal/upload"
	"servidor-backup/schemas"
)

// isRecoverable reports whether the nodes hold enough of all chunks of the content of a
// parent's entry. It makes its own getter: a node that went down since the backup began must not
// turn a lost chunk, for which the file is read again, into an error that ends the backup.
func (s *saver) isRecoverable(ctx context.Context, e *tree.Entry) (bool, error) {
	pieces := tree.NewPieces(ctx, s.Parent.NewGetter(), e.Content, e.Size)
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
		all, err := s.up.Recoverable(ctx, ids)
		if download.IsDamage(err) {
			return false, nil // the disk of a node that may hold it does not answer
		}
		if err != nil || !all {
			return false, err
		}
	}
	return true, nil
}
