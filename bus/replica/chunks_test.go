package replica_test

import (
	"math/rand/v2"
	"sync"

	"servidor-backup/schemas"
)

var vault = schemas.SealedVault("bus")

// random has a fixed seed, so that a failure can be reproduced.
var random = struct {
	sync.Mutex
	*rand.ChaCha8
}{ChaCha8: rand.NewChaCha8([32]byte{1})}

func fill(b []byte) {
	random.Lock()
	defer random.Unlock()
	random.Read(b)
}

func newChunk(size int) schemas.Chunk {
	c := schemas.Chunk{Kind: schemas.Data, Content: make([]byte, size)}
	fill(c.ID[:])
	fill(c.Content)
	c.Sum = c.Checksum()
	return c
}
