// Package kv stores msgpack values in JetStream key-value buckets. The catalogue, the
// cards of nodes, policies, sessions, leases and the state that coordinators share are in such
// buckets.
//
// A write is protected by compare-and-set on the key's revision, and a majority of the
// bucket's servers has synced it when it returns. The stream's leader answers reads; a
// follower, which may be behind, never does. While servers restart or elect a leader,
// operations are retried for a bounded time. A retried write has the same message id, by
// which JetStream recognizes a write that it has already.
//
// Three conditions are kept apart. [ErrNotFound] is the answer of a bucket that was read:
// the key has no value. A bucket that is unreachable gives an error with the code
// [schemas.Unavailable]. A bucket that is lost (its stream is no longer there, or is
// another one) is detected by [Bucket.Lost].
package kv
