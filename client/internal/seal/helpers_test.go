package seal

import (
	"bytes"
	"fmt"

	"servidor-backup/client/internal/clienttest"
	"servidor-backup/schemas"
)

// testKey returns a fixed key: what this package's tests pin is pinned for it.
func testKey() VaultKey { return clienttest.Key() }

// zeroReader yields zeros: nonces that tests can pin.
type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// fixedKeys returns keys whose frames are the same every time.
func fixedKeys() *Keys {
	k := New(testKey())
	k.nonces = zeroReader{}
	return k
}

// text returns n bytes that compress well.
func text(n int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "line %d of a log that says much the same all day\n", i)
	}
	return b.Bytes()[:n]
}

// A backup seals straight into messages, and a restore opens frames in place. The
// following helpers take and leave slices as they are.

// sealData appends to dst the frame of the data chunk id.
func (k *Keys) sealData(dst []byte, id schemas.ChunkID, plain []byte, opt options) ([]byte, error) {
	c := schemas.Chunk{ID: id, Kind: schemas.Data}
	return k.appendFrame(dst, &c, plain, opt)
}

// sealTree appends to dst the frame of a tree chunk with these edges.
func (k *Keys) sealTree(dst []byte, id schemas.ChunkID, trees, data []schemas.ChunkID, payload []byte, opt options) ([]byte, error) {
	c := schemas.Chunk{ID: id, Kind: schemas.Tree, Trees: trees, Data: data}
	return k.appendFrame(dst, &c, payload, opt)
}

// openDataCopy appends to dst the plaintext of a data chunk if it matches id. On an error
// it returns dst.
func (k *Keys) openDataCopy(dst []byte, id schemas.ChunkID, frame []byte) ([]byte, error) {
	plain, err := k.open(dst, id, frame)
	if err != nil {
		return dst, err
	}
	if k.DataID(plain[len(dst):]) != id {
		return dst, errWrongID(id)
	}
	return plain, nil
}
