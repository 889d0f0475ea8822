package seal

import (
	"bytes"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/zeebo/blake3"

	"servidor-backup/schemas"
)

// VaultKey is the secret of one vault: 256 random bits from which every other
// key is derived. Who holds it can read the vault's chunks and make new ones;
// without it nobody can, its owner included.
type VaultKey [32]byte

// newVaultKey makes a key.
func newVaultKey() VaultKey {
	var key VaultKey
	rand.Read(key[:]) // never fails
	return key
}

// Fingerprint is equal for equal keys and says nothing else about them, so the
// server may know it: it tells a client that it is about to mix two keys in
// one vault.
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

// Format makes every verb of fmt, %x and %d as well, print what String does.
func (key VaultKey) Format(f fmt.State, _ rune) { io.WriteString(f, key.String()) }

// derive fills out with the sub-key for a purpose.
func (key VaultKey) derive(purpose string, out []byte) {
	blake3.DeriveKey("servidor-backup 2026 "+purpose, key[:], out)
}

// SourceID is what the server may know of where a record's content comes from:
// a keyed hash of host and path, see [schemas.SourceID].
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

// Keys is all that is derived from a vault key and needed per chunk. It is
// made once per session and is safe for concurrent use.
type Keys struct {
	dataIDs, treeIDs hashPool       // ids of data and of tree chunks
	labelIDs         hashPool       // ids of version labels
	sealing          hashPool       // id → the key that seals what it names
	borders          hashPool       // where a tree is cut
	seed             *[256 * 8]byte // where files are cut
	nonces           io.Reader      // from outside so that tests decide the bytes
}

func New(key VaultKey) *Keys {
	k := &Keys{seed: new([256 * 8]byte), nonces: rand.Reader}
	for purpose, pool := range map[string]*hashPool{
		"data chunk id": &k.dataIDs,
		"tree chunk id": &k.treeIDs,
		"label id":      &k.labelIDs,
		"seal":          &k.sealing,
		"tree border":   &k.borders,
	} {
		key.derive(purpose, pool.key[:])
	}
	key.derive("gear", k.seed[:])
	return k
}

// CutSeed is what decides where files are cut. It is only to be read.
func (k *Keys) CutSeed() *[256 * 8]byte { return k.seed }

// Draw is a random number that the key and the arguments decide: for borders that nobody
// without the key can foresee.
func (k *Keys) Draw(kind, level byte, name string) uint32 {
	h := k.borders.get()
	defer k.borders.put(h)
	h.Write([]byte{kind, level})
	h.WriteString(name)
	var sum [32]byte
	h.Sum(sum[:0])
	return binary.LittleEndian.Uint32(sum[:])
}

// DataID is the id of a data chunk of this content.
func (k *Keys) DataID(plain []byte) (id schemas.ChunkID) { return k.dataIDs.sum(plain) }

// labelID is the id under which a version's label is sealed. No chunk has it, so
// no chunk can stand for a label.
// TreeID is the id of a tree chunk. It covers the edges, which travel in the
// clear, as well as the payload: nobody can exchange an edge unnoticed.
func (k *Keys) TreeID(trees, data []schemas.ChunkID, payload []byte) (id schemas.ChunkID) {
	h := k.treeIDs.get()
	defer k.treeIDs.put(h)
	var head [8]byte
	binary.LittleEndian.PutUint32(head[:], uint32(len(trees)))
	binary.LittleEndian.PutUint32(head[4:], uint32(len(data)))
	h.Write(head[:])
	for i := range trees {
		h.Write(trees[i][:])
	}
	for i := range data {
		h.Write(data[i][:])
	}
	h.Write(payload)
	h.Sum(id[:0])
	return id
}

// hashPool lends keyed hashers: one is over 8 KB, too much to make anew for
// every path and small file.
type hashPool struct {
	key  [32]byte
	pool sync.Pool
}

func (p *hashPool) get() *blake3.Hasher {
	if h, ok := p.pool.Get().(*blake3.Hasher); ok {
		h.Reset()
		return h
	}
	return newKeyed(p.key[:])
}

func (p *hashPool) put(h *blake3.Hasher) { p.pool.Put(h) }

// sum is the keyed hash of b.
func (p *hashPool) sum(b []byte) (id schemas.ChunkID) {
	h := p.get()
	defer p.put(h)
	h.Write(b)
	h.Sum(id[:0])
	return id
}

func newKeyed(key []byte) *blake3.Hasher {
	h, err := blake3.NewKeyed(key)
	if err != nil {
		panic(err) // the key's length is right by construction
	}
	return h
}

