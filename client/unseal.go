package client

import (
	"fmt"

	"servidor-backup/schemas"
)

// unseal is openData for a frame that is the caller's to lose: it is decrypted
// where it stands. What comes back is a part of frame or, if it had to be
// unpacked, of buf, which is empty and has room for a chunk; nothing is copied.
func (k *keys) unseal(buf []byte, id schemas.ChunkID, frame []byte) ([]byte, error) {
	inner, err := k.decrypt(frame[min(1+nonceSize, len(frame)):], id, frame)
	if err != nil {
		return nil, err
	}
	packing, length, body, err := parseInner(inner)
	plain := body
	if err == nil && packing == packZstd {
		plain, err = decompress(buf, body, length)
	}
	if err != nil {
		return nil, malformed(id, err)
	}
	if k.dataID(plain) != id {
		return nil, wrongID(id)
	}
	return plain, nil
}

// decrypt returns what is encrypted in a frame. It goes to room, from its start
// on, which may be the frame's own bytes behind the nonce.
func (k *keys) decrypt(room []byte, id schemas.ChunkID, frame []byte) ([]byte, error) {
	if len(frame) > 0 && frame[0] > frameVersion {
		return nil, schemas.Errorf(schemas.TooNew, "chunk %s is sealed in version %d, and this program knows version %d: use a newer program", id.Short(), frame[0], frameVersion)
	}
	if len(frame) < 1+nonceSize+tagSize || frame[0] != frameVersion || len(frame) > schemas.MaxContent {
		return nil, fmt.Errorf("chunk %s is not a sealed frame: %w", id.Short(), ErrDamaged)
	}
	nonce, sealed := frame[1:1+nonceSize], frame[1+nonceSize:]
	inner, err := k.aead(id).Open(room[:0], nonce, sealed, associated(id))
	if err != nil {
		return nil, fmt.Errorf("chunk %s does not open: %w", id.Short(), ErrDamaged)
	}
	return inner, nil
}
