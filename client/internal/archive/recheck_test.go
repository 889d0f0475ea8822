package archive

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"servidor-backup/client/internal/clienttest"
	"servidor-backup/client/internal/seal"
	"servidor-backup/client/internal/tree"
	"servidor-backup/schemas"
)

// A getter that was made before a node went down does not take a chunk for lost. Nevertheless a
// lost chunk of an unchanged file means that the file is read again, and not that the backup ends.
func TestLostContentAfterANodeWentDownIsNotRecoverable(t *testing.T) {
	var down atomic.Bool
	s := newSaver(&fakeUploader{ctx: t.Context()}, Options{
		Keys: seal.New(seal.VaultKey(clienttest.Key())),
		Parent: &Parent{Recheck: true, NewGetter: func() tree.Getter {
			wasUp := !down.Load()
			return func(context.Context, []schemas.ChunkID) ([]tree.Node, error) {
				if wasUp && down.Load() {
					return nil, errors.New("a storage node that may hold it is no longer up")
				}
				return nil, schemas.Errorf(schemas.NotHeld, "no node holds it")
			}
		}},
	})
	defer s.parentTree.Close()
	down.Store(true)
	e := &tree.Entry{Path: "f", Type: tree.TypeFile, Size: 1, Content: tree.Content{Tree: schemas.ChunkID{1}, Bytes: 1}}
	if recoverable, err := s.isRecoverable(t.Context(), e); recoverable || err != nil {
		t.Errorf("lost content is recoverable: %v, %v", recoverable, err)
	}
}