// A key file is text: comment lines that begin with '#', and the line
//
//	servidor-backup-key-1 <base32 of key (32 B) and checksum (8 B)>
//
// 40 bytes are exactly 64 base32 digits, so no spare bits can hide a typo.
const (
	keyFileMagic   = "servidor-backup-key-"
	keyFileVersion = "1"
	keyFileComment = "# The key of a backup vault. Whoever has it can read the backups; whoever loses it loses the backups. Keep a copy apart from this machine.\n"
	keyFileMax     = 4096
)

var (
	errKeyExposed = errors.New("the key file is open to others")
	errKeyDamaged = errors.New("the key file is damaged")
)

// CreateKey makes a new key and its file, readable by the owner alone, on
// stable storage when it returns. A folder that is not there is made. A file
// that is there is never replaced, whoever else creates one at the same time:
// the error is then fs.ErrExist.
func CreateKey(path string) (VaultKey, error) {
	key := newVaultKey()
	err := os.MkdirAll(filepath.Dir(path), 0o700)
	if err == nil {
		err = writeKeyFile(path, encodeKeyFile(key))
	}
	if errors.Is(err, fs.ErrExist) {
		return VaultKey{}, fmt.Errorf("there is a key at %s already: use it, or move it away first: %w", path, fs.ErrExist)
	}
	if err != nil {
		return VaultKey{}, fmt.Errorf("creating the key file %s: %w", path, err)
	}
	return key, nil
}

// writeKeyFile puts the whole text at path at once or not at all. A hard link
// is what makes a file appear complete and yet fails if the name is taken; a
// rename would replace it.
func writeKeyFile(path string, text []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".key-*") // 0600 by its contract
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes the names in dir durable. Windows has no such call and needs
// none.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// LoadKey reads a key file. It refuses one that others may read or write, and
// one with a typo. The error is fs.ErrNotExist if there is none.
func LoadKey(path string) (VaultKey, error) {
	f, err := os.Open(path)
	if err != nil {
		return VaultKey{}, fmt.Errorf("reading the key file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return VaultKey{}, fmt.Errorf("reading the key file: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" {
		return VaultKey{}, fmt.Errorf("%w: %s has mode %04o; run: chmod 600 %s", errKeyExposed, path, mode, path)
	}
	text, err := io.ReadAll(io.LimitReader(f, keyFileMax))
	if err != nil {
		return VaultKey{}, fmt.Errorf("reading the key file: %w", err)
	}
	key, err := decodeKeyFile(text)
	if err != nil {
		return VaultKey{}, fmt.Errorf("key file %s: %w", path, err)
	}
	return key, nil
}

func encodeKeyFile(key VaultKey) []byte {
	sum := keyChecksum(key)
	digits := base32.StdEncoding.EncodeToString(append(key[:], sum[:]...))
	return []byte(keyFileComment + keyFileMagic + keyFileVersion + " " + digits + "\n")
}

func decodeKeyFile(text []byte) (key VaultKey, err error) {
	line, err := keyLine(text)
	if err != nil {
		return key, err
	}
	version, digits, _ := strings.Cut(strings.TrimPrefix(line, keyFileMagic), " ")
	if version != keyFileVersion {
		return key, schemas.Errorf(schemas.TooNew, "a key of version %q, and this program knows version %s: use a newer program", version, keyFileVersion)
	}
	raw, err := base32.StdEncoding.DecodeString(strings.ToUpper(strings.TrimSpace(digits)))
	if err != nil || len(raw) != len(key)+8 {
		return key, fmt.Errorf("%w: the key is not 64 letters and digits", errKeyDamaged)
	}
	copy(key[:], raw)
	sum := keyChecksum(key)
	if subtle.ConstantTimeCompare(sum[:], raw[len(key):]) != 1 {
		return VaultKey{}, fmt.Errorf("%w: the key does not match its checksum; compare it with your copy", errKeyDamaged)
	}
	return key, nil
}

// keyLine is the one line of a key file that is not a comment or empty.
func keyLine(text []byte) (string, error) {
	var found string
	for line := range bytes.Lines(text) {
		s := strings.TrimSpace(string(line))
		if s == "" || s[0] == '#' {
			continue
		}
		if found != "" {
			return "", fmt.Errorf("%w: it has more than one key", errKeyDamaged)
		}
		found = s
	}
	if !strings.HasPrefix(found, keyFileMagic) {
		return "", fmt.Errorf("%w: it has no line that begins with %q", errKeyDamaged, keyFileMagic)
	}
	return found, nil
}

// keyChecksum finds typos; it is derived apart from everything else that comes
// from the key.
func keyChecksum(key VaultKey) (sum [8]byte) {
	key.derive("key file checksum", sum[:])
	return sum
}
