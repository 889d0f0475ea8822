package seal

import (
	"fmt"

	"servidor-backup/schemas"
)

// SealLabel seals the label of a version: its id (32 bytes), then its frame. No chunk has
// the id of a label, so no chunk can stand for one.
func (k *Keys) SealLabel(plain []byte) ([]byte, error) {
	id := k.labelID(plain)
	return k.Seal(id[:], id, plain, CompressDefault)
}

// OpenLabel opens what SealLabel made and checks that it matches its id. The error of a
// label that does not is [ErrDamaged].
func (k *Keys) OpenLabel(sealed []byte) ([]byte, error) {
	var id schemas.ChunkID
	if len(sealed) < len(id) {
		return nil, fmt.Errorf("it is cut short: %w", ErrDamaged)
	}
	copy(id[:], sealed)
	plain, err := k.open(nil, id, sealed[len(id):])
	if err != nil {
		return nil, err
	}
	if k.labelID(plain) != id {
		return nil, errWrongID(id)
	}
	return plain, nil
}

func (k *Keys) labelID(plain []byte) schemas.ChunkID { return k.labelIDs.sum(plain) }
