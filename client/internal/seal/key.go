package seal

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/zeebo/blake3"

	"servidor-backup/schemas"
)

// VaultKey is the secret of one vault: 256 random bits from which every other
// key is derived. With it, anyone can read the vault's chunks and make new ones;
// without it nobody can, not even the vault's owner.
type VaultKey [32]byte

func newVaultKey() VaultKey {
	var key VaultKey
	rand.Read(key[:]) // never fails
	return key
}

// Fingerprint is equal for equal keys and says nothing else about them, so the
// server may know it. With it, a client notices that it is about to mix two keys
// in one vault.
func (key VaultKey) Fingerprint() (f [16]byte) {
	key.derive("fingerprint", f[:])
	return f
}

// String names the key by its fingerprint, so that a key in a log line or an
// error gives nothing away.
func (key VaultKey) String() string {
	f := key.Fingerprint()
	return "vault key " + hex.EncodeToString(f[:4])
}

// Format makes every verb of fmt, including %x and %d, print what String returns.
func (key VaultKey) Format(f fmt.State, _ rune) { io.WriteString(f, key.String()) }

// derive fills out with the sub-key for a purpose.
func (key VaultKey) derive(purpose string, out []byte) {
	blake3.DeriveKey("servidor-backup 2026 "+purpose, key[:], out)
}

// SourceID returns all that the server may know of where a record's content comes
// from: a keyed hash of host and path, see [schemas.SourceID].
func (key VaultKey) SourceID(host, path string) (id schemas.SourceID) {
	var k [32]byte
	key.derive("source id", k[:])
	h := newKeyed(k[:])
	// The length keeps host and path apart: ("a", "bc") is not ("ab", "c").
	h.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(host))))
	h.WriteString(host)
	h.WriteString(path)
	var sum [32]byte
	h.Sum(sum[:0])
	copy(id[:], sum[:])
	return id
}
