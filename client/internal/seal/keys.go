package seal

import (
	"crypto/rand"
	"encoding/binary"
	"io"
	"sync"

	"github.com/zeebo/blake3"

	"servidor-backup/schemas"
)

// Keys holds the keys that are derived from a vault key and needed for every
// chunk. It is made once per session and is safe for concurrent use.
type Keys struct {
	dataIDs, treeIDs hashPool       // ids of data chunks and of tree chunks
	labelIDs         hashPool       // ids of version labels
	sealing          hashPool       // from a chunk's id to the key that seals the chunk
	borders          hashPool       // where a tree is cut
	seed             *[256 * 8]byte // where files are cut
	nonces           io.Reader      // random; tests replace it to fix the bytes of a frame
}

// New derives the keys of a vault.
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

// CutSeed returns the random bytes that decide where files are cut. The caller must
// not write to them.
func (k *Keys) CutSeed() *[256 * 8]byte { return k.seed }

// Draw returns a pseudorandom number that depends on the key and the arguments alone.
// It decides borders that nobody without the key can foresee.
func (k *Keys) Draw(kind, level byte, name string) uint32 {
	h := k.borders.get()
	defer k.borders.put(h)
	h.Write([]byte{kind, level})
	h.WriteString(name)
	var sum [32]byte
	h.Sum(sum[:0])
	return binary.LittleEndian.Uint32(sum[:])
}

// ID computes the id that c has if plain is its plaintext.
func (k *Keys) ID(c *schemas.Chunk, plain []byte) schemas.ChunkID {
	if c.Kind == schemas.Tree {
		return k.TreeID(c.Trees, c.Data, plain)
	}
	return k.DataID(plain)
}

// DataID returns the id of the data chunk with this content.
func (k *Keys) DataID(plain []byte) (id schemas.ChunkID) { return k.dataIDs.sum(plain) }

// TreeID returns the id of a tree chunk. It covers the edges, which travel in the
// clear, as well as the payload, so that an exchanged edge is noticed.
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

// hashPool lends keyed hashers. A hasher has more than 8 KB, too much to allocate
// for every path and every small file.
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

// sum returns the keyed hash of b.
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
