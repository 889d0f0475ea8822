package schemas

import (
	"encoding/binary"
	"fmt"
)

// Part names the whole of a chunk or one shard of it. Zero is the whole chunk, as replicas
// hold it. Otherwise the part is a shard of a Reed-Solomon stripe, in the lowest 48 bits:
//
//	number k of shards that make the chunk u8 | seal id u32 | the shard's own number u8
//
// The seal id is the beginning of the whole chunk's checksum. A chunk that is sealed again
// gets other bytes, and shards of two sealings never make a chunk together, so they are
// different parts.
//
// The total number of shards is not included: shard 2 of 4+2 is also shard 2 of 4+3.
type Part uint64

// Whole is the whole chunk.
const Whole Part = 0

// ShardOf is shard i, counted from zero, of a stripe of which any k shards, at least 2,
// make the chunk with the checksum whole.
func ShardOf(k int, whole Sum, i int) Part {
	return ShardOfSeal(k, binary.BigEndian.Uint32(whole[:]), i)
}

// ShardOfSeal is [ShardOf] for a stripe that is known by its seal id.
func ShardOfSeal(k int, sealID uint32, i int) Part {
	return Part(k)<<40 | Part(sealID)<<8 | Part(i)
}

// K is the number of different parts of this stripe that make the chunk: 1 for the whole.
func (p Part) K() int { return max(1, int(p>>40)) }

// Shard is the shard's number, 0 for the whole.
func (p Part) Shard() int { return int(p & 0xff) }

// SealID is the beginning of the whole chunk's checksum, 0 for the whole.
func (p Part) SealID() uint32 { return uint32(p >> 8) }

// Stripe identifies the shards that make the chunk together: it is equal for all of them.
func (p Part) Stripe() Part { return p &^ 0xff }

// String is a text for people: "whole", or "shard 3 of k=4".
func (p Part) String() string {
	if p == Whole {
		return "whole"
	}
	return fmt.Sprintf("shard %d of k=%d", p.Shard(), p.K())
}

// Valid reports whether such a part can exist.
func (p Part) Valid() bool { return p == Whole || p>>40 >= 2 && p>>40 <= 0xff }

// Nodes is the number of nodes that hold a chunk that is cut into shards: k+m.
func (d Durability) Nodes() int { return int(d.K) + int(d.M) }

// Replicas is the number of nodes that hold a chunk that is not cut into shards: m+1.
func (d Durability) Replicas() int { return int(d.M) + 1 }

// MinSplit is the shortest content that is cut into shards, in bytes. Shorter chunks, all
// plain chunks and all tree chunks (every holder must be able to report their edges) are
// stored as replicas, which survive the loss of as many nodes.
const MinSplit = 64 << 10

// Splits reports whether a chunk of that kind and content length, in bytes, is stored as
// shards under d.
func (d Durability) Splits(kind Kind, content int) bool {
	return d.K > 1 && kind == Data && content >= MinSplit
}
