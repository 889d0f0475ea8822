// Package kv keeps msgpack values in JetStream key-value buckets. The catalogue, the
// cards of nodes, policies, sessions and leases are kept in such buckets.
//
// A write is protected by compare-and-set on the key's revision, and has been synced by a
// majority of the bucket's servers when it returns. Reads are answered by the stream's
// leader, never by a follower that may be behind. While servers restart or choose a
// leader, operations are retried for a bounded time under the same message id, by which
// JetStream knows a write that it has already.
//
// "Not found" ([ErrNotFound]) is the answer of a bucket that was read. A bucket that cannot
// be reached is an error of the code [schemas.Unavailable]. A bucket that is lost (its
// stream is no longer there, or was made anew) is told from both by [Bucket.Lost].
package kv
