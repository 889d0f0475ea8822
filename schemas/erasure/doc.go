// Package erasure splits a sealed chunk into k+m shards and joins any k of them: a
// systematic Reed-Solomon code over GF(2^8), whose matrix is pinned by the vectors of
// docs/protocol.md.
//
// Shards are chunks of their own, with the id of the whole chunk, their [schemas.Part] and
// a checksum; each carries the checksum and the length of the whole. All shards of one
// sealing make a stripe. Shards of two sealings of one chunk never make anything together,
// so [Join] refuses to mix them.
package erasure
