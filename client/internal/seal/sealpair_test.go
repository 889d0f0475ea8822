package seal

import "servidor-backup/schemas"

// The backup seals straight into messages and a restore opens in place; tests have
// these, which take and leave slices as they are.

// sealTree is sealData for a tree chunk with these edges.
func (k *Keys) sealTree(dst []byte, id schemas.ChunkID, trees, data []schemas.ChunkID, payload []byte, opt options) ([]byte, error) {
	c := schemas.Chunk{ID: id, Kind: schemas.Tree, Trees: trees, Data: data}
	return k.sealTo(dst, &c, payload, opt)
}

// openDataCopy appends to dst the plaintext of a data chunk, once it has proved to
// be what id names. On an error dst comes back as it was.
func (k *Keys) openDataCopy(dst []byte, id schemas.ChunkID, frame []byte) ([]byte, error) {
	plain, err := k.Open(dst, id, frame)
	if err != nil {
		return dst, err
	}
	if k.DataID(plain[len(dst):]) != id {
		return dst, errWrongID(id)
	}
	return plain, nil
}
