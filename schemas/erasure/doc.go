// Package erasure splits a sealed chunk into k+m shards and joins any k of them to the
// chunk. It uses a systematic Reed-Solomon code over GF(2^8); the vectors of
// docs/protocol.md fix its matrix.
//
// A shard is a chunk of its own, with the id of the whole chunk, a [schemas.Part] and a
// checksum. Its content carries the checksum and the length of the whole chunk. All shards
// of one sealing are a stripe. Shards of two sealings of a chunk never make a chunk
// together, so [Join] refuses to mix them.
package erasure
