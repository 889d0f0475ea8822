// Package coordinator brings clients and storage nodes together.
//
// A coordinator keeps nothing in memory that matters: catalogue, node map, sessions and leases
// live in JetStream key-value buckets. So any number of coordinators can share the work, through
// the queue group of their service. Each bucket has one package that writes it, except
// that catalog writes policies, too, when it rebuilds the catalogue. Package catalog writes the
// catalogue and what coordinators know together, members writes nodes and policies, and the
// internal packages session and lease write the buckets of these names.
// Package gc collects garbage. This package serves requests: the seed's protocol, sessions,
// what a commit must prove, and administration; and it runs the others.
//
// # Order of durability
//
// A version must not be listed before everything below it is on stable storage:
//
//  1. Nodes acknowledge all chunks, in any order, each after its disk has synced.
//  2. A commit checks that the chunk at the end of every edge of the new part of the tree is
//     held.
//  3. The version is created in the catalogue, synced by JetStream.
//  4. The head of the record is moved to it.
//  5. The client is answered.
//
// docs/design.md tells a commit step by step.
//
// After a crash between any two steps the versions that were listed before are listed, and
// there are at most chunks that nothing points to.
package coordinator
