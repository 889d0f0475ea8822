package erasure

import (
	"encoding/binary"
	"fmt"
	"servidor-backup/schemas"
	"sync"

	"github.com/klauspost/reedsolomon"
)

// coders are kept, because the matrix of each is made anew.
var coders sync.Map // of Durability to reedsolomon.Encoder

func coder(d schemas.Durability) (reedsolomon.Encoder, error) {
	if c, ok := coders.Load(d); ok {
		return c.(reedsolomon.Encoder), nil
	}
	// One goroutine: whoever codes has others beside it.
	c, err := reedsolomon.New(int(d.K), int(d.M), reedsolomon.WithMaxGoroutines(1))
	if err != nil {
		return nil, fmt.Errorf("durability %v: %w", d, err)
	}
	coders.Store(d, c)
	return c, nil
}

// shardSize returns the length of the content of each shard of a chunk whose content
// is length bytes long.
func shardSize(d schemas.Durability, length int) int {
	return shardHead + (length+int(d.K)-1)/int(d.K)
}

// Split cuts c into the k+m shards of d, any k of which make it again: a
// systematic Reed-Solomon code over GF(2^8), whose first k shards are the content
// itself, cut into equal parts, the last filled up with zeros. Each shard is a chunk
// of its own with the same id, its [Part] and its sum. Their contents use buf if it
// is long enough, and are good as long as buf is; buf comes back for the next call.
func Split(d schemas.Durability, c *schemas.Chunk, buf []byte) (shards []schemas.Chunk, _ []byte, err error) {
	enc, err := coder(d)
	if err != nil {
		return nil, buf, err
	}
	n, size := d.Nodes(), shardSize(d, len(c.Content))
	if cap(buf) < n*size {
		buf = make([]byte, n*size)
	}
	buf = buf[:n*size]
	rest := c.Content
	rows := make([][]byte, n)
	shards = make([]schemas.Chunk, n)
	for i := range shards {
		content := buf[i*size : (i+1)*size : (i+1)*size]
		rows[i] = content[len(appendShardHead(content[:0], c.Sum, len(c.Content))):]
		if i < int(d.K) {
			taken := copy(rows[i], rest)
			clear(rows[i][taken:])
			rest = rest[taken:]
		}
		shards[i] = schemas.Chunk{ID: c.ID, Kind: c.Kind, Part: schemas.ShardOf(int(d.K), c.Sum, i), Content: content}
	}
	if err := enc.Encode(rows); err != nil {
		return nil, buf, fmt.Errorf("make the shards of chunk %s: %w", c.ID.Short(), err)
	}
	for i := range shards {
		shards[i].Sum = shards[i].Checksum()
	}
	return shards, buf, nil
}

// Join makes the chunk again from k or more of its shards, which must be of one
// code; what is more, or twice, is not used. Its content is appended to buf[:0]. The
// result is checked against the sum that the shards carry: an error is of the code
// [Corrupt] when they do not belong together, and [NotHeld] when they are too few.
func Join(shards []schemas.Chunk, buf []byte) (c schemas.Chunk, err error) {
	if len(shards) == 0 {
		return c, schemas.Errorf(schemas.NotHeld, "no shard of the chunk was found")
	}
	first := &shards[0]
	k := first.Part.K()
	sum, length, err := readShardHead(first)
	if err != nil {
		return c, err
	}
	rows, have := make([][]byte, 256), 0
	most := k
	size := len(first.Content)
	for i := range shards {
		s := &shards[i]
		otherSum, otherLength, err := readShardHead(s)
		switch {
		case err != nil:
			return c, err
		case s.ID != first.ID || s.Part.Stripe() != first.Part.Stripe() || otherSum != sum || otherLength != length || len(s.Content) != size:
			return c, schemas.Errorf(schemas.Corrupt, "the shards of chunk %s do not belong together", first.ID.Short())
		case rows[s.Part.Shard()] != nil || have == k:
			continue
		}
		rows[s.Part.Shard()] = s.Content[shardHead:]
		most = max(most, s.Part.Shard()+1)
		have++
	}
	if have < k {
		return c, schemas.Errorf(schemas.NotHeld, "of chunk %s %d shards were found, %d are needed", first.ID.Short(), have, k)
	}
	if err := reconstruct(k, most, rows); err != nil {
		return c, fmt.Errorf("join the shards of chunk %s: %w", first.ID.Short(), err)
	}
	c = schemas.Chunk{ID: first.ID, Kind: first.Kind, Sum: sum, Content: buf[:0]}
	for _, row := range rows[:k] {
		c.Content = append(c.Content, row...)
	}
	if len(c.Content) < length {
		return c, schemas.Errorf(schemas.Corrupt, "the shards of chunk %s are too short", first.ID.Short())
	}
	c.Content = c.Content[:length]
	if c.Checksum() != sum {
		return c, schemas.Errorf(schemas.Corrupt, "the shards of chunk %s make something else", first.ID.Short())
	}
	return c, nil
}

// reconstruct fills the data rows that are missing.
func reconstruct(k, n int, rows [][]byte) error {
	missing := false
	for _, row := range rows[:k] {
		missing = missing || row == nil
	}
	if !missing {
		return nil
	}
	enc, err := coder(schemas.Durability{K: uint8(k), M: uint8(n - k)})
	if err != nil {
		return err
	}
	return enc.ReconstructData(rows[:n])
}

// SameSeal reports whether two shards are of one whole, as far as they say: a chunk
// that was sealed twice is two wholes, whose shards do not belong together.
func SameSeal(a, b *schemas.Chunk) bool {
	x, n, err := readShardHead(a)
	y, m, other := readShardHead(b)
	return a.ID == b.ID && err == nil && other == nil && x == y && n == m
}

// readShardHead reads what a shard says of the whole chunk.
func readShardHead(c *schemas.Chunk) (whole schemas.Sum, length int, err error) {
	if c.Part == schemas.Whole || len(c.Content) < shardHead {
		return whole, 0, schemas.Errorf(schemas.Corrupt, "chunk %s is no shard", c.ID.Short())
	}
	copy(whole[:], c.Content)
	length = int(binary.LittleEndian.Uint32(c.Content[len(whole):]))
	if length > schemas.MaxContent {
		return whole, 0, schemas.Errorf(schemas.Corrupt, "a shard of chunk %s is of %d bytes, which no chunk has", c.ID.Short(), length)
	}
	return whole, length, nil
}

// A shard's content begins with what only the whole chunk could tell:
//
//	sum of the whole chunk 32 | length of its content u32le | bytes
const shardHead = len(schemas.Sum{}) + 4

// appendShardHead begins a shard's content.
func appendShardHead(b []byte, whole schemas.Sum, length int) []byte {
	return binary.LittleEndian.AppendUint32(append(b, whole[:]...), uint32(length))
}
