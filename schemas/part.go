package schemas

import (
	"encoding/binary"
	"fmt"
)

// Part says how much of a chunk something is. Zero is the whole chunk, which is
// what copies are; else it is one shard of a Reed-Solomon code:
//
//	number k of shards that make the chunk u8 | tag u32 | the shard's own number u8
//
// in its lowest 48 bits. The tag is the beginning of the whole chunk's checksum. Who
// seals a chunk again gets other bytes, and shards of the one and of the other make
// nothing together; so they are different parts.
//
// How many shards there are in all is not a part of it: shard 2 of 4+2 is shard 2
// of 4+3.
type Part uint64

// Whole is all of a chunk.
const Whole Part = 0

// ShardOf is shard i, counted from zero, of those of which any k, at least 2, make the
// chunk with that sum.
func ShardOf(k int, whole Sum, i int) Part {
	return ShardOfSeal(k, binary.BigEndian.Uint32(whole[:]), i)
}

// ShardOfSeal is [ShardOf] by the tag.
func ShardOfSeal(k int, tag uint32, i int) Part { return Part(k)<<40 | Part(tag)<<8 | Part(i) }

// K is how many such parts make the chunk: 1 for the whole.
func (p Part) K() int { return max(1, int(p>>40)) }

// Shard is the shard's number, 0 for the whole.
func (p Part) Shard() int { return int(p & 0xff) }

// SealID is the beginning of the whole chunk's sum, 0 for the whole.
func (p Part) SealID() uint32 { return uint32(p >> 8) }

// Stripe is what all shards have in common that make the chunk together.
func (p Part) Stripe() Part { return p &^ 0xff }

// String is for people: "whole", or "shard 3 of k=4".
func (p Part) String() string {
	if p == Whole {
		return "whole"
	}
	return fmt.Sprintf("shard %d of k=%d", p.Shard(), p.K())
}

// Valid reports whether some code has such a part.
func (p Part) Valid() bool { return p == Whole || p>>40 >= 2 && p>>40 <= 0xff }

// Nodes is on how many nodes a chunk with shards is: k+m.
func (d Durability) Nodes() int { return int(d.K) + int(d.M) }

// Replicas is on how many nodes a chunk is that is not cut into shards: m+1.
func (d Durability) Replicas() int { return int(d.M) + 1 }

// MinSplit is the shortest content that is cut into shards, in bytes. What is
// shorter, all tree chunks (whose edges every holder must be able to tell) and all
// plain ones are stored as copies, which survive the loss of as many nodes.
const MinSplit = 64 << 10

// Splits reports whether a chunk of that kind and content, in bytes, is stored as
// shards under d.
func (d Durability) Splits(kind Kind, content int) bool {
	return d.K > 1 && kind == Data && content >= MinSplit
}
