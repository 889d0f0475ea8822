package gc

import (
	"slices"

	"servidor-backup/bus/replica"
	"servidor-backup/schemas"
)

// maxCheckpoint is how many checkpoint chunks of one record are followed: enough for some 15
// million chunks that were sent. What was sent before those is collected.
const maxCheckpoint = 65536

// markCheckpoint marks the chunks of a checkpoint, newest first. It does not look below them: all
// that was sent is named. What is missing is no damage: the next backup sends it again.
func (m *marker) markCheckpoint(vault schemas.VaultID, root schemas.ChunkID) error {
	for range maxCheckpoint {
		if root.IsZero() {
			return nil
		}
		if _, err := m.markBatch(vault, []schemas.ChunkID{root}); err != nil {
			return err
		}
		var found schemas.Chunk
		err := m.nodes.reader.Fetch(m.ctx, vault, []schemas.ChunkID{root}, true, func(_ int, c *schemas.Chunk) error {
			found = schemas.Chunk{Trees: slices.Clone(c.Trees), Data: slices.Clone(c.Data)}
			return nil
		})
		switch schemas.CodeOf(err) {
		case schemas.NotHeld, schemas.Corrupt:
			return nil
		}
		if err != nil {
			return err
		}
		for batch := range slices.Chunk(found.Data, replica.MaxIDs) {
			if _, err := m.markBatch(vault, batch); err != nil {
				return err
			}
		}
		root = schemas.ChunkID{}
		if len(found.Trees) > 0 {
			root = found.Trees[0]
		}
		m.progress.update()
	}
	return nil
}
