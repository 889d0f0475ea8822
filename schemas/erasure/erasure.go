package erasure

import (
	"encoding/binary"
	"fmt"
	"sync"

	"github.com/klauspost/reedsolomon"

	"servidor-backup/schemas"
)

// coders caches encoders, because each computes its matrix.
var coders sync.Map // of Durability to reedsolomon.Encoder

func coder(d schemas.Durability) (reedsolomon.Encoder, error) {
	if c, ok := coders.Load(d); ok {
		return c.(reedsolomon.Encoder), nil
	}
	// One goroutine is enough: the callers run in parallel themselves.
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

// Split cuts the whole chunk c into the k+m shards of d, any k of which make c. The code is a
// systematic Reed-Solomon code over GF(2^8): the first k shards are the content itself, cut
// into equal parts, the last of which is padded with zeros. Each shard is a chunk of its own
// with c's id and kind, and its own part and checksum. The contents of the shards are in
// buf, or in a new buffer if buf is too short; Split returns the buffer for the next call,
// which overwrites them.
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
			n := copy(rows[i], rest)
			clear(rows[i][n:])
			rest = rest[n:]
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

// Join makes the whole chunk from k or more of its shards, which must be of one stripe. It
// ignores duplicates and shards beyond k. The content is appended to buf[:0]. Join checks
// the chunk against the checksum that the shards carry. An error has the code
// [schemas.NotHeld] if there are too few different shards, and [schemas.Corrupt] if the
// shards do not belong together or are damaged.
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
	n := k // number of rows in use
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
		n = max(n, s.Part.Shard()+1)
		have++
	}
	if have < k {
		return c, schemas.Errorf(schemas.NotHeld, "%d shards of chunk %s were found, %d are needed", have, first.ID.Short(), k)
	}
	if err := reconstruct(k, n, rows); err != nil {
		return c, fmt.Errorf("join the shards of chunk %s: %w", first.ID.Short(), err)
	}
	c = schemas.Chunk{ID: first.ID, Kind: first.Kind, Sum: sum, Content: buf[:0]}
	for _, row := range rows[:k] {
		c.Content = append(c.Content, row...)
	}
	if len(c.Content) < length {
		return c, schemas.Errorf(schemas.Corrupt, "the shards of chunk %s are shorter than its content", first.ID.Short())
	}
	c.Content = c.Content[:length]
	if c.Checksum() != sum {
		return c, schemas.Errorf(schemas.Corrupt, "the shards of chunk %s do not match its checksum", first.ID.Short())
	}
	return c, nil
}

// reconstruct computes the missing ones of the first k rows from the n rows of a stripe.
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

// SameSeal reports whether two shards claim to come from the same sealing of the same chunk:
// whether the checksums and the lengths of the whole that they carry are equal.
func SameSeal(a, b *schemas.Chunk) bool {
	x, n, err := readShardHead(a)
	y, m, other := readShardHead(b)
	return a.ID == b.ID && err == nil && other == nil && x == y && n == m
}

// readShardHead reads the whole chunk's checksum and length from a shard.
func readShardHead(c *schemas.Chunk) (whole schemas.Sum, length int, err error) {
	if c.Part == schemas.Whole || len(c.Content) < shardHead {
		return whole, 0, schemas.Errorf(schemas.Corrupt, "a part of chunk %s is not a shard", c.ID.Short())
	}
	copy(whole[:], c.Content)
	length = int(binary.LittleEndian.Uint32(c.Content[len(whole):]))
	if length > schemas.MaxContent {
		return whole, 0, schemas.Errorf(schemas.Corrupt, "a shard of chunk %s says that the chunk has %d bytes, which is too many", c.ID.Short(), length)
	}
	return whole, length, nil
}

// shardHead is the length of the beginning of a shard's content, which describes the whole
// chunk:
//
//	checksum of the whole chunk [32] | length of its content u32le | bytes of the shard
const shardHead = len(schemas.Sum{}) + 4

// appendShardHead appends the head of a shard's content.
func appendShardHead(b []byte, whole schemas.Sum, length int) []byte {
	return binary.LittleEndian.AppendUint32(append(b, whole[:]...), uint32(length))
}
