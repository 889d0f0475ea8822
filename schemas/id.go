package schemas

import (
	"encoding/hex"
	"errors"
	"sync"

	"github.com/vmihailenco/msgpack/v5"
	"github.com/zeebo/blake3"
)

// ChunkID names a chunk inside its vault. The id of a sealed chunk is a keyed
// 256-bit BLAKE3 of the plaintext, so only the holder of the vault's key can
// compute or test it. For the seed's unsealed chunks see [PlainChunkID].
type ChunkID [32]byte

// VaultID names a vault on storage nodes: the scope of deduplication and of
// garbage collection. See [SealedVault] and [PlainVault].
type VaultID [16]byte

// NodeID names a storage node. It is chosen once, when the node's directory is
// made, and is a single token of a NATS subject (see [ValidNodeID]).
type NodeID string

// Sum is the checksum of a stored chunk or shard; see [Chunk.Checksum].
type Sum [32]byte

// SourceID identifies, to the server, the source of a record's content: a keyed hash of
// host and path, which is equal for equal sources and reveals nothing else. The zero
// SourceID stands for "no source" (the seed's transmit).
type SourceID [16]byte

// String is the id in hex.
func (id ChunkID) String() string { return hex.EncodeToString(id[:]) }

// Short is the first four bytes in hex, for texts that people read.
func (id ChunkID) Short() string { return hex.EncodeToString(id[:4]) }

// IsZero reports whether id is the zero id, which names no chunk.
func (id ChunkID) IsZero() bool { return id == ChunkID{} }

// String is the id in hex.
func (id VaultID) String() string { return hex.EncodeToString(id[:]) }

// String is the checksum in hex.
func (s Sum) String() string { return hex.EncodeToString(s[:]) }

// SealedVault is the vault of a nickname's chunks that clients have sealed.
func SealedVault(nickname string) VaultID { return vaultID("sealed", nickname) }

// PlainVault is the vault of a nickname's unsealed chunks, which come through the seed's
// backup.transmit. It is separate from the sealed vault, so that nothing that the seed's
// trust model allows touches sealed data.
func PlainVault(nickname string) VaultID { return vaultID("plain", nickname) }

// CatalogueVault is the vault of the catalogue backup that nodes hold.
func CatalogueVault() VaultID { return catalogueVault() }

var catalogueVault = sync.OnceValue(func() VaultID { return vaultID("catalogue", "") })

func vaultID(kind, nickname string) (id VaultID) {
	blake3.DeriveKey("servidor-backup 2026 vault id "+kind, []byte(nickname), id[:])
	return id
}

// PlainChunkID is the id of an unsealed chunk: a BLAKE3 keyed by the vault's
// id, which is public. It protects the content against damage but hides nothing.
func PlainChunkID(vault VaultID, content []byte) (id ChunkID) {
	p, _ := plainHashers.Get().(*plainHasher)
	if p == nil || p.vault != vault {
		p = newPlainHasher(vault)
	}
	defer plainHashers.Put(p)
	p.h.Reset()
	p.h.Write(content)
	p.h.Sum(id[:0])
	return id
}

// plainHasher computes ids of one vault's plain chunks. Making one takes many times as long as
// hashing an entry of the catalogue, and a coordinator hashes all of them when it starts.
type plainHasher struct {
	vault VaultID
	h     *blake3.Hasher
}

var plainHashers sync.Pool // of *plainHasher

func newPlainHasher(vault VaultID) *plainHasher {
	var key [32]byte
	blake3.DeriveKey("servidor-backup 2026 plain chunk id", vault[:], key[:])
	h, err := blake3.NewKeyed(key[:])
	if err != nil {
		panic(err) // impossible: the key has the right length
	}
	return &plainHasher{vault, h}
}

// ValidNodeID reports whether s can be a node's id: 1 to 32 lower-case letters
// and digits.
func ValidNodeID(s NodeID) bool {
	if len(s) == 0 || len(s) > 32 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return true
}

var errIDLength = errors.New("an id has the wrong length")

// Ids travel as msgpack bin of their exact length.

func (id ChunkID) EncodeMsgpack(e *msgpack.Encoder) error   { return e.EncodeBytes(id[:]) }
func (id VaultID) EncodeMsgpack(e *msgpack.Encoder) error   { return e.EncodeBytes(id[:]) }
func (s Sum) EncodeMsgpack(e *msgpack.Encoder) error        { return e.EncodeBytes(s[:]) }
func (id SourceID) EncodeMsgpack(e *msgpack.Encoder) error  { return e.EncodeBytes(id[:]) }
func (id *ChunkID) DecodeMsgpack(d *msgpack.Decoder) error  { return decodeID(d, id[:]) }
func (id *VaultID) DecodeMsgpack(d *msgpack.Decoder) error  { return decodeID(d, id[:]) }
func (s *Sum) DecodeMsgpack(d *msgpack.Decoder) error       { return decodeID(d, s[:]) }
func (id *SourceID) DecodeMsgpack(d *msgpack.Decoder) error { return decodeID(d, id[:]) }

func decodeID(d *msgpack.Decoder, id []byte) error {
	b, err := d.DecodeBytes()
	if err != nil {
		return err
	}
	if len(b) != len(id) {
		return errIDLength
	}
	copy(id, b)
	return nil
}
